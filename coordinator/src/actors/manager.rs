//! The manager's actor: once a second it shows the resource manager how the fleet is, and carries out what follows. It
//! decides nothing.
//!
//! It has a thread of its own, and nothing on the way of a task waits for it: it reads what is published, looks at the engine
//! like any operator, and what it wants stored goes through the engine's mailbox like any request. While that is on its way
//! the actor rests, so that what is answered is stored, in order.
//!
//! The manager is the one part whose failure does not end the process: what it had set stays, tasks are placed as before,
//! and only the looking at the whole stops. A panic in it is caught, its state is given up, and after a while it begins
//! again from what was declared. Ending the process, as for every other panic, was rejected: a fault in a forecast would
//! then cost every agent its session. Going on with the state as the panic left it was rejected too: nobody knows what it is.

use std::{
    any::Any,
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, WrapFuture as _, prelude::SendError,
};
use evenkeel_core::{
    capacity::{Action, Decision, ScalingOutcome},
    engine::AdminCommand,
    insight::sample::{CacheSample, MoreSamples, ShellSample},
    manager::{FleetSample, Manager, ManagerRecovery, ManagerSettings, Notice, Outputs, change::Step},
    model::{ClusterEventKind, Declaration, Record},
};
use evenkeel_shared::{Code, Error, Timestamp};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};

use super::{guards_shown::GuardsShown, system};
use crate::{
    actuators::Actuator,
    failpoint::{self, Point},
    gateway::Gateway,
    lifecycle::Lifecycle,
    metrics::Metrics,
    snapshot::Snapshot,
};

/// Between two looks at the fleet: as fine as its measurements are, since agents send theirs once a second.
pub const TURN_INTERVAL: Duration = Duration::from_secs(1);
/// Questions of operators that wait: they are people and scripts, not tasks.
const QUESTIONS_MAX: usize = 64;
/// How long the engine may take to tell what it knows: it answers between two batches of events, so within milliseconds.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// What the mailbox holds: every question, and the actor's own messages.
pub const MAILBOX_MAX: usize = QUESTIONS_MAX + 16;
/// How long an operator waits for an answer, however busy the manager is.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Records in one event for the engine, so that a large fleet's measurements do not fill one transaction: some milliseconds.
const KEEP_RECORDS_MAX: usize = 256;
/// Records that wait because the store had no room for them; beyond it the oldest measurements are let go.
const UNKEPT_MAX: usize = 8_192;
/// After a panic the manager rests for so long, then twice as long after each further one,
const RESTART_FIRST: Duration = Duration::from_secs(5);
/// up to this: an operator who looks at it an hour later finds that it still tries.
const RESTART_MAX: Duration = Duration::from_secs(600);
/// So long without a panic, and the next one counts as the first.
const WELL_AFTER: Duration = Duration::from_secs(600);

/// What a question leaves behind: the answer, to be given once all is stored.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Question = Box<dyn FnOnce(&mut Manager, Timestamp, &mut Outputs) -> Answer + Send>;

/// Where the manager is in its life, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerPhase {
    /// It looks at the fleet.
    Running,
    /// The settings say that there is none.
    Off,
    /// It panicked, and rests until then.
    Failed {
        /// What it said.
        message: String,
        /// When it begins again.
        until: Timestamp,
    },
}

/// What is shown of the manager itself. Clones share it.
#[derive(Clone, Debug)]
pub struct ManagerState(Arc<State>);

#[derive(Debug)]
struct State {
    phase: Mutex<ManagerPhase>,
    running: AtomicBool,
    turns: AtomicU64,
    panics: AtomicU64,
    turn_us: AtomicU64,
    turns_us: AtomicU64,
    unkept: AtomicU64,
    scaling: watch::Sender<ScalingShown>,
    guards: Mutex<GuardsShown>,
}

/// What is shown of the fleet's size to those who ask often. Counters are since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScalingShown {
    /// The manager has looked at the fleet.
    pub known: bool,
    /// Agents that can be given work.
    pub agents: u32,
    /// Agents that are wanted.
    pub wanted: u32,
    /// Decisions to grow.
    pub ups: u64,
    /// Decisions to shrink.
    pub downs: u64,
    /// Changes that failed.
    pub failures: u64,
}

