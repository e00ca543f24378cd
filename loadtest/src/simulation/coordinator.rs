//! The simulated coordinator: the real engine in a shell that keeps the real shell's order.
//!
//! Events are handled as they come and their effects gathered; a batch is handed to the writer, which commits whatever has
//! queued up, and only then lets the messages out. As in the real shell so many batches may be with the writer, beyond
//! which the mailbox rests; a full disk is waited out, with its batches held and changes refused; a failed sync ends the
//! process. What a process has in memory dies with it, and of a commit under way nobody knows whether it is on the disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use evenkeel_coordinator::services::cluster::Identity;
use evenkeel_core::{
    engine::{Effects, Engine, Event, RequestId, invariants, limits::TICK_INTERVAL},
    model::{AgentView, Recovery},
};
use evenkeel_shared::{AgentId, SessionEpoch, TaskId, Tenant, Timestamp};

use super::{
    agents::on_clock,
    network::ConnId,
    plan::between,
    trace::About,
    world::{What, World},
};

mod writer;

use writer::Writer;

pub(super) use super::{
    requests::{Ask, Pending, Request},
    sessions::Server,
};

/// Batches with the writer, as in the real shell.
const IN_FLIGHT_MAX: usize = 16;
/// Bits of a session's number below the incarnation, as in the real shell.
const EPOCH_BITS: u32 = 40;

/// Where a fault wants the process to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrashPoint {
    /// The changes are with the writer, and not on the disk.
    BeforeCommit,
    /// They are on the disk, and nobody has been told.
    BeforeRelease,
    /// Everybody has been told.
    AfterRelease,
}

/// The coordinator of the cluster, alive or not.
#[derive(Default)]
pub(super) struct Coordinator {
    /// Processes so far.
    pub life: u64,
    pub core: Option<Box<Core>>,
    pub paused_until: Timestamp,
    pub paused_since: Option<Timestamp>,
    /// Of its wall clock, from the true time; it counts when a process starts.
    pub clock_ahead_us: i64,
    pub crash_at: Option<CrashPoint>,
    /// How far the engine's clock is from the true time, from when on.
    clocks: Vec<(Timestamp, i64)>,
}

impl Coordinator {
    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// How far the engine's clock went back at most from one process to a later one.
    pub fn clock_went_back(&self) -> Duration {
        let mut furthest = i64::MIN;
        let mut back = 0;
        for &(_, ahead) in &self.clocks {
            furthest = furthest.max(ahead);
            back = back.max(furthest.saturating_sub(ahead));
        }
        Duration::from_micros(back.unsigned_abs())
    }

    /// The true time of a time that the engine recorded; there may be several if its clock went back.
    pub fn true_times(&self, recorded: Timestamp) -> impl Iterator<Item = Timestamp> {
        let ends = self.clocks.iter().skip(1).map(|(from, _)| *from).chain([Timestamp::MAX]);
        self.clocks.iter().zip(ends).filter_map(move |(&(from, ahead), to)| {
            let at = on_clock(recorded, -ahead);
            (from <= at && at <= to).then_some(at)
        })
    }
}

/// What a process of the coordinator has in memory.
pub(super) struct Core {
    pub engine: Engine,
    pub identity: Identity,
    clock_ahead_us: i64,
    pub sessions: BTreeMap<SessionEpoch, ConnId>,
    pub last_epoch: u64,
    gathered: Effects,
    hand_over_is_due: bool,
    in_flight: usize,
    /// What waits while no more batches may be with the writer.
    pub mailbox: VecDeque<Mail>,
    /// Since when the mailbox has rested.
    rests_since: Option<Timestamp>,
    writer: Writer,
    pub requests: BTreeMap<RequestId, Pending>,
    /// Tasks that are being driven again at the moment.
    pub redrives: BTreeSet<TaskId>,
    pub last_request: u64,
    /// Orders that wait for tasks.
    pub waiters: BTreeMap<TaskId, Vec<usize>>,
    wakeup: Option<Timestamp>,
    handled: u64,
    store_full_told: bool,
    /// How agents looked when that was last asked.
    pub views: BTreeMap<AgentId, AgentView>,
    /// The keys of ephemeral tasks that are over.
    pub ended_keys: BTreeMap<(Tenant, String), (TaskId, u128)>,
    /// Ephemeral tasks that are over, as long as the process remembers.
    pub ended: BTreeMap<TaskId, std::sync::Arc<evenkeel_core::engine::FinishedTask>>,
}

/// Something for the engine.
pub(super) struct Mail {
    pub events: Vec<Event>,
    /// The connection that is not read until this is handled.
    pub from: Option<ConnId>,
}

