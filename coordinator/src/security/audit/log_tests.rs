use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use super::*;

const LIMITS: LogLimits = LogLimits { file_bytes_max: 4 << 10, files_max: 3 };

fn draft(what: &str) -> Draft {
    Draft { at_unix_ms: 1, by: "root".into(), action: what.into(), ..Draft::default() }
}

fn open_at(directory: &Path) -> Log {
    let (log, problem) = Log::open(directory, LIMITS).unwrap();
    assert_eq!(problem, None);
    log
}

/// Checks the files, and that they end with what the log says.
fn whole(directory: &Path, log: &Log) -> read::Verification {
    let found = read::verify(directory, None).unwrap();
    assert_eq!(found.broken, None);
    assert_eq!(found.head, crate::security::tokens::hex(log.head().1));
    found
}

#[test]
fn entries_follow_each_other_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    for start in 0..3 {
        let mut log = open_at(directory.path());
        assert_eq!(log.append(vec![draft("a"), draft("b")]).unwrap(), 2 * start + 1);
        assert_eq!(whole(directory.path(), &log).entries, 2 * start + 2);
    }
}

#[test]
fn rotation_keeps_the_chain_and_says_what_went() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open_at(directory.path());
    for i in 0..200 {
        log.append(vec![draft(&format!("action-{i}"))]).unwrap();
    }
    let found = whole(directory.path(), &log);
    assert!(found.first > 1 && found.entries < 200, "{found:?}");
    assert_eq!(read::files(directory.path()).unwrap().len(), 3);
    drop(log);
    let mut log = open_at(directory.path());
    log.append(vec![draft("after")]).unwrap();
    whole(directory.path(), &log);
}

#[test]
fn files_that_were_removed_otherwise_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open_at(directory.path());
    while read::files(directory.path()).unwrap().len() < 3 {
        log.append(vec![draft("x")]).unwrap();
    }
    let files = read::files(directory.path()).unwrap();
    let (second, path) = files[1].clone();
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(read::verify(directory.path(), None).unwrap().broken.unwrap().0, second);
    fs::write(&path, kept).unwrap();
    fs::remove_file(&files[0].1).unwrap();
    let (at, problem) = read::verify(directory.path(), None).unwrap().broken.unwrap();
    assert!(at == second && problem.contains("nothing says"), "{at} {problem}");
}

#[test]
fn any_change_of_any_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open_at(directory.path());
    log.append(vec![draft("a"), draft("b"), draft("c")]).unwrap();
    let path = read::path(directory.path(), 1);
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() - 1 {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&path, &bad).unwrap();
        let found = read::verify(directory.path(), None).unwrap();
        assert!(found.broken.is_some(), "a change at {place} is not noticed");
    }
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for bad in [vec![lines[0], lines[2]], vec![lines[1], lines[0], lines[2]], vec![lines[0], lines[0]]] {
        fs::write(&path, bad.concat()).unwrap();
        assert!(read::verify(directory.path(), None).unwrap().broken.is_some());
    }
}

#[test]
fn an_end_that_was_cut_off_is_noticed_by_who_has_noted_its_hash() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open_at(directory.path());
    log.append(vec![draft("a"), draft("b")]).unwrap();
    let noted = crate::security::tokens::hex(log.head().1);
    assert_eq!(read::verify(directory.path(), Some(&noted)).unwrap().broken, None);
    let path = read::path(directory.path(), 1);
    let good = fs::read(&path).unwrap();
    let first = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&path, &good[..first]).unwrap();
    assert_eq!(read::verify(directory.path(), None).unwrap().broken, None);
    assert!(read::verify(directory.path(), Some(&noted)).unwrap().broken.is_some());
}

#[test]
fn half_an_entry_is_taken_out_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open_at(directory.path());
    log.append(vec![draft("a"), draft("b")]).unwrap();
    let path = read::path(directory.path(), 1);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 7]).unwrap();
    assert_eq!(read::verify(directory.path(), None).unwrap().entries, 1);
    let (mut log, problem) = Log::open(directory.path(), LIMITS).unwrap();
    assert!(problem.unwrap().contains("never finished"));
    assert_eq!(log.append(vec![draft("c")]).unwrap(), 2);
    whole(directory.path(), &log);
}

/// A disk of which `state` says what it does: 0 all, 1 is full after some bytes, 2 fails to make anything durable.
struct Weak {
    file: File,
    state: Arc<AtomicU8>,
}

impl Disk for Weak {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.state.load(Ordering::Relaxed) == 1 {
            self.file.append(&bytes[..10])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.state.load(Ordering::Relaxed) == 2 { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.cut(bytes)
    }
}

fn weak(directory: &Path) -> (Log, Arc<AtomicU8>) {
    let mut log = open_at(directory);
    let state = Arc::<AtomicU8>::default();
    let file = OpenOptions::new().append(true).open(read::path(directory, 1)).unwrap();
    log.use_disk(Box::new(Weak { file, state: Arc::clone(&state) }));
    (log, state)
}

#[test]
fn on_a_full_disk_nothing_is_written_and_later_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, state) = weak(directory.path());
    log.append(vec![draft("a")]).unwrap();
    state.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(matches!(log.append(vec![draft("b")]), Err(AuditError::Io { .. })));
    }
    assert_eq!(whole(directory.path(), &log).entries, 1);
    state.store(0, Ordering::Relaxed);
    assert_eq!(log.append(vec![draft("c")]).unwrap(), 2);
    whole(directory.path(), &log);
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, state) = weak(directory.path());
    state.store(2, Ordering::Relaxed);
    assert!(log.append(vec![draft("a")]).is_err());
    state.store(0, Ordering::Relaxed);
    assert!(matches!(log.append(vec![draft("b")]), Err(AuditError::Failed { .. })));
}
