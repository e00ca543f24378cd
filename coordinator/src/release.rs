//! The dispatcher: what is durable is said, to everybody whom it concerns.
//!
//! It never waits: every queue that it fills is bounded, and who does not take what is his is cut off. What is looked at is
//! entered before anything else of a batch is said, so that a client that asks for a task on hearing its id finds it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_core::{
    engine::{AgentMessage, Effects, Message},
    model::{ClusterEvent, TaskEvent},
};
use evenkeel_shared::{AttemptRef, Error, EventPosition, SessionEpoch, TaskSpec};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    directory::Directory,
    hub::{Hub, Positioned},
    metrics::{BadInput, Metrics, SlowConsumer},
    pending::Pending,
    reads::Reads,
    sessions::{Sent, Sessions},
    telemetry::{Active, Commit, Traces, is_traced},
    waiters::Waiters,
};

/// Old results that wait to be looked up in the store: a large fleet that comes back with all its results at once.
pub const LOOK_UPS_MAX: usize = 65_536;
/// Of these, as many at a time ask the store: a part of its readers, so that no flood of results holds up clients.
pub const LOOK_UPS_ASKING_MAX: usize = 2;
/// When an agent whose old results found no room may try again.
const LOOK_UP_RETRY_AFTER: Duration = Duration::from_secs(1);

/// An event of a task, with what the task asks for where that is known: watchers filter by it.
#[derive(Clone, Debug)]
pub struct WatchedEvent {
    /// The event.
    pub event: TaskEvent,
    /// What the task asks for.
    pub spec: Option<Arc<TaskSpec>>,
}

impl Positioned for WatchedEvent {
    fn position(&self) -> EventPosition {
        self.event.position
    }
}

impl Positioned for ClusterEvent {
    fn position(&self) -> EventPosition {
        self.position
    }
}

/// Everybody who may be concerned.
#[derive(Clone)]
pub struct Dispatcher {
    /// Requests that wait for their reply.
    pub pending: Pending,
    /// Agents.
    pub sessions: Sessions,
    /// Live tasks.
    pub directory: Directory,
    /// Those who wait for tasks.
    pub waiters: Waiters,
    /// Those who watch tasks.
    pub task_hub: Hub<WatchedEvent>,
    /// Those who watch the fleet.
    pub cluster_hub: Hub<ClusterEvent>,
    /// The store, for results that the engine no longer knows.
    pub reads: Reads,
    /// Room for look-ups: [`LOOK_UPS_MAX`].
    pub look_ups: Arc<Semaphore>,
    /// Turns to ask the store: [`LOOK_UPS_ASKING_MAX`].
    pub look_up_turns: Arc<Semaphore>,
    /// Counters.
    pub metrics: Metrics,
    /// Where questions to the store run.
    pub runtime: Handle,
    /// Lists of effects to use again.
    pub spare: Spare,
    /// What is told of traced tasks.
    pub traces: Traces,
}

/// Emptied lists of effects that are kept for the next ones: as many as are with the writer at once.
const SPARE_MAX: usize = 16;
/// Entries of a list beyond which it is not kept: a burst must not hold its memory for ever.
const SPARE_ENTRIES_MAX: usize = 65_536;

/// Lists of effects that were used, so that the next ones need no memory of their own: lists of thousands are large enough
/// for the allocator to give back to the system and to fetch anew, page by page. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Spare(Arc<Mutex<Vec<Effects>>>);

impl Spare {
    /// Empty lists.
    #[must_use]
    pub fn take(&self) -> Effects {
        self.lock().pop().unwrap_or_default()
    }