impl ManagerState {
    /// Of a manager that runs, or of none.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        let phase = if enabled { ManagerPhase::Running } else { ManagerPhase::Off };
        Self(Arc::new(State {
            running: AtomicBool::new(enabled),
            phase: Mutex::new(phase),
            turns: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            turn_us: AtomicU64::new(0),
            turns_us: AtomicU64::new(0),
            unkept: AtomicU64::new(0),
            scaling: watch::Sender::new(ScalingShown::default()),
            guards: Mutex::default(),
        }))
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> ManagerPhase {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the fleet goes on with what was last set, without anybody who looks at the whole.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        !self.0.running.load(Ordering::Acquire)
    }

    /// Looks at the fleet, since the process started.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Relaxed)
    }

    /// Panics since the process started.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    /// How long the last look took, of the manager alone.
    #[must_use]
    pub fn last_turn(&self) -> Duration {
        Duration::from_micros(self.0.turn_us.load(Ordering::Relaxed))
    }

    /// How long all of them took together.
    #[must_use]
    pub fn all_turns(&self) -> Duration {
        Duration::from_micros(self.0.turns_us.load(Ordering::Relaxed))
    }

    /// Records that could not be stored and were let go.
    #[must_use]
    pub fn records_dropped(&self) -> u64 {
        self.0.unkept.load(Ordering::Relaxed)
    }

    /// How large the fleet is and should be, as of the last look.
    #[must_use]
    pub fn scaling(&self) -> ScalingShown {
        *self.0.scaling.borrow()
    }

    /// The same, to be told of every change.
    #[must_use]
    pub fn watch_scaling(&self) -> watch::Receiver<ScalingShown> {
        self.0.scaling.subscribe()
    }

    /// Limits, budgets, quotas and breakers, as of the last look.
    #[must_use]
    pub fn guards(&self) -> GuardsShown {
        *self.0.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_guards(&self, guards: GuardsShown) {
        *self.0.guards.lock().unwrap_or_else(PoisonError::into_inner) = guards;
    }

    /// As if a manager had looked at the fleet.
    #[cfg(test)]
    pub(crate) fn show_wanted(&self, agents: u32, wanted: u32) {
        self.show_scaling(agents, wanted, &Outputs::default());
    }

    fn show_scaling(&self, agents: u32, wanted: u32, out: &Outputs) {
        let decided = |record: &Record| match record {
            Record::Scaling(record) => Decision::read(record).ok(),
            _ => None,
        };
        let decisions: Vec<Decision> = out.records.iter().filter_map(decided).collect();
        self.0.scaling.send_if_modified(|shown| {
            let before = *shown;
            (shown.known, shown.agents, shown.wanted) = (true, agents, wanted);
            for decision in &decisions {
                match (decision.outcome, decision.action) {
                    (ScalingOutcome::Failed, _) => shown.failures += 1,
                    (ScalingOutcome::Done, _) => {}
                    (_, Action::Up) => shown.ups += 1,
                    (_, Action::Down) => shown.downs += 1,
                    (_, Action::None) => {}
                }
            }
            *shown != before
        });
    }

    fn enter(&self, phase: ManagerPhase) {
        self.0.running.store(phase == ManagerPhase::Running, Ordering::Release);
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.turns.fetch_add(1, Ordering::Relaxed);
        self.0.turn_us.store(us, Ordering::Relaxed);
        self.0.turns_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What is answered while nobody is there to answer.
    fn refusal(&self, now: Timestamp) -> Error {
        match self.phase() {
            ManagerPhase::Failed { message, until } => Error {
                retry_after: Some(until.since(now)),
                ..Error::new(
                    Code::Unavailable,
                    format!(
                        "the resource manager failed ({message}) and begins again soon; limits, budgets and the size of \
                         the fleet stay as they were last set, and tasks go on"
                    ),
                )
            },
            ManagerPhase::Off => Error::new(
                Code::FailedPrecondition,
                "the resource manager is off; set `enabled = true` under `[resources]` and restart the coordinator",
            ),
            ManagerPhase::Running => Lifecycle::restarting(),
        }
    }
}

/// The services' way to the manager. Clones share it.
#[derive(Clone)]
pub struct ManagerHandle {
    actor: Option<Addr<ManagerActor>>,
    places: Arc<Semaphore>,
    state: ManagerState,
    gateway: Gateway,
}

impl ManagerHandle {
    /// The way to this manager; `None`: it is off.
    #[must_use]
    pub fn new(actor: Option<Addr<ManagerActor>>, state: ManagerState, gateway: Gateway) -> Self {
        Self { actor, places: Arc::new(Semaphore::new(QUESTIONS_MAX)), state, gateway }
    }

    /// What is shown of the manager itself.
    #[must_use]
    pub const fn state(&self) -> &ManagerState {
        &self.state
    }

    /// Asks the manager, or tells it something: answered once everything that `question` puts into the outputs is stored.
    /// `question` runs on the manager's thread and must be short; what it changes of the manager stays changed if the
    /// storing fails, and is stored later.
    ///
    /// # Errors
    /// UNAVAILABLE if the manager has failed or does not answer in time, RESOURCE_EXHAUSTED if too many ask, or why the
    /// records could not be stored.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Manager, Timestamp, &mut Outputs) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let now = self.gateway.clock.now();
        let Some(actor) = self.actor.as_ref().filter(|_| !self.state.is_fallback()) else {
            return Err(self.state.refusal(now));
        };
        let full = || Error::exhausted("the resource manager has as many questions as it can hold", TURN_INTERVAL);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let (sender, answered) = oneshot::channel();
        let question: Question = Box::new(move |manager, now, out| {
            let answer = question(manager, now, out);
            Box::new(move |stored: Result<(), Error>| {
                // Who asked may have gone.
                let _ = sender.send(stored.map(|()| answer));
            })
        });
        let (held, handled) = oneshot::channel();
        actor.try_send(Ask { question, place, held }).map_err(|error| match error {
            SendError::Full(_) => full(),
            SendError::Closed(_) => Lifecycle::restarting(),
        })?;
        tokio::select! {
            answer = timeout(ANSWER_WITHIN, answered) => match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => {
                    // A panic drops the question before anybody can say what has become of the manager.
                    let _ = handled.await;
                    Err(self.state.refusal(self.gateway.clock.now()))
                }
                Err(_) => Err(Error::new(Code::Unavailable, "the resource manager does not answer in time; try again")),
            },
            () = self.gateway.lifecycle.closed() => Err(Lifecycle::restarting()),
        }
    }
}

