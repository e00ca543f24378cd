//! The one task that owns an agent: it takes in what happens, tells the [machine](crate::machine), and does what that
//! decides.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use evenkeel_shared::{AttemptRef, otlp::in_log, wire::agent::Assignment};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, info, warn};

use crate::{
    agent::Agent,
    attempt::{self, Ended},
    error::AgentError,
    link::{Link, LinkEvent},
    machine::{Machine, STOP_TIMEOUT},
    meter::Meter,
    session::{Opened, SessionError, SessionEvent},
    task::{Report, TaskContext},
    traces::Traces,
};

/// Progress reports between attempts and the node. Further ones are dropped: the next one says more.
const PROGRESS_QUEUED_MAX: usize = 256;
/// Attempts whose end is taken in at one turn, so that a burst of ends does not hold up heartbeats.
const ENDS_PER_TURN: usize = 1_024;

/// An agent that runs.
pub(crate) struct Node {
    agent: Agent,
    machine: Machine,
    link: Link,
    /// The zero of the machine's time.
    began: Instant,
    attempts: JoinSet<Ended>,
    /// How each running attempt is told to stop, and what is measured of it.
    stops: BTreeMap<AttemptRef, (CancellationToken, Arc<Meter>)>,
    traces: Traces,
    reports: mpsc::Sender<Report>,
    reported: mpsc::Receiver<Report>,
}

impl Node {
    /// The agent, about to dial.
    pub fn new(agent: Agent, traces: Traces) -> Self {
        let random = fastrand::u128(..).to_be_bytes();
        let instance = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let machine = Machine::new(agent.spec.clone(), instance, agent.drain_timeout, fastrand::Rng::new());
        let (reports, reported) = mpsc::channel(PROGRESS_QUEUED_MAX);
        Self {
            link: Link::dialling(&agent, machine.first_dial()),
            machine,
            began: Instant::now(),
            attempts: JoinSet::new(),
            stops: BTreeMap::new(),
            traces,
            reports,
            reported,
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
        if result.is_ok() {
            self.link.close().await;
        }
        self.traces.stop().await;
        result?;
        info!(agent = %self.agent.spec.id, "the agent has drained");
        Ok(())
    }

    async fn work(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let mut shutdown = pin!(shutdown);
        loop {
            self.stop_what_is_to_stop();
            while let Some(work) = self.machine.start_next() {
                self.start(work);
            }
            self.link.write(|| self.machine.next_frame());
            self.machine.see_about_leaving(self.time());
            if self.machine.is_gone() {
                return Ok(());
            }
            let has_more_to_say = self.machine.wants_to_write();
            let alarm = self.alarm();
            tokio::select! {
                event = self.link.next(has_more_to_say) => self.on_link(event)?,
                Some(ended) = self.attempts.join_next() => self.on_ended(ended),
                Some(report) = self.reported.recv() => self.on_report(report),
                () = &mut shutdown, if !self.machine.is_leaving() => self.machine.leave(self.time()),
                () = alarm => self.machine.on_alarm(self.time(), || self.agent.sampler.load()),
            }
        }
    }

    /// The machine's time.
    fn time(&self) -> Duration {
        self.began.elapsed()
    }

    /// Completes when the machine wants to be told the time, if it does.
    fn alarm(&self) -> impl Future<Output = ()> + 'static {
        let at = self.machine.alarm().map(|at| self.began + at);
        async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) -> Result<(), AgentError> {
        let outcome = match event {
            LinkEvent::Opened(Ok(opened)) => self.on_opened(*opened),
            LinkEvent::Opened(Err(error)) | LinkEvent::Session(SessionEvent::Ended(error)) => Err(error),
            LinkEvent::Session(SessionEvent::Frame(frame)) => {
                self.traces.heard(&frame.messages);
                self.machine.heard(frame.messages).map_err(SessionError::from)
            }
            LinkEvent::Session(SessionEvent::Writable) => Ok(()),
        };
        let Err(error) = outcome else { return Ok(()) };
        let dial = self.machine.lost(self.time(), error.verdict(), error.message())?;
        self.link = Link::dialling(&self.agent, dial);
        Ok(())
    }

    fn on_opened(&mut self, opened: Opened) -> Result<(), SessionError> {
        let Opened { session, welcome, rest } = opened;
        self.link = Link::Up(Box::new(session));
        Ok(self.machine.welcomed(self.time(), welcome, rest)?)
    }

    fn start(&mut self, mut work: Assignment) {
        // The machine admits no other kinds than those of the executors.
        let Some(executor) = self.agent.executors.get(&work.kind).map(Arc::clone) else { return };
        self.traces.begins(&mut work, executor.name());
        let in_log = work.trace.as_deref().filter(|trace| trace.is_sampled()).map_or_else(Span::none, in_log);
        let (attempt, stop) = (work.attempt, CancellationToken::new());
        let task = TaskContext::new(work, stop.clone(), self.reports.clone());
        let output_bytes_max = self.machine.output_bytes_max();
        self.stops.insert(attempt, (stop, Arc::clone(task.meter())));
        let run = async move { attempt::run(executor.as_ref(), task, output_bytes_max).await };
        self.attempts.spawn(run.instrument(in_log));
    }

    fn stop_what_is_to_stop(&mut self) {
        for attempt in self.machine.take_stops() {
            if let Some((stop, _)) = self.stops.get(&attempt) {
                stop.cancel();
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Progress(progress) => self.machine.progressed(progress),
            Report::Quotas(attempt) => {
                if let Some((_, meter)) = self.stops.get(&attempt) {
                    self.machine.quotas_used_up(meter.take_quotas());
                }
            }
        }
    }

    fn on_ended(&mut self, ended: Result<Ended, JoinError>) {
        self.finish(ended);
        for _ in 0..ENDS_PER_TURN {
            let Some(ended) = self.attempts.try_join_next() else { return };
            self.finish(ended);
        }
    }

    /// Takes in an attempt that has stopped.
    fn finish(&mut self, ended: Result<Ended, JoinError>) {
        let ended = match ended {
            Ok(ended) => ended,
            // Panics of executors are caught within the attempt; this one is a defect of the agent.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.stops.remove(&ended.attempt);
        self.traces.ended(&ended);
        self.machine.ended(ended);
    }
}