    /// These are empty, or are no longer wanted.
    pub fn put(&self, mut effects: Effects) {
        effects.changes.clear();
        effects.messages.clear();
        let small = effects.changes.capacity().max(effects.messages.capacity()) <= SPARE_ENTRIES_MAX;
        let mut spare = self.lock();
        if small && spare.len() < SPARE_MAX {
            spare.push(effects);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Effects>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells of a message that is about to be said, if it is of a traced task or of a registration.
fn trace(traces: &Active, commit: Option<&Commit>, message: &Message) {
    match message {
        Message::ToAgent { message: AgentMessage::Assign(assignment), .. } if is_traced(&assignment.spec) => {
            traces.assigned(assignment, commit);
        }
        Message::ToAgent { session, message: AgentMessage::Welcome { .. } } => traces.registered(*session, None),
        Message::CloseSession { session, error } => traces.registered(*session, Some(error)),
        Message::Finished(task) if is_traced(&task.spec) => traces.finished(task, commit),
        _ => {}
    }
}

/// Batches with messages that are not said yet, so that nothing is said past them. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Unsaid(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct UnsaidBatch(Unsaid);

impl Unsaid {
    /// One more.
    #[must_use]
    pub fn one(&self) -> UnsaidBatch {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnsaidBatch(self.clone())
    }

    /// Whether all has been said. Then what was said happened before.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for UnsaidBatch {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Dispatcher {
    /// Says all of it: first to the directory and to those who watch, then to everybody else, both in order. So who hears
    /// of something finds it, wherever it looks.
    /// The list is emptied.
    pub fn release(&self, messages: &mut Vec<Message>) {
        self.release_after(None, messages);
    }

    /// The same, of what this transaction has made durable.
    pub fn release_after(&self, commit: Option<&Commit>, messages: &mut Vec<Message>) {
        let traces = self.traces.active();
        let is_shown = |message: &Message| {
            matches!(message, Message::Accepted(_) | Message::TaskEvent(_) | Message::ClusterEvent(_))
        };
        let (mut tasks, mut cluster) = (Vec::new(), Vec::new());
        for message in messages.extract_if(.., |message| is_shown(message)) {
            match message {
                Message::Accepted(task) => {
                    self.directory.accepted(&task);
                    if let Some(traces) = traces.filter(|_| is_traced(&task.spec)) {
                        traces.accepted(&task, commit);
                    }
                }
                Message::TaskEvent(event) => {
                    let spec = self.directory.apply(&event);
                    if let Some(traces) = traces.filter(|_| spec.as_deref().is_some_and(is_traced)) {
                        traces.happened(&event);
                    }
                    tasks.push(WatchedEvent { event, spec });
                }
                Message::ClusterEvent(event) => cluster.push(event),
                _ => {}
            }
        }
        let mut cut_off = 0;
        if !tasks.is_empty() {
            cut_off += self.task_hub.publish(tasks);
        }
        if !cluster.is_empty() {
            cut_off += self.cluster_hub.publish(cluster);
        }
        self.metrics.slow_consumers(SlowConsumer::Watch, cut_off);
        for message in messages.drain(..) {
            if let Some(traces) = traces {
                trace(traces, commit, &message);
            }
            self.say(message);
        }
    }

    fn say(&self, message: Message) {
        match message {
            Message::Reply { request, reply } => self.pending.answer(request, reply, &self.waiters),
            Message::ToAgent { session, message } => self.tell_agent(session, message),
            Message::CloseSession { session, error } => {
                self.metrics.bad_input(BadInput::session(&error));
                self.sessions.close(session, error);
            }
            Message::LookUpResult { session, attempt } => self.look_up(session, attempt),
            Message::Finished(task) => {
                self.directory.finished(&task);
                self.waiters.notify(&task);
                self.metrics.finished(&task);
            }
            // Said already.
            Message::Accepted(_) | Message::TaskEvent(_) | Message::ClusterEvent(_) => {}
        }
    }

    fn tell_agent(&self, session: SessionEpoch, message: AgentMessage) {
        if let AgentMessage::Ack { recorded: false, .. } = message {
            self.metrics.bad_input(BadInput::StaleResult);
        }
        if self.sessions.send(session, message) == Sent::CutOff {
            self.metrics.slow_consumers(SlowConsumer::Session, 1);
        }
    }

    /// Asks the store whether a result was recorded, and tells the agent. Where that cannot be done the session is ended:
    /// the agent comes back and sends the result again, so that nothing is lost.
    fn look_up(&self, session: SessionEpoch, attempt: AttemptRef) {
        let Ok(permit) = Arc::clone(&self.look_ups).try_acquire_owned() else {
            let what = "too many old results have to be looked up at once; come back later";
            self.sessions.close(session, Error::exhausted(what, LOOK_UP_RETRY_AFTER));
            return;
        };
        let Some(own_permit) = self.sessions.look_up(session) else {
            let what = "the agent has sent more old results than an agent can hold; come back later";
            self.sessions.close(session, Error::exhausted(what, LOOK_UP_RETRY_AFTER));
            return;
        };
        let this = self.clone();
        self.runtime.spawn(async move {
            // The semaphore is never closed.
            let turn = this.look_up_turns.acquire().await;
            match this.reads.ask(move |store| store.result_recorded(attempt)).await {
                Ok(recorded) => this.tell_agent(session, AgentMessage::Ack { attempt, recorded }),
                Err(error) => this.sessions.close(session, error),
            }
            drop((turn, own_permit, permit));
        });
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