/// A question to the manager.
struct Ask {
    question: Question,
    place: OwnedSemaphorePermit,
    /// Dropped once the state says what has become of the manager.
    held: oneshot::Sender<()>,
}

impl Message for Ask {
    type Result = ();
}

/// Asks the coordinator's caches for their statistics: a few locks, once a second.
pub type Caches = Arc<dyn Fn() -> Vec<CacheSample> + Send + Sync>;

/// What the actor is made of.
pub struct ManagerParts {
    /// The way to the engine.
    pub gateway: Gateway,
    /// What is shown of the fleet.
    pub snapshot: Snapshot,
    /// Counters of the shell.
    pub metrics: Metrics,
    /// What the coordinator's caches say of themselves.
    pub caches: Caches,
    /// What is shown of the manager.
    pub state: ManagerState,
    /// Its settings.
    pub settings: ManagerSettings,
    /// Where the last incarnation ended.
    pub recovery: ManagerRecovery,
    /// What carries decisions about the fleet's size out.
    pub actuator: Arc<dyn Actuator>,
    /// Where actuators run.
    pub runtime: Handle,
}

/// Owns the manager.
pub struct ManagerActor {
    parts: ManagerParts,
    /// `None`: it panicked and rests.
    manager: Option<Manager>,
    /// What could not be stored yet.
    unkept: VecDeque<Record>,
    failed_at: Option<Instant>,
    rest: Duration,
}

impl ManagerActor {
    /// An actor around a new manager.
    #[must_use]
    pub fn new(parts: ManagerParts) -> Self {
        Self { parts, manager: None, unkept: VecDeque::new(), failed_at: None, rest: RESTART_FIRST }
    }

    fn now(&self) -> Timestamp {
        self.parts.gateway.clock.now()
    }

