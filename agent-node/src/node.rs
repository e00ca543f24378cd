//! The one task that owns an agent's state: it takes in what happens, decides, and starts what may start.
//!
//! Sessions come and go; attempts and results outlive them. Without a session what runs goes on, what has ended is kept,
//! and nothing starts.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use evenkeel_proto::v1::{self, ResultStatus, coordinator_message::Message};
use evenkeel_shared::{
    AgentLoad, AttemptRef, Failure, FailureClass, Outcome, Violation,
    limits::{HELD_ATTEMPTS_MAX, OUTPUT_BYTES_MAX},
    wire::{
        agent::{assignment, to_load},
        task::{attempt_ref, required_attempt_ref},
    },
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    agent::Agent,
    attempt::{self, Ended, STOP_GRACE},
    error::AgentError,
    latency::Latencies,
    link::{Link, LinkEvent},
    outbox::Outbox,
    sampler::HostLoad,
    scheduler::{Admission, Fate, Scheduler, Stopped, rejected},
    session::{Opened, SessionError, SessionEvent},
    task::{Progress, TaskContext, now},
};

/// Longest wait for attempts that were told to stop. They get their grace and are dropped; only an executor that blocks its
/// thread outlasts that.
const STOP_TIMEOUT: Duration = STOP_GRACE.saturating_mul(2);
/// Longest wait for acknowledgements when all is done and the agent wants to go.
const LAST_ACKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Progress reports between attempts and the node. Further ones are dropped: the next one says more.
const PROGRESS_QUEUED_MAX: usize = 256;
/// Attempts whose end is taken in at one turn, so that a burst of ends does not hold up heartbeats.
const ENDS_PER_TURN: usize = 1_024;
/// Tasks ahead per slot that there is room for where the coordinator decides; it sends no more.
const PREFETCH_PER_SLOT_MAX: u8 = 1;
/// The reason given to the coordinator when the agent is told to go.
const SHUTDOWN_REASON: &str = "the agent is shutting down";

/// Where the agent is on its way out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaving {
    /// It stays.
    No,
    /// Attempts may finish until then.
    Finishing(Instant),
    /// They were told to stop, and are waited for until then.
    Stopping(Instant),
    /// All is done; acknowledgements are waited for until then.
    LastAcks(Instant),
    /// It need not wait any longer.
    Gone,
}

/// An agent that runs.
pub(crate) struct Node {
    agent: Agent,
    link: Link,
    scheduler: Scheduler,
    outbox: Outbox,
    latencies: Latencies,
    attempts: JoinSet<Ended>,
    /// How each running attempt is told to stop.
    stops: BTreeMap<AttemptRef, CancellationToken>,
    reports: mpsc::Sender<Progress>,
    reported: mpsc::Receiver<Progress>,
    output_bytes_max: usize,
    leaving: Leaving,
}

impl Node {
    /// The agent, about to dial.
    pub fn new(agent: Agent) -> Self {
        let slots = agent.spec.capacity.slots as usize;
        let prefetch = slots * usize::from(agent.spec.prefetch_per_slot.unwrap_or(PREFETCH_PER_SLOT_MAX));
        let (reports, reported) = mpsc::channel(PROGRESS_QUEUED_MAX);
        Self {
            link: Link::dialling(&agent),
            scheduler: Scheduler::new(agent.spec.capacity.clone(), prefetch),
            outbox: Outbox::new(2 * slots + prefetch),
            latencies: Latencies::default(),
            attempts: JoinSet::new(),
            stops: BTreeMap::new(),
            reports,
            reported,
            output_bytes_max: OUTPUT_BYTES_MAX,
            leaving: Leaving::No,
            agent,
        }
    }

