//! The coordinator actor: feeds the engine and hands its effects on. It decides nothing.
//!
//! It takes everything that is in its mailbox before it hands the effects to the store writer, so that a busy coordinator
//! makes few large transactions and an idle one makes small ones at once. As many batches as there are permits are with the
//! writer; without one the actor rests, its mailbox fills, and the intake refuses or holds back: that is the backpressure
//! from the disk to the clients.
//!
//! A few messages that wait for no change are said here and now if nothing is with the writer, which would only pass them
//! on: two wake-ups of threads are most of the time that an ephemeral task takes when little else is going on. More than a
//! few go to the writer all the same, so that the engine works on while they are said.

use std::{mem, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message,
    ResponseActFuture, SpawnHandle, WrapFuture as _,
};
use evenkeel_core::{
    engine::{Effects, Engine, Event, limits::TICK_INTERVAL},
    model::Explanation,
};
use evenkeel_shared::{TaskId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::store_writer::{Commit, StoreWriter};
use crate::{
    clock::Clock,
    failpoint::{self, Point},
    heartbeats::Heartbeats,
    lifecycle::Lifecycle,
    release::{Dispatcher, Unsaid},
    snapshot::SnapshotUpdate,
    telemetry::Active,
    thread_time,
};

/// Batches with the store writer: one that commits, and enough to make the next transaction a large one. More would only
/// lengthen the queue.
pub const IN_FLIGHT_MAX: usize = 16;
/// Changes in one batch beyond which nothing more is gathered: a transaction of a few milliseconds.
pub const GATHER_CHANGES_MAX: usize = 8_192;
/// Messages of the mailbox gathered into one batch: the mailbox may never be empty.
const GATHER_MESSAGES_MAX: usize = 256;
/// Messages that are said by the engine's own thread: what one task or a handful of them causes, some ten microseconds.
const SAID_AT_ONCE_MAX: usize = 64;
/// Between two publications of what readers see: people do not see faster, and a busy fleet changes as a whole in between.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);

/// Owns the engine.
pub struct CoordinatorActor {
    engine: Engine,
    clock: Clock,
    lifecycle: Lifecycle,
    writer: Addr<StoreWriter>,
    dispatcher: Dispatcher,
    /// What agents said in between.
    heartbeats: Heartbeats,
    /// What is with the writer.
    unsaid: Unsaid,
    in_flight: Arc<Semaphore>,
    gathered: Effects,
    gathered_messages: usize,
    hand_over: HandOver,
    wakeup: Option<(Timestamp, SpawnHandle)>,
    published_at: Timestamp,
    publish_now: bool,
    /// Something has happened since readers were last shown how things stand.
    unpublished: bool,
    /// What the engine was told of the store.
    store_full: bool,
    stopped: bool,
}

/// Whether what is gathered is on its way to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandOver {
    /// Nothing is to be done.
    Idle,
    /// It happens once the mailbox is empty.
    Scheduled,
    /// It waits for the writer.
    Blocked,
}

/// Events, in order.
#[derive(Debug)]
pub struct Batch {
    events: Vec<Event>,
    /// The place in the mailbox, given back when the batch is handled.
    place: OwnedSemaphorePermit,
    /// Of a session, its turn, given back likewise.
    turn: Option<OwnedSemaphorePermit>,
}

impl Message for Batch {
    type Result = ();
}

impl Batch {
    /// A batch that holds this place in the mailbox.
    #[must_use]
    pub const fn new(events: Vec<Event>, place: OwnedSemaphorePermit) -> Self {
        Self { events, place, turn: None }
    }

    /// Of a session that has nothing else to be handled until this is.
    #[must_use]
    pub fn in_turn(self, turn: OwnedSemaphorePermit) -> Self {
        Self { turn: Some(turn), ..self }
    }
}

/// Why a live task is where it is.
#[derive(Debug)]
pub struct Explain {
    /// The task.
    pub task: TaskId,
    /// Agents to show at most.
    pub candidates_max: usize,
    /// Where the answer goes; `None`: not live.
    pub answer: oneshot::Sender<Option<Explanation>>,
    /// The place in the mailbox.
    pub place: OwnedSemaphorePermit,
}

