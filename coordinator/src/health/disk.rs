//! Room on the file system of the data.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::statvfs::statvfs;

use super::judge::DiskSample;

/// A question that is not answered for so long is worth a word. Local file systems answer within microseconds.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Asks a file system for its room without ever waiting for it: one whose server is gone does not answer at all, and would
/// hold up every other look. One question at a time, on a thread where it may hang.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    answer: Arc<Answer>,
    asked_at: Option<Instant>,
}

#[derive(Debug)]
struct Answer {
    pending: AtomicBool,
    last: Mutex<DiskSample>,
}

impl Disk {
    /// Of the file system that this is on.
    pub fn new(path: PathBuf) -> Self {
        let last = Mutex::new(room(&path));
        Self { path, answer: Arc::new(Answer { pending: AtomicBool::new(false), last }), asked_at: None }
    }

    /// What it said last. Asks again, for the next time.
    pub fn sample(&mut self) -> DiskSample {
        if self.answer.pending.load(Ordering::Acquire) {
            let silent = self.asked_at.map_or(Duration::ZERO, |at| at.elapsed());
            return if silent >= SILENT_AFTER { DiskSample::Silent(silent) } else { self.last() };
        }
        self.asked_at = Some(Instant::now());
        self.answer.pending.store(true, Ordering::Release);
        let (path, answer) = (self.path.clone(), Arc::clone(&self.answer));
        tokio::task::spawn_blocking(move || {
            let found = room(&path);
            *answer.last.lock().unwrap_or_else(PoisonError::into_inner) = found;
            answer.pending.store(false, Ordering::Release);
        });
        self.last()
    }

    fn last(&self) -> DiskSample {
        *self.answer.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between systems")]
fn room(path: &std::path::Path) -> DiskSample {
    match statvfs(path) {
        Ok(stat) => {
            let block_bytes = u64::from(stat.fragment_size());
            DiskSample::Room {
                // What is left for this process, not for the superuser.
                free_bytes: u64::from(stat.blocks_available()) * block_bytes,
                total_bytes: u64::from(stat.blocks()) * block_bytes,
            }
        }
        Err(_) => DiskSample::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_where_tests_run_and_none_where_nothing_is() {
        let DiskSample::Room { free_bytes, total_bytes } = Disk::new(std::env::temp_dir()).sample() else {
            panic!("no answer")
        };
        assert!(free_bytes <= total_bytes && total_bytes > 0);
        assert_eq!(Disk::new("/nonexistent/evenkeel".into()).sample(), DiskSample::Failed);
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_is_not_waited_for() {
        let mut disk = Disk::new(std::env::temp_dir());
        disk.answer.pending.store(true, Ordering::Release);
        disk.asked_at = Instant::now().checked_sub(SILENT_AFTER);
        assert!(matches!(disk.sample(), DiskSample::Silent(silent) if silent >= SILENT_AFTER));
    }
}
