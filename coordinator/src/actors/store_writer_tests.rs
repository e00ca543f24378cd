//! The store writer on a store that does as it is told.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use actix_rt::task::yield_now;
use evenkeel_core::{
    engine::Message as Said,
    model::{ClusterEvent, ClusterEventKind, EngineStatus, Recovery},
};
use evenkeel_shared::{EventPosition, Timestamp};
use rusqlite::ffi;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::{
    actors::{publisher, system, system::ActorThreads},
    release::{Unsaid, testing},
    sessions::Sessions,
    snapshot::Snapshot,
    store::{Retention, StoreReader, sqlite::SqliteStore},
};

/// Nothing here takes so long unless it hangs.
const OVERALL: Duration = Duration::from_secs(20);

/// How the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Disk {
    #[default]
    Well,
    Full,
    /// Its syncs fail.
    Broken,
    /// The store was given up.
    Released,
}

/// What the test sees of the store.
#[derive(Default)]
struct Seen {
    disk: Mutex<Disk>,
    attempts: AtomicUsize,
    committed: Mutex<Vec<Vec<u64>>>,
    fatal: Mutex<Option<String>>,
}

struct FakeStore {
    seen: Arc<Seen>,
    inner: SqliteStore,
}

impl FakeStore {
    fn check(&self) -> Result<(), StoreError> {
        match *self.seen.disk.lock().unwrap() {
            Disk::Well => Ok(()),
            Disk::Full => Err(StoreError::Full),
            Disk::Released => Err(StoreError::NotClaimed),
            Disk::Broken => {
                let error = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
                Err(StoreError::Disk(rusqlite::Error::SqliteFailure(error, None)))
            }
        }
    }
}

impl Store for FakeStore {
    fn claim(&mut self, now: Timestamp) -> Result<Recovery, StoreError> {
        self.inner.claim(now)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.seen.attempts.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let number = |change: &Change| if let Change::ClusterEvent(event) = change { event.position.0 } else { 0 };
        self.seen.committed.lock().unwrap().push(changes.iter().map(number).collect());
        Ok(())
    }

    fn release(&mut self) -> Result<(), StoreError> {
        self.check()
    }

    fn prune(&mut self, _: Expiry, _: usize) -> Result<Pruned, StoreError> {
        self.check().map(|()| Pruned::default())
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.reader()
    }
}

/// A writer, and what becomes of what it is given.
struct Desk {
    seen: Arc<Seen>,
    writer: Addr<StoreWriter>,
    lifecycle: Lifecycle,
    metrics: Metrics,
    snapshot: Snapshot,
    permits: Arc<Semaphore>,
    unsaid: Unsaid,
    said: mpsc::Receiver<Arc<ClusterEvent>>,
    _threads: ActorThreads,
}

impl Desk {
    async fn with_permits(permits: usize) -> Self {
        let seen = Arc::new(Seen::default());
        let store = FakeStore { seen: Arc::clone(&seen), inner: SqliteStore::ephemeral().unwrap() };
        let (snapshot, lifecycle) = (Snapshot::default(), Lifecycle::default());
        lifecycle.set_ready();
        let dispatcher = testing::dispatcher(Sessions::new(1, 1), snapshot.clone(), store.reader(), 1);
        let (cluster_hub, metrics) = (dispatcher.cluster_hub.clone(), dispatcher.metrics.clone());
        let said = cluster_hub.join(None).unwrap_or_else(|_| panic!("there is room to watch")).live;
        let threads = ActorThreads::start().unwrap();
        let shown = snapshot.clone();
        let publisher = system::start(&threads.rest, publisher::MAILBOX_MAX, || Publisher::new(shown)).await;
        let fatal = Arc::clone(&seen);
        let on_fatal: OnFatal = Arc::new(move |error| *fatal.fatal.lock().unwrap() = Some(error.to_string()));
        let life = lifecycle.clone();
        let make = move || StoreWriter::new(Box::new(store), dispatcher, publisher, life, on_fatal);
        let writer = system::start(&threads.store, MAILBOX_MAX, make).await;
        let permits = Arc::new(Semaphore::new(permits));
        let unsaid = Unsaid::default();
        Self { seen, writer, lifecycle, metrics, snapshot, permits, unsaid, said, _threads: threads }
    }

    async fn new() -> Self {
        Self::with_permits(IN_FLIGHT_MAX).await
    }

    fn disk(&self, disk: Disk) {
        *self.seen.disk.lock().unwrap() = disk;
    }

    fn is_broken(&self) -> bool {
        self.seen.fatal.lock().unwrap().is_some()
    }

    /// Hands in a batch of this many events, numbered from `first`, to be made durable and then said.
    async fn hand_in(&self, first: u64, count: u64) {
        let events: Vec<ClusterEvent> = (first..first + count).map(event).collect();
        let effects = Effects {
            changes: events.iter().cloned().map(Change::ClusterEvent).collect(),
            messages: events.into_iter().map(Said::ClusterEvent).collect(),
        };
        let snapshot = SnapshotUpdate {
            status: EngineStatus { queued: first, ..EngineStatus::default() },
            ..SnapshotUpdate::default()
        };
        let permit = Some(Arc::clone(&self.permits).acquire_owned().await.unwrap());
        let unsaid = self.unsaid.one();
        self.writer.try_send(Commit { effects, snapshot: Some(snapshot), permit, unsaid }).unwrap();
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                yield_now().await;
            }
        };
        tokio::time::timeout(OVERALL, wait).await.unwrap_or_else(|_| panic!("it never happens: {what}"));
    }

    async fn attempts(&self, count: usize) {
        self.until("another attempt", |desk| desk.seen.attempts.load(Ordering::SeqCst) >= count).await;
    }

    async fn hears(&mut self, count: usize) -> Vec<u64> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let next = tokio::time::timeout(OVERALL, self.said.recv()).await.expect("something is said");
            heard.push(next.expect("the hub is open").position.0);
        }
        heard
    }

    fn nothing_is_said(&mut self) -> bool {
        self.said.try_recv().is_err()
    }

    fn committed(&self) -> Vec<u64> {
        self.seen.committed.lock().unwrap().concat()
    }
}