    /// Begins, or begins again, from what was declared.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let (now, parts) = (self.now(), &self.parts);
        match guarded(|| Manager::new(now, &parts.settings, &parts.recovery)) {
            Ok(manager) => {
                self.manager = Some(manager);
                self.parts.state.enter(ManagerPhase::Running);
                if self.failed_at.is_some() {
                    let words = "the resource manager is back; it has begun again from what was declared";
                    let notices = vec![Notice::new(ClusterEventKind::Coordinator, words)];
                    self.carry_out(Outputs { notices, ..Outputs::default() }, None, ctx);
                }
            }
            Err(message) => self.fail(message, ctx),
        }
    }

    /// The manager panicked: its state is given up, and all goes on as it was last set.
    fn fail(&mut self, message: String, ctx: &mut Context<Self>) {
        self.manager = None;
        self.parts.state.0.panics.fetch_add(1, Ordering::Relaxed);
        if self.failed_at.is_none_or(|at| at.elapsed() >= self.rest + WELL_AFTER) {
            self.rest = RESTART_FIRST;
        }
        let rest = self.rest;
        self.rest = (rest * 2).min(RESTART_MAX);
        self.failed_at = Some(Instant::now());
        tracing::error!(message, ?rest, "the resource manager failed; tasks go on with what was last set");
        let words = format!(
            "the resource manager failed and rests for {} s; all that was set stays in force: {message}",
            rest.as_secs()
        );
        self.parts.state.enter(ManagerPhase::Failed { message, until: self.now().plus(rest) });
        ctx.run_later(rest, Self::begin);
        let notices = vec![Notice::new(ClusterEventKind::Coordinator, words)];
        self.carry_out(Outputs { notices, ..Outputs::default() }, None, ctx);
    }

    /// Asks the engine what it knows beside what it publishes, then looks at the fleet.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        if self.manager.is_none() {
            return;
        }
        let gateway = self.parts.gateway.clone();
        let asked = async move {
            let seen = gateway.look_at(|engine, now| (engine.more_samples(now), GuardsShown::of(engine, now)));
            // Without it tenants, kinds and limits are not measured in this second.
            timeout(LOOK_WITHIN, seen).await.ok().and_then(Result::ok).unwrap_or_default()
        };
        ctx.wait(asked.into_actor(self).map(|(more, guards), actor, ctx| {
            actor.parts.state.show_guards(guards);
            actor.look(more, ctx);
        }));
    }

    fn look(&mut self, more: MoreSamples, ctx: &mut Context<Self>) {
        let Some(manager) = &mut self.manager else { return };
        let parts = &self.parts;
        let started = Instant::now();
        let done = guarded(|| {
            failpoint::hit(Point::Manager);
            let mut out = Outputs::default();
            let sample = FleetSample {
                at: parts.gateway.clock.now(),
                status: parts.snapshot.status(),
                agents: parts.snapshot.all_agents(),
                more: MoreSamples {
                    shell: ShellSample { caches: (parts.caches)(), ..parts.metrics.shell_sample() },
                    ..more
                },
            };
            manager.turn(&sample, &mut out);
            out
        });
        match done {
            Ok(out) => {
                parts.state.took(started.elapsed());
                parts.state.show_scaling(manager.scaling.agents(), manager.scaling.wanted(), &out);
                self.carry_out(out, None, ctx);
            }
            Err(message) => self.fail(message, ctx),
        }
    }

    /// Stores and says what is wanted, then answers. Until then the actor rests, so that all happens in order.
    fn carry_out(&mut self, mut out: Outputs, answer: Option<Answer>, ctx: &mut Context<Self>) {
        for record in &out.records {
            if let Record::Declared(declaration) = record {
                remember(&mut self.parts.recovery.declarations, declaration);
            }
        }
        self.unkept.extend(out.records.drain(..));
        let nothing = out.notices.is_empty() && out.commands.is_empty() && out.steps.is_empty();
        if nothing && self.unkept.is_empty() {
            if let Some(answer) = answer {
                answer(Ok(()));
            }
            return;
        }
        let (gateway, records) = (self.parts.gateway.clone(), mem::take(&mut self.unkept));
        let Outputs { notices, commands, steps, .. } = out;
        let (actuating, manager) = (Actuating::of(&self.parts), ctx.address());
        let carried = async move {
            let (left, stored) = keep(&gateway, records, notices).await;
            // What cannot be recorded now is done all the same: its record waits.
            for (command, reason) in commands {
                if let Err(error) = gateway.control(command, reason).await {
                    tracing::warn!(%error, "the engine refused what the resource manager wanted");
                }
            }
            for step in steps {
                actuating.take(step, &gateway, &manager).await;
            }
            (left, stored)
        };
        ctx.wait(carried.into_actor(self).map(move |(left, stored), actor, _| {
            actor.unkept = left;
            actor.let_go();
            match (answer, stored) {
                (Some(answer), stored) => answer(stored),
                (None, Ok(())) => {}
                (None, Err(error)) => tracing::debug!(%error, "what the manager wants stored waits"),
            }
        }));
    }

    /// Lets the oldest measurements go if too much waits for the store. What was declared or decided is never let go: there
    /// is one for each call that was answered with an error.
    fn let_go(&mut self) {
        let mut over = self.unkept.len().saturating_sub(UNKEPT_MAX);
        if over == 0 {
            return;
        }
        self.parts.state.0.unkept.fetch_add(over as u64, Ordering::Relaxed);
        self.unkept.retain(|record| {
            let goes = over > 0 && matches!(record, Record::Usage(_) | Record::Cost(_));
            over -= usize::from(goes);
            !goes
        });
    }
}

