//! What one agent holds: attempts that wait for a slot, run, or are done and not acknowledged.
//!
//! A plain state machine without I/O; time is an argument. It is what survives a lost session.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_proto::v1::{
    AgentMessage, AttemptRef, AttemptResult, AttemptStarted, Cancelled, Failure, FailureClass, HandedBack, Success,
    agent_message::Message, attempt_result::Outcome,
};

/// Attempts held for each slot, at most: one that runs, one ahead, and as many done ones while their acknowledgements
/// are under way. What comes beyond is handed back.
const HELD_PER_SLOT_MAX: usize = 4;

/// An assignment, as far as a simulated agent cares.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub attempt: AttemptRef,
    /// Which of the run's tasks it is.
    pub number: u32,
    /// How long it takes.
    pub time: Duration,
    pub output: Bytes,
    /// It fails in the end, and may be tried again.
    pub fails: bool,
}

#[derive(Debug)]
struct Running {
    job: Job,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Done {
    number: u32,
    succeeded: bool,
    result: AttemptResult,
}

/// What an agent holds.
#[derive(Debug)]
pub(crate) struct Held {
    slots: usize,
    waiting: VecDeque<Job>,
    running: Vec<Running>,
    done: Vec<Done>,
}

/// What the agent's books have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The task is executed.
    Started(u32),
    /// The task is finished, after so long.
    Finished(u32, Duration),
}

/// Messages to send, and entries for the books, in their order.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub messages: Vec<AgentMessage>,
    pub entries: Vec<Entry>,
}

impl Held {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: slots as usize, waiting: VecDeque::new(), running: Vec::new(), done: Vec::new() }
    }

    /// Takes an assignment: it runs at once or waits for a slot.
    pub(crate) fn assign(&mut self, job: Job, now: Instant, steps: &mut Steps) {
        if self.waiting.len() + self.running.len() + self.done.len() >= self.slots * HELD_PER_SLOT_MAX {
            let outcome = Outcome::HandedBack(HandedBack { reason: "the agent is full".into() });
            return self.end(&job, Duration::ZERO, outcome, steps);
        }
        self.waiting.push_back(job);
        self.advance(now, steps);
    }

    /// Ends what is due and starts what has waited for it.
    pub(crate) fn advance(&mut self, now: Instant, steps: &mut Steps) {
        loop {
            let due: Vec<_> = self.running.extract_if(.., |running| running.until <= now).collect();
            for Running { job, since, .. } in &due {
                let ran = now.saturating_duration_since(*since);
                steps.entries.push(Entry::Finished(job.number, ran));
                self.end(job, ran, outcome(job), steps);
            }
            let started = self.start(now, steps);
            if due.is_empty() && !started {
                return;
            }
        }
    }

    fn start(&mut self, now: Instant, steps: &mut Steps) -> bool {
        let free = self.slots - self.running.len();
        let starting = free.min(self.waiting.len());
        for job in self.waiting.drain(..starting) {
            let started = AttemptStarted { attempt: Some(job.attempt.clone()) };
            steps.messages.push(message(Message::Started(started)));
            steps.entries.push(Entry::Started(job.number));
            self.running.push(Running { since: now, until: now + job.time, job });
        }
        starting > 0
    }

    fn end(&mut self, job: &Job, ran: Duration, outcome: Outcome, steps: &mut Steps) {
        let succeeded = matches!(outcome, Outcome::Success(_));
        let run_us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        let result = AttemptResult { attempt: Some(job.attempt.clone()), outcome: Some(outcome), run_us, usage: None };
        steps.messages.push(message(Message::Result(result.clone())));
        self.done.push(Done { number: job.number, succeeded, result });
    }

    /// The result is acknowledged. The task's number if it was a success that was not acknowledged before.
    pub(crate) fn acknowledged(&mut self, attempt: &AttemptRef) -> Option<u32> {
        let at = self.done.iter().position(|done| done.result.attempt.as_ref() == Some(attempt))?;
        let done = self.done.swap_remove(at);
        done.succeeded.then_some(done.number)
    }

    /// The coordinator wants the attempt ended; one that is done stays done.
    pub(crate) fn cancel(&mut self, attempt: &AttemptRef, now: Instant, steps: &mut Steps) {
        let mut ran = Duration::ZERO;
        let waiting =
            self.waiting.iter().position(|job| job.attempt == *attempt).and_then(|at| self.waiting.remove(at));
        let job = waiting.or_else(|| {
            let at = self.running.iter().position(|running| running.job.attempt == *attempt)?;
            let running = self.running.swap_remove(at);
            ran = now.saturating_duration_since(running.since);
            Some(running.job)
        });
        if let Some(job) = job {
            self.end(&job, ran, Outcome::Cancelled(Cancelled {}), steps);
            self.advance(now, steps);
        }
    }

    /// The attempts are over for the coordinator: forget them.
    pub(crate) fn superseded(&mut self, attempts: &[AttemptRef], now: Instant, steps: &mut Steps) {
        self.waiting.retain(|job| !attempts.contains(&job.attempt));
        self.running.retain(|running| !attempts.contains(&running.job.attempt));
        self.done.retain(|done| done.result.attempt.as_ref().is_none_or(|attempt| !attempts.contains(attempt)));
        self.advance(now, steps);
    }

    /// All attempts held, for a registration.
    pub(crate) fn attempts(&self) -> Vec<AttemptRef> {
        let waiting = self.waiting.iter().map(|job| &job.attempt);
        let running = self.running.iter().map(|running| &running.job.attempt);
        let done = self.done.iter().filter_map(|done| done.result.attempt.as_ref());
        waiting.chain(running).chain(done).cloned().collect()
    }

    /// The results that are not acknowledged, to be sent again by a new session.
    pub(crate) fn unacknowledged(&self) -> Vec<AgentMessage> {
        self.done.iter().map(|done| message(Message::Result(done.result.clone()))).collect()
    }

    /// Starts of what runs, to be told again by a new session.
    pub(crate) fn starts(&self) -> Vec<AgentMessage> {
        let started = |running: &Running| AttemptStarted { attempt: Some(running.job.attempt.clone()) };
        self.running.iter().map(|running| message(Message::Started(started(running)))).collect()
    }

    /// When the next attempt is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.until).min()
    }

    /// Nothing waits, runs, or is done without its acknowledgement.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.done.is_empty()
    }

    /// Attempts that run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }
}

fn outcome(job: &Job) -> Outcome {
    if !job.fails {
        return Outcome::Success(Success { output: job.output.clone() });
    }
    let class = FailureClass::Retryable.into();
    Outcome::Failure(Failure { class, message: "the scenario says that this execution fails".into(), exit_code: None })
}

/// A message as it goes into a frame.
pub(crate) const fn message(message: Message) -> AgentMessage {
    AgentMessage { message: Some(message) }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
