//! Remembers a run that is not finished, so that the same command goes on with it.
//!
//! The journal is one small file per job that holds the run's name, which is part of every idempotency key. It is written
//! when the run begins and removed when all its tasks have succeeded: a run that was interrupted, or in which tasks
//! failed, is found again by the next start of the same command, and the coordinator answers what is done already. The
//! results themselves stay with the coordinator; a second copy of them here could only disagree.
//!
//! Rejected: a run's name made of the command alone, without a journal. A command that was run to its end would then
//! answer old results when it is run again.

use std::{
    env, fs,
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Older runs are not resumed: the coordinator promises to keep results and keys for this long.
const RESUME_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest name of a run; what is longer is not a journal.
const NAME_BYTES_MAX: u64 = 64;

/// A run's name, and its file if it has one.
#[derive(Debug)]
pub struct Journal {
    /// The run's name.
    pub run: String,
    /// How long ago the run began that this one goes on with.
    pub resumed: Option<Duration>,
    /// The file, locked: two runs of one command at once do not share a name.
    file: Option<(PathBuf, fs::File)>,
}

impl Journal {
    /// Finds the unfinished run of this job, or begins a new one; `fresh` always begins a new one. Without a place to write
    /// the run goes on under a name that is not remembered.
    #[must_use]
    pub fn open(job: &str, fresh: bool) -> Self {
        Self::open_in(&directory(), job, fresh, SystemTime::now())
    }

    fn open_in(directory: &Path, job: &str, fresh: bool, now: SystemTime) -> Self {
        let name = || format!("{:016x}", fastrand::u64(..));
        let Some((path, mut file)) = locked(directory, job) else {
            return Self { run: name(), resumed: None, file: None };
        };
        if let Some((run, age)) = remembered(&file, now).filter(|_| !fresh) {
            return Self { run, resumed: Some(age), file: Some((path, file)) };
        }
        let run = name();
        if let Err(error) = write(&mut file, &run) {
            note(&format!("could not write {}: {error}", path.display()));
            return Self { run, resumed: None, file: None };
        }
        Self { run, resumed: None, file: Some((path, file)) }
    }

    /// Whether the same command will find this run again.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Forgets the run: all of it is done.
    pub fn finish(self) {
        if let Some((path, _locked)) = self.file
            && let Err(error) = fs::remove_file(&path)
        {
            eprintln!("note: this run will look unfinished: could not remove {}: {error}", path.display());
        }
    }
}

/// Where journals are: the user's directory for state.
fn directory() -> PathBuf {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = from("XDG_STATE_HOME").or_else(|| Some(from("HOME")?.join(".local/state")));
    state.unwrap_or_else(env::temp_dir).join("evenkeel/runs")
}

/// The journal's file, opened and locked; `None` if that cannot be, or another run of the job holds it.
fn locked(directory: &Path, job: &str) -> Option<(PathBuf, fs::File)> {
    let path = directory.join(job);
    let open = || {
        fs::create_dir_all(directory)?;
        fs::File::options().read(true).write(true).create(true).truncate(false).open(&path)
    };
    let file = match open() {
        Ok(file) => file,
        Err(error) => {
            note(&format!("could not open {}: {error}", path.display()));
            return None;
        }
    };
    match file.try_lock() {
        Ok(()) => Some((path, file)),
        Err(fs::TryLockError::WouldBlock) => {
            note("another run of the same command is under way");
            None
        }
        Err(fs::TryLockError::Error(error)) => {
            note(&format!("could not lock {}: {error}", path.display()));
            None
        }
    }
}

/// Tells the user what a run does without, and why.
fn note(why: &str) {
    eprintln!("note: this run cannot be resumed if it is interrupted: {why}");
}

/// The name written in the file, and its age, unless there is none or it is too old.
fn remembered(file: &fs::File, now: SystemTime) -> Option<(String, Duration)> {
    let mut name = String::new();
    file.take(NAME_BYTES_MAX).read_to_string(&mut name).ok()?;
    let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let age = now.duration_since(file.metadata().ok()?.modified().ok()?).unwrap_or_default();
    (legal && age < RESUME_AGE_MAX).then_some((name, age))
}

fn write(file: &mut fs::File, name: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(name.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn open(&self, fresh: bool) -> Journal {
            Journal::open_in(self.0.path(), "job", fresh, SystemTime::now())
        }
    }

    fn place() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    #[test]
    fn an_interrupted_run_is_found_again_and_a_finished_one_is_not() {
        let place = place();
        let first = place.open(false);
        assert!(first.is_kept() && first.resumed.is_none());
        let name = first.run.clone();
        drop(first);
        let second = place.open(false);
        assert!(second.resumed.is_some());
        assert_eq!(second.run, name);
        second.finish();
        let third = place.open(false);
        assert!(third.resumed.is_none());
        assert_ne!(third.run, name);
    }

    #[test]
    fn a_fresh_run_and_one_after_a_day_begin_anew() {
        let place = place();
        let name = place.open(false).run;
        let fresh = place.open(true).run;
        assert_ne!(fresh, name);
        let tomorrow = SystemTime::now() + RESUME_AGE_MAX;
        assert!(Journal::open_in(place.0.path(), "job", false, tomorrow).resumed.is_none());
    }

    #[test]
    fn two_at_once_do_not_share_a_name() {
        let place = place();
        let first = place.open(false);
        let second = place.open(false);
        assert!(!second.is_kept());
        assert_ne!(first.run, second.run);
    }

    #[test]
    fn what_is_no_journal_is_not_believed() {
        let place = place();
        fs::write(place.0.path().join("job"), "../../etc/passwd").unwrap();
        let journal = place.open(false);
        assert!(journal.resumed.is_none() && journal.is_kept());
    }
}
