//! The store writer: makes changes durable, then lets the messages out that depend on them.
//!
//! Group commit without a timer: whatever has queued up while one transaction commits is the next transaction. Messages go
//! out in the order of their batches, so nobody hears of what is not on disk. A batch without changes waits its turn like
//! any other, and has no transaction if it is alone.
//!
//! A failed commit is the end of the process: what the kernel has lost between two `fsync`s no retry brings back, and the
//! engine is ahead of the disk already. Recovery is a restart.
//!
//! A full disk is the one exception. A write that found no room was rolled back before anything was synced, so the same
//! transaction can be tried again, and nobody has heard of it. It is kept with its messages, all that comes after waits
//! behind it, and when there is room everything goes out in its order. Meanwhile requests that change something are refused
//! at the gateway, and the engine assigns nothing: what still comes is what agents report, which is taken in up to a bound,
//! so that no agent is taken for dead. Ending the process was rejected: it could not start again before there is room, and
//! until then nobody could read anything, and every agent would be without a coordinator.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, WrapFuture as _,
};
use evenkeel_core::engine::{Change, Effects};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    coordinator::{GATHER_CHANGES_MAX, IN_FLIGHT_MAX},
    publisher::{Publish, Publisher},
};
use crate::{
    failpoint::{self, Point},
    lifecycle::Lifecycle,
    metrics::Metrics,
    release::{Dispatcher, UnsaidBatch},
    snapshot::SnapshotUpdate,
    store::{Expiry, Pruned, Store, StoreError},
    telemetry::Active,
};

/// What the mailbox holds: a batch for every permit, and the process's own messages (prune, release).
pub const MAILBOX_MAX: usize = IN_FLIGHT_MAX + 8;

/// Changes in one transaction: all that the permits let queue up. More waits only after the disk was full.
const GROUP_CHANGES_MAX: usize = IN_FLIGHT_MAX * GATHER_CHANGES_MAX;
/// Between the first two attempts at a transaction that found no room. Then it doubles,
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// up to this: how long it may take to notice that there is room again.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Changes and messages held while the disk is full before the engine has to wait: some hundred MiB at the very worst, and
/// hours of what an idle fleet reports.
const HELD_EFFECTS_MAX: usize = 262_144;
/// Bytes of outputs held likewise.
const HELD_OUTPUT_BYTES_MAX: usize = 256 << 20;

/// What happens when a commit fails. It is not expected to return.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// Owns the store.
pub struct StoreWriter {
    store: Box<dyn Store>,
    dispatcher: Dispatcher,
    publisher: Addr<Publisher>,
    lifecycle: Lifecycle,
    metrics: Metrics,
    on_fatal: OnFatal,
    /// Batches that are in no transaction yet.
    queue: VecDeque<Commit>,
    group: Group,
    unpublished: Option<SnapshotUpdate>,
    scheduled: bool,
    /// The disk is full.
    full: Option<Full>,
}

/// Batches in one transaction.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    batches: Vec<Commit>,
}

/// What is kept while the disk is full.
#[derive(Debug)]
struct Full {
    since: Instant,
    /// Before the next attempt.
    retry: Duration,
    /// Changes and messages held without a permit.
    effects: usize,
    /// Bytes of outputs among them.
    output_bytes: usize,
    /// What readers may see once everything is on disk.
    snapshot: Option<SnapshotUpdate>,
}

/// The effects of a batch of events.
#[derive(Debug)]
pub struct Commit {
    /// What to make durable and then to say.
    pub effects: Effects,
    /// What readers may see after that.
    pub snapshot: Option<SnapshotUpdate>,
    /// Given back once the messages are out. `None`: given back already, because the engine must go on while the disk is
    /// full.
    pub permit: Option<OwnedSemaphorePermit>,
    /// Dropped once the messages are out: until then nothing may be said past the writer.
    pub unsaid: UnsaidBatch,
}

impl Message for Commit {
    type Result = ();
}

/// Remove what is past its time. Answered with what was removed.
#[derive(Debug)]
pub struct Prune {
    /// What is.
    pub expiry: Expiry,
    /// At most so many of each.
    pub limit: usize,
}