    /// Runs until `shutdown` completes and the agent has drained.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let result = self.work(shutdown).await;
        // After an error attempts may still run; wait until they, and their programs, are gone.
        if timeout(STOP_TIMEOUT, self.attempts.shutdown()).await.is_err() {
            warn!(agent = %self.agent.spec.id, "an executor blocks its thread and cannot be stopped; leaving without it");
        }
        result?;
        self.link.close().await;
        info!(agent = %self.agent.spec.id, "the agent has drained");
        Ok(())
    }

    async fn work(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let mut shutdown = pin!(shutdown);
        loop {
            self.start_ready();
            self.link.write(&mut self.outbox);
            self.see_about_leaving();
            if self.leaving == Leaving::Gone {
                return Ok(());
            }
            let has_more_to_say = !self.outbox.is_empty();
            let alarm = alarm(self.leaving);
            tokio::select! {
                event = self.link.next(has_more_to_say) => self.on_link(event)?,
                Some(ended) = self.attempts.join_next() => self.on_ended(ended),
                Some(progress) = self.reported.recv() => self.on_progress(progress),
                () = &mut shutdown, if self.leaving == Leaving::No => self.leave(),
                () = alarm => self.on_alarm(),
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) -> Result<(), AgentError> {
        let outcome = match event {
            LinkEvent::Opened(Ok(opened)) => self.on_opened(*opened),
            LinkEvent::Opened(Err(error)) => Err(error),
            LinkEvent::Session(SessionEvent::Frame(frame)) => self.on_messages(frame.messages),
            LinkEvent::Session(SessionEvent::Heartbeat(load)) => {
                self.outbox.heartbeat(self.heartbeat(load));
                Ok(())
            }
            LinkEvent::Session(SessionEvent::Writable) => Ok(()),
            LinkEvent::Session(SessionEvent::Ended(error)) => Err(error),
        };
        let Err(error) = outcome else { return Ok(()) };
        let held = self.held().collect();
        self.link.redial(&self.agent, held, error)
    }

    fn on_opened(&mut self, opened: Opened) -> Result<(), SessionError> {
        let Opened { session, welcome, rest } = opened;
        let agreed = usize::try_from(welcome.output_max_bytes).unwrap_or(OUTPUT_BYTES_MAX);
        self.output_bytes_max = if agreed == 0 { OUTPUT_BYTES_MAX } else { agreed.min(OUTPUT_BYTES_MAX) };
        let (adopted, superseded) = (welcome.adopted.len(), welcome.superseded.len());
        for attempt in welcome.superseded {
            self.forget(attempt_ref(attempt).map_err(protocol)?);
        }
        info!(
            agent = %self.agent.spec.id, coordinator = welcome.coordinator_id, epoch = welcome.session_epoch,
            adopted, superseded, "registered"
        );
        self.link.up(session);
        self.outbox.restart(self.scheduler.running_kept());
        if self.leaving != Leaving::No {
            self.outbox.draining(SHUTDOWN_REASON.to_owned());
        }
        self.on_messages(rest)
    }

    fn on_messages(&mut self, messages: Vec<v1::CoordinatorMessage>) -> Result<(), SessionError> {
        for message in messages.into_iter().filter_map(|message| message.message) {
            match message {
                Message::Welcome(_) => return Err(SessionError::Protocol("it welcomed the agent twice".into())),
                Message::Assignment(work) => self.on_assignment(work)?,
                Message::Cancel(cancel) => {
                    self.on_cancel(required_attempt_ref(cancel.attempt).map_err(protocol)?, &cancel.reason);
                }
                Message::ResultAck(ack) => match ack.status() {
                    ResultStatus::Recorded | ResultStatus::Stale => {
                        self.outbox.forget(required_attempt_ref(ack.attempt).map_err(protocol)?);
                    }
                    ResultStatus::Unspecified => {
                        return Err(SessionError::Protocol(format!("result status {} is unknown", ack.status)));
                    }
                },
                Message::Drain(drain) => {
                    info!(agent = %self.agent.spec.id, reason = drain.reason, "the coordinator drains this agent");
                    self.hand_back_waiting("the agent is being drained");
                }
            }
        }
        Ok(())
    }

    fn on_assignment(&mut self, work: v1::Assignment) -> Result<(), SessionError> {
        let attempt = required_attempt_ref(work.attempt.clone()).map_err(protocol)?;
        if self.outbox.has_unacked(attempt) {
            debug!(task = %attempt.task, "assigned again, though its result is on the way");
            return Ok(());
        }
        if self.scheduler.held_count() + self.outbox.unacked_count() >= HELD_ATTEMPTS_MAX {
            let what = format!("it assigns without end: {HELD_ATTEMPTS_MAX} attempts are here already");
            return Err(SessionError::Protocol(what));
        }
        let admission = match assignment(work) {
            Err(violation) => Admission::Refused(rejected(format!("the assignment is not understood: {violation}"))),
            Ok(work) if !self.agent.executors.contains_key(&work.kind) => {
                Admission::Refused(rejected(format!("the agent does not take the kind `{}`", work.kind)))
            }
            Ok(work) => self.scheduler.admit(work),
        };
        match admission {
            Admission::Admitted => {}
            Admission::Known => debug!(task = %attempt.task, "assigned twice"),
            Admission::Refused(answer) => self.outbox.result(attempt, &answer, Duration::ZERO),
        }
        Ok(())
    }

    fn on_cancel(&mut self, attempt: AttemptRef, reason: &str) {
        debug!(task = %attempt.task, reason, "cancelled");
        match self.scheduler.stop(attempt, Fate::Cancelled) {
            Stopped::Waiting => self.outbox.result(attempt, &Outcome::Cancelled, Duration::ZERO),
            Stopped::Running => self.tell_to_stop(attempt),
            // Its result is on the way, and the coordinator will know what to make of it.
            Stopped::Unknown => {}
        }
    }

    fn on_ended(&mut self, ended: Result<Ended, JoinError>) {
        self.finish(ended);
        for _ in 0..ENDS_PER_TURN {
            let Some(ended) = self.attempts.try_join_next() else { return };
            self.finish(ended);
        }
    }

    fn on_progress(&mut self, progress: Progress) {
        // A report may arrive after the end of its attempt.
        if self.stops.contains_key(&progress.attempt) {
            self.outbox.progress(progress);
        }
    }

    /// Starts what fits, unless there is nobody to tell or too much that has not been heard.
    fn start_ready(&mut self) {
        while self.link.is_up() && !self.outbox.is_full() {
            let Some(work) = self.scheduler.start_next() else { return };
            // Kinds were checked when it was admitted.
            let Some(executor) = self.agent.executors.get(&work.kind).map(Arc::clone) else { continue };
            let (attempt, stop) = (work.attempt, CancellationToken::new());
            let task = TaskContext::new(work, stop.clone(), self.reports.clone(), now());
            let output_bytes_max = self.output_bytes_max;
            self.stops.insert(attempt, stop);
            self.outbox.started(attempt);
            self.attempts.spawn(async move { attempt::run(executor.as_ref(), task, output_bytes_max).await });
        }
    }

    /// Takes in an attempt that has stopped.
    fn finish(&mut self, ended: Result<Ended, JoinError>) {
        let Ended { attempt, kind, outcome, run } = match ended {
            Ok(ended) => ended,
            // Panics of executors are caught within the attempt; this one is a defect of the agent.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.stops.remove(&attempt);
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
        self.outbox.result(attempt, &outcome, run);
    }

    /// Stops this attempt wherever it is, and never speaks of it again.
    fn forget(&mut self, attempt: AttemptRef) {
        if self.scheduler.stop(attempt, Fate::Forget) == Stopped::Running {
            self.tell_to_stop(attempt);
        }
        self.outbox.forget(attempt);
    }

    fn tell_to_stop(&self, attempt: AttemptRef) {
        if let Some(stop) = self.stops.get(&attempt) {
            stop.cancel();
        }
    }

    fn hand_back_waiting(&mut self, reason: &str) {
        for attempt in self.scheduler.take_waiting() {
            self.outbox.result(attempt, &Outcome::HandedBack(reason.to_owned()), Duration::ZERO);
        }
    }

    fn held(&self) -> impl Iterator<Item = AttemptRef> {
        self.scheduler.held().chain(self.outbox.unacked())
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

    /// Begins to leave: says so first, so that what is handed back does not come back.
    fn leave(&mut self) {
        info!(agent = %self.agent.spec.id, running = self.scheduler.running_count(), "draining");
        self.leaving = Leaving::Finishing(Instant::now() + self.agent.drain_timeout);
        self.outbox.draining(SHUTDOWN_REASON.to_owned());
        self.scheduler.close(SHUTDOWN_REASON.to_owned());
        self.hand_back_waiting(SHUTDOWN_REASON);
    }

    fn on_alarm(&mut self) {
        match self.leaving {
            Leaving::Finishing(_) => {
                let running: Vec<AttemptRef> = self.scheduler.running_kept().collect();
                warn!(agent = %self.agent.spec.id, running = running.len(), "the drain timeout passed; stopping attempts");
                for attempt in running {
                    self.scheduler.stop(attempt, Fate::AgentLeft);
                    self.tell_to_stop(attempt);
                }
                self.leaving = Leaving::Stopping(Instant::now() + STOP_TIMEOUT);
            }
            Leaving::Stopping(_) => self.leaving = Leaving::LastAcks(Instant::now() + LAST_ACKS_TIMEOUT),
            Leaving::LastAcks(_) => {
                let unacked = self.outbox.unacked_count();
                warn!(agent = %self.agent.spec.id, unacked, "leaving with results that nobody has acknowledged");
                self.leaving = Leaving::Gone;
            }
            Leaving::No | Leaving::Gone => {}
        }
    }

    /// Goes on with leaving once nothing runs any longer, and once everything is acknowledged.
    fn see_about_leaving(&mut self) {
        if matches!(self.leaving, Leaving::Finishing(_) | Leaving::Stopping(_)) && self.attempts.is_empty() {
            self.leaving = Leaving::LastAcks(Instant::now() + LAST_ACKS_TIMEOUT);
        }
        let said = self.outbox.unacked_count() == 0 && (self.outbox.is_empty() || !self.link.is_up());
        if matches!(self.leaving, Leaving::LastAcks(_)) && said {
            self.leaving = Leaving::Gone;
        }
    }
}

/// Completes when the next step of leaving is due, if one is.
async fn alarm(leaving: Leaving) {
    match leaving {
        Leaving::Finishing(at) | Leaving::Stopping(at) | Leaving::LastAcks(at) => sleep_until(at).await,
        Leaving::No | Leaving::Gone => std::future::pending().await,
    }
}

fn protocol(violation: Violation) -> SessionError {
    SessionError::Protocol(violation.to_string())
}