/// Who does what a change of the fleet's size asks for.
struct Actuating {
    actuator: Arc<dyn Actuator>,
    runtime: Handle,
}

impl Actuating {
    fn of(parts: &ManagerParts) -> Self {
        Self { actuator: Arc::clone(&parts.actuator), runtime: parts.runtime.clone() }
    }

    async fn take(&self, step: Step, gateway: &Gateway, manager: &Addr<ManagerActor>) {
        let (agent, command, reason) = match step {
            Step::Drain { agent, within, reason } => (agent, AdminCommand::Drain(Some(within)), reason),
            Step::Resume(agent) => (agent, AdminCommand::Resume, String::new()),
            Step::Act(decision) => {
                let (actuator, manager) = (Arc::clone(&self.actuator), manager.clone());
                self.runtime.spawn(async move {
                    let result = actuator.scale(&decision).await.map_err(|error| error.to_string());
                    // Without the manager nobody wants to know; it begins again from what it sees.
                    let _ = manager.try_send(Acted { decision: decision.id, result });
                });
                return;
            }
        };
        if let Err(error) = gateway.admin(agent.clone(), command, reason).await {
            // An agent that is gone needs no order; any other lost order shows, since the agent does not do as it says.
            tracing::debug!(%agent, %error, "an agent that the fleet's size is about could not be told");
        }
    }
}

/// The actuator has answered.
struct Acted {
    decision: u64,
    result: Result<(), String>,
}

impl Message for Acted {
    type Result = ();
}

/// Stores records, some at a time, and says the notices with the last of them. Answers with what is left.
async fn keep(
    gateway: &Gateway,
    mut records: VecDeque<Record>,
    notices: Vec<Notice>,
) -> (VecDeque<Record>, Result<(), Error>) {
    let mut notices = Some(notices);
    while !records.is_empty() || notices.is_some() {
        let chunk: Vec<Record> = records.drain(..records.len().min(KEEP_RECORDS_MAX)).collect();
        let said = if records.is_empty() { notices.take() } else { None };
        if let Err(error) = gateway.keep(chunk.clone(), said.unwrap_or_default()).await {
            for record in chunk.into_iter().rev() {
                records.push_front(record);
            }
            return (records, Err(error));
        }
    }
    (records, Ok(()))
}

/// Keeps what a manager would begin again from.
fn remember(declarations: &mut Vec<Declaration>, new: &Declaration) {
    declarations.retain(|old| (old.kind, &old.name) != (new.kind, &new.name));
    if new.body.is_some() {
        declarations.push(new.clone());
    }
}

/// Runs this so that a panic in it ends nothing but it. Answers what the panic said.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let guard = system::expect_panics();
    let done = catch_unwind(AssertUnwindSafe(run));
    drop(guard);
    done.map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say why".to_owned())
}

impl Actor for ManagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.begin(ctx);
        ctx.run_interval(TURN_INTERVAL, Self::turn);
    }
}

impl Handler<Ask> for ManagerActor {
    type Result = ();

    fn handle(&mut self, Ask { question, place, held }: Ask, ctx: &mut Self::Context) {
        let now = self.now();
        // Without a manager the question is dropped, and who asked hears why from the state.
        let Some(manager) = &mut self.manager else { return };
        let mut out = Outputs::default();
        match guarded(|| question(manager, now, &mut out)) {
            Ok(answer) => self.carry_out(out, Some(answer), ctx),
            Err(message) => self.fail(message, ctx),
        }
        drop((place, held));
    }
}

impl Handler<Acted> for ManagerActor {
    type Result = ();

    fn handle(&mut self, Acted { decision, result }: Acted, ctx: &mut Self::Context) {
        let now = self.now();
        let Some(manager) = &mut self.manager else { return };
        let mut out = Outputs::default();
        match guarded(|| manager.acted(now, decision, result, &mut out)) {
            Ok(()) => self.carry_out(out, None, ctx),
            Err(message) => self.fail(message, ctx),
        }
    }
}
