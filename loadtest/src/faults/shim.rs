//! A library that stands before the system calls of a program under test: the disk fails, the disk is full, the wall clock
//! is wrong, whenever a fault says so.
//!
//! The program is the shipped one; it is loaded with `LD_PRELOAD`. The library is compiled by the system's C compiler when
//! it is needed, because nothing of it belongs into a program that is not under test. A FUSE file system was rejected: it
//! takes privileges and a dependency, and has no clock.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::lab::FaultError;

const SOURCE: &str = include_str!("shim.c");
/// The words of the shared page, as the source lists them.
const WORDS: u64 = 5;
const WORD_BYTES: u64 = 8;

/// What can be told to the library, while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// So many syncs of the database fail with EIO, beginning with the next one.
    FsyncFail = 0,
    /// Not 0: writes to the database's files fail with ENOSPC.
    Enospc = 1,
    /// Seconds added to the wall clock.
    ClockOffsetS = 2,
}

/// What the library has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Syncs that it made fail.
    SyncsFailed = 3,
    /// Writes that it refused.
    WritesRefused = 4,
}

/// The library, and the page that it shares with this process.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
    words: File,
}

impl Shim {
    /// Compiles the library into `dir`. Nothing fails until it is told to.
    ///
    /// # Errors
    /// [`FaultError::Skipped`] if there is no C compiler, or the system is not one that the library is made for.
    pub fn build(dir: &Path) -> Result<Self, FaultError> {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            return Err(skipped("it needs Linux with the GNU C library"));
        }
        let (source, library, control) = (dir.join("shim.c"), dir.join("shim.so"), dir.join("shim.control"));
        std::fs::write(&source, SOURCE).map_err(FaultError::io("write", &source))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let compiled = match compiler.stdin(Stdio::null()).output() {
            Ok(compiled) => compiled,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(skipped("it needs a C compiler, `cc`"));
            }
            Err(source) => return Err(FaultError::Start { program: "cc".into(), source }),
        };
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stderr);
            return Err(FaultError::Other(format!("cc cannot compile {}: {said}", source.display())));
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&control);
        let words = open.and_then(|file| file.set_len(WORDS * WORD_BYTES).map(|()| file));
        let words = words.map_err(FaultError::io("make", &control))?;
        Ok(Self { library, control, words })
    }

    /// The environment of the program that it is to stand before.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let set = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
        vec![set("LD_PRELOAD", &self.library), set("EVENKEEL_SHIM_CONTROL", &self.control)]
    }

    /// Tells it something. It holds at once, for every program that it stands before.
    ///
    /// # Errors
    /// If the page cannot be written.
    pub fn set(&self, control: Control, value: i64) -> Result<(), FaultError> {
        let word = self.words.write_all_at(&value.to_ne_bytes(), control as u64 * WORD_BYTES);
        word.map_err(FaultError::io("write", &self.control))
    }

    /// How often it has done something.
    ///
    /// # Errors
    /// If the page cannot be read.
    pub fn count(&self, done: Done) -> Result<i64, FaultError> {
        let mut word = [0; WORD_BYTES as usize];
        self.words.read_exact_at(&mut word, done as u64 * WORD_BYTES).map_err(FaultError::io("read", &self.control))?;
        Ok(i64::from_ne_bytes(word))
    }
}

fn skipped(why: &str) -> FaultError {
    FaultError::Skipped { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::process::Output;

    use tempfile::TempDir;

    use super::*;

    fn run(shim: &Shim, dir: &Path, program: &str, args: &[&str]) -> Output {
        Command::new(program).args(args).current_dir(dir).envs(shim.env()).output().unwrap()
    }

    fn copies(shim: &Shim, dir: &Path, file: &str) -> Result<(), String> {
        let copied = run(shim, dir, "dd", &["if=/dev/zero", &format!("of={file}"), "bs=8k", "count=1", "conv=fsync"]);
        let said = String::from_utf8_lossy(&copied.stderr).into_owned();
        if copied.status.success() { Ok(()) } else { Err(said) }
    }

    #[test]
    fn the_disk_is_full_for_the_database_alone_and_until_it_is_not() {
        let dir = TempDir::new().unwrap();
        let shim = Shim::build(dir.path()).unwrap();
        copies(&shim, dir.path(), "evenkeel.db-wal").unwrap();
        shim.set(Control::Enospc, 1).unwrap();
        let refused = copies(&shim, dir.path(), "evenkeel.db-wal").unwrap_err();
        assert!(refused.contains("No space left"), "{refused}");
        copies(&shim, dir.path(), "coordinator.log").unwrap();
        assert!(shim.count(Done::WritesRefused).unwrap() > 0);
        shim.set(Control::Enospc, 0).unwrap();
        copies(&shim, dir.path(), "evenkeel.db-wal").unwrap();
    }

    #[test]
    fn a_sync_fails_as_often_as_it_was_told_to() {
        let dir = TempDir::new().unwrap();
        let shim = Shim::build(dir.path()).unwrap();
        shim.set(Control::FsyncFail, 1).unwrap();
        copies(&shim, dir.path(), "coordinator.log").unwrap();
        let failed = copies(&shim, dir.path(), "evenkeel.db").unwrap_err();
        assert!(failed.contains("Input/output error"), "{failed}");
        copies(&shim, dir.path(), "evenkeel.db").unwrap();
        assert_eq!(shim.count(Done::SyncsFailed).unwrap(), 1);
    }

    #[test]
    fn the_wall_clock_is_off_by_what_it_was_told() {
        let dir = TempDir::new().unwrap();
        let shim = Shim::build(dir.path()).unwrap();
        let seconds = || -> i64 {
            let date = run(&shim, dir.path(), "date", &["+%s"]);
            String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()
        };
        let before = seconds();
        shim.set(Control::ClockOffsetS, 3_600).unwrap();
        assert!((3_600..3_660).contains(&(seconds() - before)));
        shim.set(Control::ClockOffsetS, -3_600).unwrap();
        assert!((-3_600..-3_540).contains(&(seconds() - before)));
    }
}