impl Message for Prune {
    type Result = Result<Pruned, StoreError>;
}

/// Give the store up, after everything before it.
#[derive(Debug)]
pub struct Release;

impl Message for Release {
    type Result = Result<(), StoreError>;
}

impl Group {
    /// Takes batches off the queue, unless it has some that are not committed yet.
    fn gather(&mut self, queue: &mut VecDeque<Commit>) {
        if !self.batches.is_empty() {
            return;
        }
        while self.changes.len() < GROUP_CHANGES_MAX
            && let Some(mut batch) = queue.pop_front()
        {
            self.changes.append(&mut batch.effects.changes);
            self.batches.push(batch);
        }
    }
}

impl Full {
    fn new() -> Self {
        Self { since: Instant::now(), retry: RETRY_FIRST, effects: 0, output_bytes: 0, snapshot: None }
    }

    /// Holds a batch: keeps what of it may be joined, and lets the engine go on while there is room for more.
    fn hold(&mut self, batch: &mut Commit, changes: &[Change]) {
        if let Some(update) = batch.snapshot.take() {
            merge(&mut self.snapshot, update);
        }
        let effects = self.effects + changes.len() + batch.effects.messages.len();
        let output_bytes = self.output_bytes + changes.iter().map(output_bytes).sum::<usize>();
        if effects <= HELD_EFFECTS_MAX && output_bytes <= HELD_OUTPUT_BYTES_MAX {
            (self.effects, self.output_bytes) = (effects, output_bytes);
            batch.permit = None;
        }
    }
}

fn output_bytes(change: &Change) -> usize {
    if let Change::Finish { output, .. } = change { output.len() } else { 0 }
}

fn merge(earlier: &mut Option<SnapshotUpdate>, later: SnapshotUpdate) {
    match earlier {
        Some(earlier) => earlier.merge(later),
        None => *earlier = Some(later),
    }
}

impl StoreWriter {
    /// A writer of this store.
    #[must_use]
    pub fn new(
        store: Box<dyn Store>,
        dispatcher: Dispatcher,
        publisher: Addr<Publisher>,
        lifecycle: Lifecycle,
        on_fatal: OnFatal,
    ) -> Self {
        let metrics = dispatcher.metrics.clone();
        Self {
            store,
            dispatcher,
            publisher,
            lifecycle,
            metrics,
            on_fatal,
            queue: VecDeque::with_capacity(IN_FLIGHT_MAX),
            group: Group::default(),
            unpublished: None,
            scheduled: false,
            full: None,
        }
    }

    /// Commits a group of the queue, and does what the outcome asks for.
    fn work(&mut self, ctx: &mut Context<Self>) {
        failpoint::hit(Point::StoreWriter);
        match self.commit() {
            Ok(()) if self.queue.is_empty() => self.has_room(),
            Ok(()) => self.schedule(ctx),
            Err(StoreError::Full) => self.hold(ctx),
            Err(error) => self.fail(&error, ctx),
        }
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.scheduled {
            return;
        }
        self.scheduled = true;
        // Spawned futures run when the mailbox is empty, which the number of permits brings about.
        ctx.spawn(async {}.into_actor(self).map(|(), actor, ctx| {
            actor.scheduled = false;
            actor.work(ctx);
        }));
    }