impl World {
    /// A process of the coordinator starts on what is on the disk.
    pub(super) fn start_coordinator(&mut self) {
        if self.coordinator.is_up() {
            return;
        }
        let recovery = self.disk.store.recover();
        let Recovery { incarnation, .. } = recovery;
        let tasks = recovery.tasks.len();
        let ahead = self.coordinator.clock_ahead_us;
        let started = on_clock(self.now, ahead);
        let mut engine = match Engine::new(started, self.plan.engine.clone(), recovery) {
            Ok(engine) => engine,
            Err(error) => return self.breach("recovers", None, error.to_string()),
        };
        if let Some(sabotage) = self.plan.sabotage.engine {
            sabotage(&mut engine);
        }
        let coordinator = &mut self.coordinator;
        coordinator.life += 1;
        coordinator.paused_until = Timestamp::ZERO;
        coordinator.paused_since = None;
        coordinator.clocks.push((self.now, ahead));
        let identity = Identity {
            coordinator_id: format!("coordinator {incarnation}"),
            version: "simulated",
            data_dir: String::new(),
            traces: false,
        };
        coordinator.core = Some(Box::new(Core {
            engine,
            identity,
            clock_ahead_us: ahead,
            sessions: BTreeMap::new(),
            last_epoch: incarnation << EPOCH_BITS,
            gathered: Effects::default(),
            hand_over_is_due: false,
            in_flight: 0,
            mailbox: VecDeque::new(),
            rests_since: None,
            writer: Writer::default(),
            requests: BTreeMap::new(),
            redrives: BTreeSet::new(),
            last_request: 0,
            waiters: BTreeMap::new(),
            wakeup: None,
            handled: 0,
            store_full_told: false,
            views: BTreeMap::new(),
            ended_keys: BTreeMap::new(),
            ended: BTreeMap::new(),
        }));
        self.note(About::Fault, || format!("coordinator starts for the {incarnation}. time with {tasks} tasks"));
        self.feed(Mail { events: vec![Event::Tick], from: None });
    }

    /// The process dies with all that it has in memory.
    pub(super) fn crash_coordinator(&mut self, why: &str) {
        let Some(core) = self.coordinator.core.take() else { return };
        self.note(About::Fault, || format!("coordinator dies: {why}"));
        self.troubles.all(self.now, self.now);
        let Core { writer, requests, .. } = *core;
        // Nobody knows whether a commit that was under way is on the disk.
        if writer.busy && !writer.full && self.draws.coordinator.bool() {
            self.note(About::Fault, || "the commit under way was on the disk".to_owned());
            for batch in &writer.group {
                self.disk.commit(&batch.changes);
            }
        }
        self.break_requests(requests);
        self.break_connections();
        self.coordinator.crash_at = None;
        self.coordinator.paused_until = Timestamp::ZERO;
        let after = between(Duration::from_millis(100), Duration::from_secs(15), &mut self.draws.faults);
        self.later(after, What::Start);
    }

    /// The engine's time.
    pub(super) fn engine_time(&self) -> Timestamp {
        self.coordinator.core.as_ref().map_or(self.now, |core| on_clock(self.now, core.clock_ahead_us))
    }

    /// The core of this process, if it still lives.
    pub(super) fn core(&mut self, life: u64) -> Option<&mut Core> {
        let coordinator = &mut self.coordinator;
        if coordinator.life == life { coordinator.core.as_deref_mut() } else { None }
    }

    /// Hands the engine something, now or once the mailbox goes on.
    pub(super) fn feed(&mut self, mail: Mail) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if core.in_flight >= IN_FLIGHT_MAX {
            core.mailbox.push_back(mail);
            core.rests_since.get_or_insert(self.now);
            return;
        }
        self.handle(mail);
    }

    fn handle(&mut self, mail: Mail) {
        let now = self.engine_time();
        let check_every = self.plan.check_every;
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if core.store_full_told != core.writer.full {
            core.store_full_told = core.writer.full;
            core.engine.handle(now, Event::StoreFull(core.writer.full), &mut core.gathered);
        }
        for event in mail.events {
            core.engine.handle(now, event, &mut core.gathered);
            core.handled += 1;
        }
        if core.engine.next_wakeup().is_some_and(|at| at <= now) {
            core.engine.handle(now, Event::Tick, &mut core.gathered);
        }
        if core.handled >= check_every {
            core.handled = 0;
            self.check_invariants();
        }
        if let Some(conn) = mail.from {
            self.read_on(conn);
        }
        self.schedule_hand_over();
        self.arm();
    }

    /// Looks whether the engine is in order. It scans, so it is done now and then.
    pub(super) fn check_invariants(&mut self) {
        let Some(core) = &self.coordinator.core else { return };
        if let Some(wrong) = invariants::check(&core.engine).into_iter().next() {
            self.breach("engine-invariants", None, wrong);
        }
    }

    fn arm(&mut self) {
        let (now, life) = (self.now, self.coordinator.life);
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let engine_now = on_clock(now, core.clock_ahead_us);
        let tick = now.plus(TICK_INTERVAL);
        let wanted = core.engine.next_wakeup().map(|at| now.plus(at.since(engine_now)));
        let at = wanted.map_or(tick, |at| at.min(tick));
        if core.wakeup.is_some_and(|armed| armed <= at && armed > now) {
            return;
        }
        core.wakeup = Some(at);
        self.at(at, What::Wakeup { life, at });
    }

    pub(super) fn wake(&mut self, life: u64, at: Timestamp) {
        let Some(core) = self.core(life) else { return };
        if core.wakeup != Some(at) {
            return;
        }
        core.wakeup = None;
        if core.in_flight >= IN_FLIGHT_MAX {
            // The actor rests: it looks at the time when it goes on.
            return;
        }
        self.feed(Mail { events: vec![Event::Tick], from: None });
    }

    /// Whether everything that the engine decided is durable and said.
    pub(super) fn is_quiet(&self) -> bool {
        self.coordinator.core.as_ref().is_some_and(|core| {
            core.gathered.changes.is_empty() && core.mailbox.is_empty() && core.requests.is_empty() && !core.writer.full
        })
    }

    /// Whether changes are refused because the disk is full.
    pub(super) fn store_is_full(&self) -> bool {
        self.coordinator.core.as_ref().is_some_and(|core| core.writer.full)
    }
}
