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
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use evenkeel_core::{
    insight::sample::{CacheSample, MoreSamples, ShellSample},
    manager::{FleetSample, Manager, ManagerRecovery, ManagerSettings, Outputs},
    model::{ClusterEventKind, Notice, Record},
};
use evenkeel_shared::Timestamp;
use tokio::{runtime::Handle, time::timeout};

use self::{
    carry::{Acted, Actuating, keep},
    handle::{Answer, Ask, QUESTIONS_MAX},
    unkept::{UNKEPT_MAX, let_go},
};
use super::{guards_shown::GuardsShown, system};
use crate::{
    actuators::Actuator,
    failpoint::{self, Point},
    gateway::Gateway,
    metrics::Metrics,
    snapshot::Snapshot,
};

mod carry;
mod handle;
mod state;
mod unkept;

pub use handle::ManagerHandle;
pub use state::{ManagerPhase, ManagerState, ScalingShown};

/// Between two looks at the fleet: as fine as its measurements are, since agents send theirs once a second.
pub const TURN_INTERVAL: Duration = Duration::from_secs(1);
/// How long the engine may take to tell what it knows: it answers between two batches of events, so within milliseconds.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// What the mailbox holds: every question, and the actor's own messages.
pub const MAILBOX_MAX: usize = QUESTIONS_MAX + 16;
/// After a panic the manager rests for so long, then twice as long after each further one,
const RESTART_FIRST: Duration = Duration::from_secs(5);
/// up to this: an operator who looks at it an hour later finds that it still tries.
const RESTART_MAX: Duration = Duration::from_secs(600);
/// So long without a panic, and the next one counts as the first.
const WELL_AFTER: Duration = Duration::from_secs(600);

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
    /// What could not be stored yet: [`UNKEPT_MAX`].
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
        self.parts.state.panicked();
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
            let seen = gateway.look_at(|engine, now| {
                let gated = engine.gated(now);
                (engine.more_samples(&gated), GuardsShown::of(engine, &gated, now))
            });
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
            remember(&mut self.parts.recovery, record);
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
            actor.parts.state.dropped(let_go(&mut actor.unkept, UNKEPT_MAX) as u64);
            match (answer, stored) {
                (Some(answer), stored) => answer(stored),
                (None, Ok(())) => {}
                (None, Err(error)) => tracing::debug!(%error, "what the manager wants stored waits"),
            }
        }));
    }
}

/// Keeps what a manager would begin again from.
fn remember(recovery: &mut ManagerRecovery, record: &Record) {
    match record {
        Record::Declared(new) => {
            recovery.declarations.retain(|old| (old.kind, &old.name) != (new.kind, &new.name));
            if new.is_recovered() {
                recovery.declarations.push(new.clone());
            }
        }
        Record::Scaling(decision) => recovery.scaling = Some(decision.clone()),
        _ => {}
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