    /// Commits a group in one transaction and lets its messages out. After an error the group is as it was.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.group.gather(&mut self.queue);
        let mut commit = None;
        if !self.group.changes.is_empty() {
            if failpoint::acks_before_commit() {
                for batch in &mut self.group.batches {
                    self.dispatcher.release(&mut batch.effects.messages);
                }
                failpoint::acked_before_commit();
            }
            failpoint::hit(Point::BeforeCommit);
            let began = self.dispatcher.traces.active().map(Active::now);
            let started = Instant::now();
            let _under_way = self.lifecycle.commit_begins();
            self.store.commit(&self.group.changes)?;
            self.metrics.committed(self.group.changes.len(), started.elapsed());
            let traces = self.dispatcher.traces.active();
            commit = traces.zip(began).map(|(traces, began)| traces.commit(began, self.group.changes.len()));
            failpoint::committed(self.group.batches.iter().flat_map(|batch| &batch.effects.messages));
        }
        self.group.changes.clear();
        for mut batch in self.group.batches.drain(..) {
            if let Some(update) = batch.snapshot {
                publish(&self.publisher, &mut self.unpublished, update);
            }
            self.dispatcher.release_after(commit.as_ref(), &mut batch.effects.messages);
            self.dispatcher.spare.put(batch.effects);
            drop((batch.permit, batch.unsaid));
        }
        if let Some((traces, commit)) = self.dispatcher.traces.active().zip(commit) {
            traces.committed(commit);
        }
        Ok(())
    }

    /// The disk is full: keeps the group and tries again later.
    fn hold(&mut self, ctx: &mut Context<Self>) {
        let full = self.full.get_or_insert_with(|| {
            tracing::error!("the disk of the database is full; nothing is accepted or assigned until there is room");
            self.lifecycle.set_store_full(true);
            self.metrics.store_full(true);
            let mut full = Full::new();
            let mut changes = self.group.changes.as_slice();
            for batch in &mut self.group.batches {
                // The changes are the group's by now; they are counted once.
                full.hold(batch, mem::take(&mut changes));
            }
            for batch in &mut self.queue {
                let changes = mem::take(&mut batch.effects.changes);
                full.hold(batch, &changes);
                batch.effects.changes = changes;
            }
            full
        });
        let retry = full.retry;
        full.retry = (retry * 2).min(RETRY_MAX);
        self.metrics.commit_retried();
        ctx.run_later(retry, |actor, ctx| actor.work(ctx));
    }

    /// Everything is on disk.
    fn has_room(&mut self) {
        let Some(full) = self.full.take() else { return };
        if let Some(update) = full.snapshot {
            publish(&self.publisher, &mut self.unpublished, update);
        }
        self.lifecycle.set_store_full(false);
        self.metrics.store_full(false);
        tracing::info!(full_for = ?full.since.elapsed(), "the disk of the database has room again");
    }

    /// Nobody can know what is on disk.
    fn fail(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        tracing::error!(%error, changes = self.group.changes.len(), "a commit failed; the process ends");
        self.queue.clear();
        self.group = Group::default();
        (self.on_fatal)(error);
        ctx.stop();
    }
}

/// Publishes, or keeps the update for the next time if the publisher is behind.
fn publish(publisher: &Addr<Publisher>, unpublished: &mut Option<SnapshotUpdate>, update: SnapshotUpdate) {
    merge(unpublished, update);
    if let Some(update) = unpublished.take()
        && let Err(error) = publisher.try_send(Publish(update))
    {
        *unpublished = Some(error.into_inner().0);
    }
}

impl Actor for StoreWriter {
    type Context = Context<Self>;
}

impl Handler<Commit> for StoreWriter {
    type Result = ();

    fn handle(&mut self, mut batch: Commit, ctx: &mut Self::Context) {
        if let Some(full) = &mut self.full {
            let changes = mem::take(&mut batch.effects.changes);
            full.hold(&mut batch, &changes);
            batch.effects.changes = changes;
            self.queue.push_back(batch);
            return;
        }
        self.queue.push_back(batch);
        self.schedule(ctx);
    }
}

impl Handler<Prune> for StoreWriter {
    type Result = Result<Pruned, StoreError>;

    fn handle(&mut self, prune: Prune, ctx: &mut Self::Context) -> Self::Result {
        // It is a transaction like any other: one that failed for want of room is tried again, any other ends the process.
        // In a clean stop the store is given up before those who ask for this have heard of it.
        self.store.prune(prune.expiry, prune.limit).inspect_err(|error| {
            if error.is_fatal() && !matches!(error, StoreError::NotClaimed) {
                self.fail(error, ctx);
            }
        })
    }
}

impl Handler<Release> for StoreWriter {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        loop {
            // On a full disk what was held is lost with the process: nobody has heard of it.
            self.commit().inspect_err(|error| {
                if error.is_fatal() {
                    self.fail(error, ctx);
                }
            })?;
            if self.queue.is_empty() {
                return self.store.release();
            }
        }
    }
}

#[cfg(test)]
#[path = "store_writer_tests.rs"]
mod tests;