fn event(position: u64) -> ClusterEvent {
    ClusterEvent {
        position: EventPosition(position),
        at: Timestamp::ZERO,
        kind: ClusterEventKind::Coordinator,
        agent: None,
        task: None,
        message: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_is_said_in_order() {
    let mut desk = Desk::new().await;
    for first in [1, 4, 7] {
        desk.hand_in(first, 3).await;
    }
    assert_eq!(desk.hears(9).await, (1..=9).collect::<Vec<_>>());
    assert_eq!(desk.committed(), (1..=9).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_process_and_nothing_is_said() {
    let mut desk = Desk::new().await;
    desk.disk(Disk::Broken);
    desk.hand_in(1, 1).await;
    desk.until("the end", Desk::is_broken).await;
    desk.until("the writer is gone", |desk| !desk.writer.connected()).await;
    assert_eq!(desk.seen.attempts.load(Ordering::SeqCst), 1, "it is not tried again");
    assert!(desk.nothing_is_said());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_everything_waits_and_goes_out_once_and_in_order_when_there_is_room() {
    let mut desk = Desk::new().await;
    desk.hand_in(1, 1).await;
    assert_eq!(desk.hears(1).await, [1]);
    desk.disk(Disk::Full);
    for first in 2..=9 {
        desk.hand_in(first, 1).await;
    }
    desk.attempts(4).await;
    assert!(desk.nothing_is_said() && !desk.is_broken());
    assert!(desk.lifecycle.check_writable().is_err());
    assert!(desk.metrics.encode().unwrap().contains("evenkeel_store_full 1"));
    assert_eq!(desk.snapshot.status().queued, 1, "nobody is shown what is not on disk");
    desk.disk(Disk::Well);
    assert_eq!(desk.hears(8).await, (2..=9).collect::<Vec<_>>());
    desk.until("writable again", |desk| desk.lifecycle.check_writable().is_ok()).await;
    desk.until("shown", |desk| desk.snapshot.status().queued == 9).await;
    desk.hand_in(10, 1).await;
    assert_eq!(desk.hears(1).await, [10]);
    assert_eq!(desk.committed(), (1..=10).collect::<Vec<_>>(), "each once");
    assert!(desk.metrics.encode().unwrap().contains("evenkeel_store_full 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_engine_goes_on_up_to_a_bound() {
    let mut desk = Desk::with_permits(1).await;
    desk.disk(Disk::Full);
    for first in 1..=100 {
        // Without a permit that comes back this would wait for ever.
        tokio::time::timeout(OVERALL, desk.hand_in(first, 1)).await.expect("the engine is let go on");
    }
    desk.hand_in(101, HELD_EFFECTS_MAX as u64).await;
    // The first of these attempts may have begun before; the second one has it.
    desk.attempts(desk.seen.attempts.load(Ordering::SeqCst) + 2).await;
    assert_eq!(desk.permits.available_permits(), 0, "more is not held");
    desk.disk(Disk::Well);
    assert_eq!(desk.hears(100).await, (1..=100).collect::<Vec<_>>());
    desk.until("all committed", |desk| desk.committed().len() == 100 + HELD_EFFECTS_MAX).await;
    desk.until("the engine is let go on", |desk| desk.permits.available_permits() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_it_has_room_ends_the_process() {
    let mut desk = Desk::new().await;
    desk.disk(Disk::Full);
    desk.hand_in(1, 1).await;
    desk.attempts(2).await;
    desk.disk(Disk::Broken);
    desk.until("the end", Desk::is_broken).await;
    assert!(desk.nothing_is_said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_a_full_disk_ends_and_says_that_it_was_not_clean() {
    let mut desk = Desk::new().await;
    desk.disk(Disk::Full);
    desk.hand_in(1, 1).await;
    desk.attempts(1).await;
    let released = desk.writer.send(Release).await.unwrap();
    assert!(matches!(released, Err(StoreError::Full)), "{released:?}");
    assert!(desk.nothing_is_said() && !desk.is_broken());
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_may_find_no_room_or_nothing_left_to_do_but_not_a_disk_that_fails() {
    let desk = Desk::new().await;
    let prune =
        || desk.writer.send(Prune { expiry: Retention::of_tasks(Duration::ZERO).at(Timestamp::ZERO), limit: 1 });
    desk.disk(Disk::Full);
    assert!(matches!(prune().await.unwrap(), Err(StoreError::Full)));
    desk.disk(Disk::Released);
    assert!(matches!(prune().await.unwrap(), Err(StoreError::NotClaimed)));
    assert!(!desk.is_broken());
    desk.disk(Disk::Broken);
    let _ = prune().await;
    assert!(desk.is_broken());
}
