//! The file, watched.
//!
//! Its directory is watched, not the file: editors and configuration maps put another file, or another link, in its place. A
//! mounted map is a link to a link to a directory (`evenkeel.toml` → `..data/evenkeel.toml`, `..data` → `..2026_11_21`), of which
//! the one in the middle is swapped; that happens in the directory of the file as well. Where the file itself is a link to
//! elsewhere, the directory that it leads to is watched too. What counts is the content: an event only says that it is worth
//! a look, and without any event there is one now and then, for file systems that do not tell.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::mpsc, time::timeout};

use super::{Cause, LiveConfig, Who};
use crate::config::sources;

/// A file that is written to all the time is read after so many times `reload.debounce_ms` nevertheless.
const DEBOUNCE_ROUNDS_MAX: u32 = 20;

impl LiveConfig {
    /// Takes changes of the file as they come, for ever.
    pub async fn keep_watch(self) {
        let Some(file) = self.0.sources.file.clone().filter(|_| self.now().reload.watch) else { return };
        let (tell, mut told) = mpsc::channel(1);
        // Kept, because what is dropped watches nothing.
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // A place in the channel is taken: somebody will look in any case.
            if event.is_ok_and(|event| is_change(&event.kind)) {
                let _ = tell.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "the configuration file cannot be watched; it is compared now and then instead");
        }
        let mut watched = BTreeSet::new();
        let mut missing = false;
        loop {
            if let Ok(watcher) = &mut watcher {
                watch_directories(watcher, &file, &mut watched);
            }
            self.look(&mut missing).await;
            let reload = self.now().reload.clone();
            // Without a watcher the channel is closed, and only time passes.
            let poll = Duration::from_millis(reload.poll_ms);
            match timeout(poll, told.recv()).await {
                Ok(Some(())) => settle(&mut told, Duration::from_millis(reload.debounce_ms)).await,
                Ok(None) => tokio::time::sleep(poll).await,
                Err(_) => {}
            }
        }
    }

    async fn look(&self, missing: &mut bool) {
        match self.read_file().await {
            Ok(text) => {
                *missing = false;
                let hash = text.as_deref().map(sources::hash).unwrap_or_default();
                if hash == self.0.turn.lock().await.seen_hash {
                    return;
                }
                if let Err(error) = self.reload(Cause::File, &Who("file".to_owned()), "the file changed").await {
                    tracing::warn!(%error, "the configuration file has changed and cannot be taken yet");
                }
            }
            // Between the removal of one file and the next there may be none.
            Err(problem) if !*missing => {
                *missing = true;
                tracing::warn!("the configuration stays as it is: {problem}");
            }
            Err(_) => {}
        }
    }
}

/// Waits until nothing has happened for a while.
async fn settle(told: &mut mpsc::Receiver<()>, quiet: Duration) {
    for _ in 0..DEBOUNCE_ROUNDS_MAX {
        if !matches!(timeout(quiet, told.recv()).await, Ok(Some(()))) {
            return;
        }
    }
}

/// Reading is none; without this each look would be followed by the next one.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Watches the directory of the file, and the one that it leads to.
fn watch_directories(watcher: &mut impl Watcher, file: &Path, watched: &mut BTreeSet<PathBuf>) {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let target = std::fs::canonicalize(file).map(|target| directory(&target));
    let wanted: BTreeSet<PathBuf> = [Ok(directory(file)), target].into_iter().flatten().collect();
    for gone in watched.difference(&wanted) {
        // It may be gone for good.
        let _ = watcher.unwatch(gone);
    }
    for new in wanted.difference(watched) {
        if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, directory = %new.display(), "it cannot be watched; the file is compared now and then");
        }
    }
    *watched = wanted;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_file_is_no_change_of_it() {
        use notify::event::{CreateKind, ModifyKind, RenameMode};
        assert!(!is_change(&EventKind::Access(AccessKind::Open(AccessMode::Read))));
        assert!(!is_change(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(&EventKind::Create(CreateKind::Any)));
        assert!(is_change(&EventKind::Modify(ModifyKind::Name(RenameMode::To))));
    }
}
