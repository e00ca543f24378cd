//! The store writer: makes changes durable, then lets the messages out that depend on them.
//!
//! Group commit without a timer: whatever has queued up while one transaction commits is the next transaction. Messages go
//! out in the order of their batches, so nobody hears of what is not on disk. A batch without changes waits its turn like
//! any other, and has no transaction if it is alone.
//!
//! A failed commit is the end of the process: what the kernel has lost between two `fsync`s no retry brings back, and the
//! engine is ahead of the disk already. Recovery is a restart.

use std::{sync::Arc, time::Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, WrapFuture as _,
};
use evenkeel_core::engine::{Change, Effects};
use evenkeel_shared::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    coordinator::IN_FLIGHT_MAX,
    publisher::{Publish, Publisher},
};
use crate::{
    failpoint::{self, Point},
    metrics::Metrics,
    release::Dispatcher,
    snapshot::SnapshotUpdate,
    store::{Store, StoreError},
};

/// What the mailbox holds: a batch for every permit, and the process's own messages (prune, release).
pub const MAILBOX_MAX: usize = IN_FLIGHT_MAX + 8;

/// What happens when a commit fails. It is not expected to return.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// Owns the store.
pub struct StoreWriter {
    store: Box<dyn Store>,
    dispatcher: Dispatcher,
    publisher: Addr<Publisher>,
    metrics: Metrics,
    on_fatal: OnFatal,
    queue: Vec<Commit>,
    changes: Vec<Change>,
    unpublished: Option<SnapshotUpdate>,
    scheduled: bool,
}

/// The effects of a batch of events.
#[derive(Debug)]
pub struct Commit {
    /// What to make durable and then to say.
    pub effects: Effects,
    /// What readers may see after that.
    pub snapshot: Option<SnapshotUpdate>,
    /// Given back once the messages are out.
    pub permit: OwnedSemaphorePermit,
}

impl Message for Commit {
    type Result = ();
}

/// Remove terminal tasks that ended before this. Answered with how many were removed.
#[derive(Debug)]
pub struct Prune {
    /// Those that ended earlier go.
    pub before: Timestamp,
    /// At most so many.
    pub limit: usize,
}

impl Message for Prune {
    type Result = Result<usize, StoreError>;
}

/// Give the store up, after everything before it.
#[derive(Debug)]
pub struct Release;

impl Message for Release {
    type Result = Result<(), StoreError>;
}

impl StoreWriter {
    /// A writer of this store.
    #[must_use]
    pub fn new(
        store: Box<dyn Store>,
        dispatcher: Dispatcher,
        publisher: Addr<Publisher>,
        metrics: Metrics,
        on_fatal: OnFatal,
    ) -> Self {
        Self {
            store,
            dispatcher,
            publisher,
            metrics,
            on_fatal,
            queue: Vec::with_capacity(IN_FLIGHT_MAX),
            changes: Vec::new(),
            unpublished: None,
            scheduled: false,
        }
    }

    /// Commits the whole queue in one transaction and lets its messages out.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        failpoint::hit(Point::StoreWriter);
        self.changes.clear();
        for batch in &mut self.queue {
            self.changes.append(&mut batch.effects.changes);
        }
        if !self.changes.is_empty() {
            if failpoint::acks_before_commit() {
                for batch in &mut self.queue {
                    self.dispatcher.release(std::mem::take(&mut batch.effects.messages));
                }
                failpoint::acked_before_commit();
            }
            failpoint::hit(Point::BeforeCommit);
            let started = Instant::now();
            if let Err(error) = self.store.commit(&self.changes) {
                tracing::error!(%error, changes = self.changes.len(), "a commit failed; the process ends");
                self.queue.clear();
                (self.on_fatal)(&error);
                ctx.stop();
                return;
            }
            self.metrics.committed(self.changes.len(), started.elapsed());
            failpoint::committed(self.queue.iter().flat_map(|batch| &batch.effects.messages));
        }
        for batch in self.queue.drain(..) {
            if let Some(update) = batch.snapshot {
                publish(&self.publisher, &mut self.unpublished, update);
            }
            self.dispatcher.release(batch.effects.messages);
            drop(batch.permit);
        }
    }
}

/// Publishes, or keeps the update for the next time if the publisher is behind.
fn publish(publisher: &Addr<Publisher>, unpublished: &mut Option<SnapshotUpdate>, update: SnapshotUpdate) {
    let update = match unpublished.take() {
        None => update,
        Some(mut earlier) => {
            earlier.merge(update);
            earlier
        }
    };
    if let Err(error) = publisher.try_send(Publish(update)) {
        *unpublished = Some(error.into_inner().0);
    }
}

impl Actor for StoreWriter {
    type Context = Context<Self>;
}

impl Handler<Commit> for StoreWriter {
    type Result = ();

    fn handle(&mut self, batch: Commit, ctx: &mut Self::Context) {
        self.queue.push(batch);
        if !self.scheduled {
            self.scheduled = true;
            // Spawned futures run when the mailbox is empty, which the number of permits brings about.
            ctx.spawn(async {}.into_actor(self).map(|(), actor, ctx| {
                actor.scheduled = false;
                actor.commit(ctx);
            }));
        }
    }
}

impl Handler<Prune> for StoreWriter {
    type Result = Result<usize, StoreError>;

    fn handle(&mut self, prune: Prune, _: &mut Self::Context) -> Self::Result {
        self.store.prune(prune.before, prune.limit)
    }
}

impl Handler<Release> for StoreWriter {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        self.commit(ctx);
        self.store.release()
    }
}