impl Message for Explain {
    type Result = ();
}

/// What is looked at of the engine, at a time.
pub type Glance = Box<dyn FnOnce(&Engine, Timestamp) + Send>;

/// A look at the engine: runs between two batches, so it must be short.
pub struct Look {
    /// What is looked at; it sends its own answer.
    pub at: Glance,
    /// The place in the mailbox.
    pub place: OwnedSemaphorePermit,
}

impl Message for Look {
    type Result = ();
}

/// Handle nothing from here on. Answered once everything before is with the store writer.
#[derive(Debug)]
pub struct Stop;

impl Message for Stop {
    type Result = ();
}

impl CoordinatorActor {
    /// An actor around this engine.
    #[must_use]
    pub fn new(
        engine: Engine,
        clock: Clock,
        lifecycle: Lifecycle,
        writer: Addr<StoreWriter>,
        dispatcher: Dispatcher,
        heartbeats: Heartbeats,
    ) -> Self {
        Self {
            engine,
            clock,
            lifecycle,
            writer,
            dispatcher,
            heartbeats,
            unsaid: Unsaid::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            gathered: Effects::default(),
            gathered_messages: 0,
            hand_over: HandOver::Idle,
            wakeup: None,
            published_at: Timestamp::ZERO,
            publish_now: true,
            unpublished: false,
            store_full: false,
            stopped: false,
        }
    }

    fn feed(&mut self, events: impl IntoIterator<Item = Event>) {
        let began = self.dispatcher.traces.active().map_or(Timestamp::ZERO, Active::now);
        // They came before, and are handled at the times at which they came.
        let Self { engine, heartbeats, gathered, .. } = self;
        let mut beats = 0;
        heartbeats.take(|at, heartbeat| {
            beats += 1;
            engine.handle(at, heartbeat, gathered);
        });
        let now = self.clock.now();
        if beats > 0
            && let Some(traces) = self.dispatcher.traces.active()
        {
            traces.heartbeats(began, beats);
        }
        let full = self.lifecycle.store_is_full();
        if full != mem::replace(&mut self.store_full, full) {
            self.engine.handle(now, Event::StoreFull(full), &mut self.gathered);
        }
        for event in events {
            // Who changes the fleet by hand reads it back at once.
            self.publish_now |= matches!(event, Event::Admin { .. } | Event::SetStrategy { .. });
            self.engine.handle(now, event, &mut self.gathered);
        }
        // A mailbox that is never empty would keep the timer from running.
        if self.engine.next_wakeup().is_some_and(|at| at <= now) {
            self.engine.handle(now, Event::Tick, &mut self.gathered);
        }
        self.lifecycle.saw_loop();
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        self.gathered_messages += 1;
        let full = self.gathered.changes.len() >= GATHER_CHANGES_MAX || self.gathered_messages >= GATHER_MESSAGES_MAX;
        match self.hand_over {
            HandOver::Blocked => {}
            _ if full => self.hand_over(ctx),
            HandOver::Scheduled => {}
            HandOver::Idle => {
                self.hand_over = HandOver::Scheduled;
                // Spawned futures run when the mailbox is empty.
                ctx.spawn(async {}.into_actor(self).map(|(), actor, ctx| {
                    if actor.hand_over == HandOver::Scheduled {
                        actor.hand_over(ctx);
                    }
                }));
            }
        }
    }

    /// Hands what is gathered to the writer, now or as soon as it has room; until then the mailbox rests.
    fn hand_over(&mut self, ctx: &mut Context<Self>) {
        self.hand_over = HandOver::Idle;
        if self.says_at_once() {
            self.gathered_messages = 0;
            self.unpublished = true;
            // Emptied and kept: there is one such batch for each event of a quiet coordinator.
            self.dispatcher.release(&mut self.gathered.messages);
            self.arm(ctx);
            return;
        }
        match Arc::clone(&self.in_flight).try_acquire_owned() {
            Ok(permit) => self.send(permit, ctx),
            Err(_) => {
                self.hand_over = HandOver::Blocked;
                self.lifecycle.set_waits_for_store(true);
                let room = Arc::clone(&self.in_flight).acquire_owned();
                ctx.wait(room.into_actor(self).map(|permit, actor, ctx| {
                    actor.hand_over = HandOver::Idle;
                    actor.lifecycle.set_waits_for_store(false);
                    // The semaphore is never closed.
                    if let Ok(permit) = permit {
                        actor.send(permit, ctx);
                    }
                }));
            }
        }
    }

