//! All that an agent decides, without clock, runtime or connection.
//!
//! The [`Machine`] is told what happened and when: a session began or was lost, a frame came, an attempt ended, time has
//! passed. It answers what to start, what to stop, what to say and when to dial. The [node](crate::node) drives it with
//! tokio and gRPC; a simulation drives the same machine with simulated time and faults, so what is proved there is proved
//! of the agent. Time is what has passed since the process began: an agent's decisions depend on no wall clock.
//!
//! Sessions come and go; attempts and results outlive them. Without a session what runs goes on, what has ended is kept,
//! and nothing starts.

use std::time::Duration;

use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentLoad, AgentSpec, AttemptRef, Failure, FailureClass, Outcome, Registration,
    backoff::Backoff,
    limits::OUTPUT_BYTES_MAX,
    wire::agent::{Assignment, to_load, to_registration},
};
use tonic::Code;
use tracing::warn;

pub use self::hearing::ProtocolError;
use self::leaving::Leaving;
pub use crate::attempt::{Ended, STOP_GRACE};
use crate::{
    error::AgentError,
    latency::Latencies,
    meter::QuotaReport,
    outbox::Outbox,
    sampler::HostLoad,
    scheduler::{Fate, Scheduler},
    task::Progress,
};

mod hearing;
mod leaving;

/// Longest wait for attempts that were told to stop. They get their grace and are dropped; only an executor that blocks its
/// thread outlasts that.
pub(crate) const STOP_TIMEOUT: Duration = STOP_GRACE.saturating_mul(2);
/// Tasks ahead per slot that there is room for where the coordinator decides; it sends no more.
const PREFETCH_PER_SLOT_MAX: u8 = 1;
/// First and longest wait before dialling again. The fleet redials together when a coordinator restarts: full jitter over
/// up to 5 s spreads it, and nobody is away for long.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// A session that lived for so long was sound: the next dial starts from the first wait again, so that the agent is back
/// within the grace that its attempts are given. A coordinator that cuts it off each time sees a dial in so long at most.
const SOUND_SESSION: Duration = Duration::from_secs(2);

/// What the end of a session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dial again.
    Retry,
    /// Dial again; the id is in use by another process.
    IdTaken,
    /// A newer session has taken over.
    Fenced,
    /// It will never work like this.
    Refused(Code),
}

impl Verdict {
    /// What it means that the coordinator ended a session with this code.
    #[must_use]
    pub const fn of(code: Code) -> Self {
        match code {
            Code::AlreadyExists => Self::IdTaken,
            Code::Aborted => Self::Fenced,
            Code::InvalidArgument | Code::PermissionDenied => Self::Refused(code),
            // A token or certificate that has run out: its file is read anew at the next dial, and what runs must not be lost
            // over the moment before it is renewed. So unauthenticated agents come again too.
            _ => Self::Retry,
        }
    }
}

/// A dial that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    /// After so long.
    pub wait: Duration,
    /// With this registration.
    pub register: v1::Register,
}

/// The session, as far as decisions depend on it.
#[derive(Clone, Copy, Debug)]
struct Session {
    since: Duration,
    heartbeat_at: Duration,
    heartbeat_interval: Duration,
}

/// An agent's state and its rules. See the module.
#[derive(Debug)]
pub struct Machine {
    spec: AgentSpec,
    /// Which process this is, to the coordinator.
    instance: String,
    drain_timeout: Duration,
    draws: fastrand::Rng,
    session: Option<Session>,
    /// Dials since the last sound session.
    dials: u32,
    /// Dials given up, ever: tells the coordinator which of two is the newer.
    dials_ever: u64,
    scheduler: Scheduler,
    outbox: Outbox,
    latencies: Latencies,
    stops: Vec<AttemptRef>,
    output_bytes_max: usize,
    leaving: Leaving,
}

impl Machine {
    /// An agent of this description, as the process `instance`; jitter comes from `draws`.
    #[must_use]
    pub fn new(spec: AgentSpec, instance: String, drain_timeout: Duration, draws: fastrand::Rng) -> Self {
        let slots = spec.capacity.slots as usize;
        let prefetch = slots * usize::from(spec.prefetch_per_slot.unwrap_or(PREFETCH_PER_SLOT_MAX));
        Self {
            scheduler: Scheduler::new(spec.capacity.clone(), prefetch),
            outbox: Outbox::new(2 * slots + prefetch),
            latencies: Latencies::default(),
            spec,
            instance,
            drain_timeout,
            draws,
            session: None,
            dials: 0,
            dials_ever: 0,
            stops: Vec::new(),
            output_bytes_max: OUTPUT_BYTES_MAX,
            leaving: Leaving::No,
        }
    }

    /// The dial of a process that has just begun.
    #[must_use]
    pub fn first_dial(&self) -> Dial {
        self.dial(Duration::ZERO)
    }

    fn dial(&self, wait: Duration) -> Dial {
        let held = self.scheduler.held().chain(self.outbox.unacked()).collect();
        let (spec, instance) = (self.spec.clone(), self.instance.clone());
        let registration = Registration { spec, instance, dial: self.dials_ever + 1, held };
        Dial { wait, register: to_registration(&registration) }
    }

