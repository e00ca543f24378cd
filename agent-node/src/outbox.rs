//! What the agent has yet to say, and the results that nobody has acknowledged yet.
//!
//! A result stays here until the coordinator says that it is on stable storage or of no use, however many sessions that
//! takes: a coordinator that dies after receiving and before recording must get it again. Everything else is about the
//! present, so a new session starts with a clean queue and the full list of results.
//!
//! The memory is bounded by not starting new work while [`Outbox::is_full`]; results of what runs already always fit. What an
//! attempt may say as often as it likes, its progress and the quotas that it finds used up, takes one place each.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::Duration,
};

use evenkeel_proto::v1::{self, agent_message::Message};
use evenkeel_shared::{
    AttemptRef, Outcome, QuotaKey, Usage,
    limits::{MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX},
    wire::{agent::to_outcome, cut_note, spend::to_usage, task::to_attempt_ref},
};

use crate::{meter::QuotaReport, task::Progress};

/// Outputs in one frame: room is left in the largest message for one more output and for everything small.
const FRAME_OUTPUT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 2 * OUTPUT_BYTES_MAX;
/// Messages in one frame. Each is below 3 KiB without its output, so that they fit beside the outputs.
const FRAME_MESSAGES_MAX: usize = 512;
/// Outputs kept for want of an acknowledgement, beyond which nothing new starts: a few seconds of a busy link, and
/// memory that an agent can spare.
const UNACKED_BYTES_MAX: usize = 64 << 20;
/// Upstream quotas that wait to be said: more than the work of one agent draws on, and few enough to go first in any frame. The
/// rest is dropped; the next attempt that finds one used up says so.
const QUOTAS_MAX: usize = 256;

#[derive(Debug)]
enum Item {
    Started(AttemptRef),
    Result(AttemptRef),
    Draining(String),
}

#[derive(Debug)]
struct Unacked {
    result: v1::AttemptResult,
    output_bytes: usize,
}

/// The outgoing side of an agent.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Item>,
    /// The last word on each.
    quotas: BTreeMap<QuotaKey, QuotaReport>,
    /// The last report of each attempt; an older one is worth nothing.
    progress: BTreeMap<AttemptRef, Progress>,
    heartbeat: Option<v1::Heartbeat>,
    unacked: BTreeMap<AttemptRef, Unacked>,
    unacked_max: usize,
    unacked_bytes: usize,
}