    /// Whether what is gathered waits for nothing: for no change of its own, and for nothing that is to be said before it.
    fn says_at_once(&self) -> bool {
        let Effects { changes, messages } = &self.gathered;
        changes.is_empty()
            && (1..=SAID_AT_ONCE_MAX).contains(&messages.len())
            && self.unsaid.is_none()
            && !self.snapshot_is_due(self.clock.now())
    }

    fn send(&mut self, permit: OwnedSemaphorePermit, ctx: &mut Context<Self>) {
        self.gathered_messages = 0;
        self.unpublished |= !self.gathered.is_empty();
        let snapshot = self.snapshot_if_due();
        if !self.gathered.is_empty() || snapshot.is_some() {
            let effects = mem::replace(&mut self.gathered, self.dispatcher.spare.take());
            let commit = Commit { effects, snapshot, permit: Some(permit), unsaid: self.unsaid.one() };
            if self.writer.try_send(commit).is_err() {
                // Its mailbox has room for every permit, so it is gone, and with it the only way to record anything.
                tracing::error!("the store writer is gone; the coordinator stops");
                self.stopped = true;
                ctx.stop();
            }
        }
        self.arm(ctx);
    }

    fn snapshot_if_due(&mut self) -> Option<SnapshotUpdate> {
        let now = self.clock.now();
        if !self.snapshot_is_due(now) {
            return None;
        }
        self.publish_now = false;
        self.unpublished = false;
        self.published_at = now;
        if let Some(worked) = thread_time::on_processor() {
            self.dispatcher.metrics.engine_worked(worked);
        }
        Some(SnapshotUpdate { agents: self.engine.take_changed_agents(), status: self.engine.status(now) })
    }

    fn snapshot_is_due(&self, now: Timestamp) -> bool {
        self.publish_now || now.since(self.published_at) >= PUBLISH_INTERVAL
    }

    /// Sets the timer to what the engine and the readers wait for, and to the tick at the latest.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let tick = now.plus(TICK_INTERVAL);
        let publish = self.unpublished.then(|| self.published_at.plus(PUBLISH_INTERVAL));
        let at = [self.engine.next_wakeup(), publish].into_iter().flatten().fold(tick, Timestamp::min);
        if let Some((armed, handle)) = self.wakeup {
            if armed <= at && armed > now {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(at.since(now), move |actor, ctx| {
            actor.wakeup = None;
            actor.lifecycle.loop_was_late(actor.clock.now().since(at));
            if !actor.stopped {
                actor.feed([Event::Tick]);
                actor.schedule(ctx);
            }
        });
        self.wakeup = Some((at, handle));
    }
}

impl Actor for CoordinatorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.feed([Event::Tick]);
        self.schedule(ctx);
    }
}

impl Handler<Batch> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, batch: Batch, ctx: &mut Self::Context) {
        failpoint::hit(Point::Engine);
        let Batch { events, place, turn } = batch;
        if !self.stopped {
            self.feed(events);
            self.schedule(ctx);
        }
        drop((place, turn));
    }
}

impl Handler<Explain> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, question: Explain, _: &mut Self::Context) {
        let explanation = self.engine.explain(self.clock.now(), question.task, question.candidates_max);
        // Who asked may have gone.
        let _ = question.answer.send(explanation);
        drop(question.place);
    }
}

impl Handler<Look> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, look: Look, _: &mut Self::Context) {
        (look.at)(&self.engine, self.clock.now());
        drop(look.place);
    }
}

impl Handler<Stop> for CoordinatorActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.stopped = true;
        let room = Arc::clone(&self.in_flight).acquire_owned();
        Box::pin(room.into_actor(self).map(|permit, actor, ctx| {
            actor.publish_now = true;
            if let Ok(permit) = permit {
                actor.send(permit, ctx);
            }
        }))
    }
}