    /// The session or the dial has failed.
    ///
    /// # Errors
    /// If dialling again is of no use.
    pub fn lost(&mut self, now: Duration, verdict: Verdict, message: String) -> Result<Dial, AgentError> {
        let lived = self.session.take().map(|session| now.saturating_sub(session.since));
        if lived.is_some_and(|lived| lived >= SOUND_SESSION) {
            self.dials = 0;
        }
        let draw = self.draws.f64();
        let wait = Backoff::new(BACKOFF_BASE, BACKOFF_CAP, 2.0).delay(self.dials, draw);
        let (id, wait_ms) = (&self.spec.id, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        match verdict {
            Verdict::Fenced => return Err(AgentError::Fenced { agent: id.clone(), message }),
            Verdict::Refused(code) if lived.is_none() => {
                return Err(AgentError::Refused { agent: id.clone(), code, message });
            }
            Verdict::IdTaken => warn!(
                agent = %id, wait_ms, error = message,
                "another process holds this agent's id; trying again until it goes, or give this one another id"
            ),
            Verdict::Refused(_) | Verdict::Retry => {
                warn!(agent = %id, wait_ms, error = message, "no session; dialling again");
            }
        }
        self.dials = self.dials.saturating_add(1);
        self.dials_ever += 1;
        Ok(self.dial(wait))
    }

    /// The next attempt to start, which counts as running from now on. `None`: nothing fits, or there is nobody to tell,
    /// or too much that has not been heard.
    pub fn start_next(&mut self) -> Option<Assignment> {
        if self.session.is_none() || self.outbox.is_full() {
            return None;
        }
        let work = self.scheduler.start_next()?;
        self.outbox.started(work.attempt);
        Some(work)
    }

    /// Attempts that are to be told to stop; some may have stopped already.
    pub fn take_stops(&mut self) -> Vec<AttemptRef> {
        std::mem::take(&mut self.stops)
    }

    /// An attempt that was started has stopped.
    pub fn ended(&mut self, ended: Ended) {
        let Ended { attempt, kind, outcome, run, usage, quotas } = ended;
        self.quotas_used_up(quotas);
        let outcome = match self.scheduler.ended(attempt) {
            Fate::Report => {
                self.latencies.record(&kind, run);
                outcome
            }
            Fate::Cancelled => Outcome::Cancelled,
            Fate::AgentLeft => {
                let message = "the agent shut down before the attempt was done";
                Outcome::Failed(Failure::new(FailureClass::Retryable, message))
            }
            Fate::Forget => return,
        };
        self.outbox.result(attempt, &outcome, run, usage.as_deref());
    }

    /// Attempts have found upstream quotas used up. It is true whatever becomes of them.
    pub(crate) fn quotas_used_up(&mut self, quotas: Vec<QuotaReport>) {
        quotas.into_iter().for_each(|report| self.outbox.quota(report));
    }

    /// An attempt reports progress. A report may arrive after the end of its attempt; it is worth nothing then.
    pub(crate) fn progressed(&mut self, progress: Progress) {
        if self.scheduler.is_running(progress.attempt) {
            self.outbox.progress(progress);
        }
    }

    fn hand_back_waiting(&mut self, reason: &str) {
        for attempt in self.scheduler.take_waiting() {
            self.outbox.result(attempt, &Outcome::HandedBack(reason.to_owned()), Duration::ZERO, None);
        }
    }

    /// When the machine wants to be told the time. `None`: nothing is waited for.
    #[must_use]
    pub fn alarm(&self) -> Option<Duration> {
        let heartbeat = self.session.map(|session| session.heartbeat_at);
        [heartbeat, self.leaving.due()].into_iter().flatten().min()
    }

    /// Does what is due at this time, if anything is. A heartbeat says what `load` measures.
    pub fn on_alarm(&mut self, now: Duration, load: impl FnOnce() -> HostLoad) {
        if let Some(session) = &mut self.session
            && session.heartbeat_at <= now
        {
            session.heartbeat_at = now + jittered(session.heartbeat_interval, self.draws.f64());
            let heartbeat = self.heartbeat(load());
            self.outbox.heartbeat(heartbeat);
        }
        if self.leaving.due().is_some_and(|due| due <= now) {
            self.leave_on(now);
        }
    }

    fn heartbeat(&self, load: HostLoad) -> v1::Heartbeat {
        to_load(&AgentLoad {
            cpu_share: load.cpu_share,
            memory_share: load.memory_share,
            memory_used_bytes: load.memory_used_bytes,
            network_rx_bytes_per_s: load.network_rx_bytes_per_s,
            network_tx_bytes_per_s: load.network_tx_bytes_per_s,
            load_average: load.load_average,
            running_tasks: u32::try_from(self.scheduler.running_count()).unwrap_or(u32::MAX),
            latencies: self.latencies.report(),
        })
    }

    /// Whether there is something to say on the session, if there is one.
    #[must_use]
    pub fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What is to be said next, as one frame; `None` if there is nothing, or no session to say it on.
    pub fn next_frame(&mut self) -> Option<v1::AgentFrame> {
        self.session.and_then(|_| self.outbox.next_frame())
    }

    /// Whether the agent holds nothing: no attempt, no result that is not acknowledged, nothing to say.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.scheduler.held_count() == 0 && self.scheduler.running_count() == 0 && self.outbox.unacked_count() == 0
    }

    /// Largest output that the coordinator takes.
    #[must_use]
    pub const fn output_bytes_max(&self) -> usize {
        self.output_bytes_max
    }

    /// What the agent registers as.
    #[must_use]
    pub const fn spec(&self) -> &AgentSpec {
        &self.spec
    }
}

/// The interval, 10 % more or less, for a draw from 0 to 1: agents that began together must not beat together.
fn jittered(interval: Duration, draw: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * draw)
}

#[cfg(test)]
mod tests;