impl Outbox {
    /// An empty one that counts as full at so many unacknowledged results.
    pub fn new(unacked_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            quotas: BTreeMap::new(),
            progress: BTreeMap::new(),
            heartbeat: None,
            unacked: BTreeMap::new(),
            unacked_max,
            unacked_bytes: 0,
        }
    }

    /// Says that an attempt runs.
    pub fn started(&mut self, attempt: AttemptRef) {
        self.queue.push_back(Item::Started(attempt));
    }

    /// Says how an attempt ended, and goes on saying it until it is acknowledged.
    pub fn result(&mut self, attempt: AttemptRef, outcome: &Outcome, run: Duration, usage: Option<&Usage>) {
        self.progress.remove(&attempt);
        let output_bytes = if let Outcome::Succeeded(output) = outcome { output.len() } else { 0 };
        let unacked = Unacked { result: to_outcome(attempt, outcome, run, usage), output_bytes };
        self.unacked_bytes += output_bytes;
        if let Some(before) = self.unacked.insert(attempt, unacked) {
            self.unacked_bytes -= before.output_bytes;
        }
        self.queue.push_back(Item::Result(attempt));
    }

    /// Says that an upstream quota is used up. Before the result of the attempt that found it, so that no attempt is made in
    /// its place meanwhile.
    pub fn quota(&mut self, report: QuotaReport) {
        if self.quotas.len() < QUOTAS_MAX || self.quotas.contains_key(&report.key) {
            self.quotas.insert(report.key.clone(), report);
        }
    }

    /// Says how far an attempt is.
    pub fn progress(&mut self, progress: Progress) {
        self.progress.insert(progress.attempt, progress);
    }

    /// Says what the agent measures of itself.
    pub fn heartbeat(&mut self, heartbeat: v1::Heartbeat) {
        self.heartbeat = Some(heartbeat);
    }

    /// Says that the agent goes.
    pub fn draining(&mut self, reason: String) {
        self.queue.push_back(Item::Draining(reason));
    }

    /// The result of this attempt need not be kept any longer.
    pub fn forget(&mut self, attempt: AttemptRef) {
        if let Some(unacked) = self.unacked.remove(&attempt) {
            self.unacked_bytes -= unacked.output_bytes;
        }
    }

    /// A session begins: forgets what was meant for the last one, and says again that these attempts run and what came
    /// of the others.
    pub fn restart(&mut self, running: impl Iterator<Item = AttemptRef>) {
        self.heartbeat = None;
        self.quotas.clear();
        self.queue = running.map(Item::Started).chain(self.unacked.keys().copied().map(Item::Result)).collect();
    }

    /// Attempts whose result is not acknowledged.
    pub fn unacked(&self) -> impl Iterator<Item = AttemptRef> {
        self.unacked.keys().copied()
    }

    /// Whether this attempt's result is not acknowledged.
    pub fn has_unacked(&self, attempt: AttemptRef) -> bool {
        self.unacked.contains_key(&attempt)
    }

    /// How many results are not acknowledged.
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// Whether so much is unacknowledged that nothing new should start.
    pub fn is_full(&self) -> bool {
        self.unacked.len() >= self.unacked_max || self.unacked_bytes >= UNACKED_BYTES_MAX
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.quotas.is_empty() && self.progress.is_empty() && self.heartbeat.is_none()
    }

    /// What is to be said next, as one frame within the limits of a message; `None` if there is nothing. Heartbeats and quotas
    /// go first: they must not wait behind outputs.
    pub fn next_frame(&mut self) -> Option<v1::AgentFrame> {
        let mut messages: Vec<Message> = self.heartbeat.take().map(Message::Heartbeat).into_iter().collect();
        messages.extend(mem::take(&mut self.quotas).into_values().map(|report| {
            Message::QuotaExhausted(v1::QuotaExhausted {
                key: report.key.as_str().to_owned(),
                retry_after_ms: u64::try_from(report.retry_after.as_millis()).unwrap_or(u64::MAX),
                reason: cut_note(report.reason),
            })
        }));
        let mut output_bytes = 0;
        while messages.len() < FRAME_MESSAGES_MAX && output_bytes < FRAME_OUTPUT_BYTES_MAX {
            let Some(item) = self.queue.pop_front() else { break };
            match item {
                Item::Started(attempt) => {
                    messages.push(Message::Started(v1::AttemptStarted { attempt: Some(to_attempt_ref(attempt)) }));
                }
                Item::Result(attempt) => {
                    // It may have been acknowledged or superseded since it was queued.
                    let Some(unacked) = self.unacked.get(&attempt) else { continue };
                    output_bytes += unacked.output_bytes;
                    messages.push(Message::Result(unacked.result.clone()));
                }
                Item::Draining(reason) => messages.push(Message::Draining(v1::Draining { reason })),
            }
        }
        while messages.len() < FRAME_MESSAGES_MAX {
            let Some((attempt, progress)) = self.progress.pop_first() else { break };
            messages.push(Message::Progress(v1::AttemptProgress {
                attempt: Some(to_attempt_ref(attempt)),
                fraction: progress.fraction,
                note: cut_note(progress.note),
                usage: progress.usage.as_deref().map(to_usage),
            }));
        }
        let wrap = |message| v1::AgentMessage { message: Some(message) };
        (!messages.is_empty()).then(|| v1::AgentFrame { messages: messages.into_iter().map(wrap).collect() })
    }
}

#[cfg(test)]
mod tests;
