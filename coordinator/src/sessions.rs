//! Agents' sessions, from the dispatcher's side: one bounded queue each.
//!
//! An agent that does not take what it is sent is cut off when its queue is full, because the coordinator neither waits for
//! one agent nor buffers without end. Its attempts are then treated like those of any agent that lost its connection.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use evenkeel_core::engine::AgentMessage;
use evenkeel_shared::{Code, Error, SessionEpoch, limits::HELD_ATTEMPTS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::hashing::NumberState;

/// Bits of a session's number below the incarnation: a million sessions a second for twelve days.
const COUNTER_BITS: u32 = 40;

/// Old results of one agent that are looked up in the store at a time: as many as an agent can still hold.
const LOOK_UPS_MAX: usize = HELD_ATTEMPTS_MAX;

/// The open sessions. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<State>);

#[derive(Debug)]
struct State {
    open: DashMap<SessionEpoch, Session, NumberState>,
    last_epoch: AtomicU64,
    queue_max: AtomicUsize,
}

#[derive(Debug)]
struct Session {
    queue: mpsc::Sender<AgentMessage>,
    look_ups: Arc<Semaphore>,
    end: Arc<SessionEnd>,
}

/// How a session ends, as far as the coordinator ends it.
#[derive(Debug, Default)]
pub struct SessionEnd {
    error: OnceLock<Error>,
    /// Nothing more is read.
    ended: CancellationToken,
    /// Nothing more is written, not even what is queued.
    cut: AtomicBool,
    /// The agent has taken the end, or is gone.
    gone: CancellationToken,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is queued.
    Queued,
    /// The session is over.
    Gone,
    /// The session was cut off: its queue was full.
    CutOff,
}

impl Sessions {
    /// No sessions yet; numbers begin above those of earlier incarnations. A queue holds `queue_max` messages.
    #[must_use]
    pub fn new(incarnation: u64, queue_max: usize) -> Self {
        let last_epoch = AtomicU64::new(incarnation << COUNTER_BITS);
        Self(Arc::new(State { open: DashMap::default(), last_epoch, queue_max: AtomicUsize::new(queue_max) }))
    }

    /// Queues of sessions that open from now on hold so many messages.
    pub fn set_queue_max(&self, queue_max: usize) {
        self.0.queue_max.store(queue_max, Ordering::Relaxed);
    }

    /// Opens a session: its number, its queue, its end.
    #[must_use]
    pub fn open(&self) -> (SessionEpoch, mpsc::Receiver<AgentMessage>, Arc<SessionEnd>) {
        let epoch = SessionEpoch(self.0.last_epoch.fetch_add(1, Ordering::Relaxed) + 1);
        let (queue, receiver) = mpsc::channel(self.0.queue_max.load(Ordering::Relaxed));
        let end = Arc::new(SessionEnd::default());
        let look_ups = Arc::new(Semaphore::new(LOOK_UPS_MAX));
        self.0.open.insert(epoch, Session { queue, look_ups, end: Arc::clone(&end) });
        (epoch, receiver, end)
    }

    /// Says something to an agent.
    pub fn send(&self, epoch: SessionEpoch, message: AgentMessage) -> Sent {
        let sent = match self.0.open.get(&epoch) {
            None => return Sent::Gone,
            Some(session) => session.queue.try_send(message),
        };
        match sent {
            Ok(()) => Sent::Queued,
            Err(mpsc::error::TrySendError::Closed(_)) => Sent::Gone,
            Err(mpsc::error::TrySendError::Full(_)) => {
                if let Some((_, session)) = self.0.open.remove(&epoch) {
                    let queued = session.queue.max_capacity();
                    let what = format!("the agent has not read {queued} messages; the session is cut off");
                    session.end.cut_off(Error::new(Code::ResourceExhausted, what));
                }
                Sent::CutOff
            }
        }
    }

    /// Room to look up one more old result for this agent; `None`: it has sent more than an agent can hold, or is gone.
    #[must_use]
    pub fn look_up(&self, epoch: SessionEpoch) -> Option<OwnedSemaphorePermit> {
        let look_ups = Arc::clone(&self.0.open.get(&epoch)?.look_ups);
        look_ups.try_acquire_owned().ok()
    }

    /// Ends a session with this error, after what is queued.
    pub fn close(&self, epoch: SessionEpoch, error: Error) {
        if let Some((_, session)) = self.0.open.remove(&epoch) {
            session.end.finish(Some(error));
        }
    }

    /// The agent ended the session.
    pub fn remove(&self, epoch: SessionEpoch) {
        if let Some((_, session)) = self.0.open.remove(&epoch) {
            session.end.finish(None);
        }
    }

    /// Ends all sessions with this error.
    pub fn close_all(&self, error: &Error) {
        let epochs: Vec<SessionEpoch> = self.0.open.iter().map(|session| *session.key()).collect();
        for epoch in epochs {
            self.close(epoch, error.clone());
        }
    }

    /// Open sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.open.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.open.is_empty()
    }
}

impl SessionEnd {
    fn finish(&self, error: Option<Error>) {
        if let Some(error) = error {
            // The first reason stays.
            let _ = self.error.set(error);
        }
        self.ended.cancel();
    }

    fn cut_off(&self, error: Error) {
        self.finish(Some(error));
        self.cut.store(true, Ordering::Release);
    }

    /// The agent has taken the end, or no longer reads.
    pub fn hang_up(&self) {
        self.ended.cancel();
        self.cut.store(true, Ordering::Release);
        self.gone.cancel();
    }

    /// Done once nothing is held for the agent any more.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Done once nothing more is to be read.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether nothing more is to be written.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// What the stream ends with; `None`: well.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.get()
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::{AssignmentId, AttemptNumber, AttemptRef, TaskId};

    use super::*;

    fn ack() -> AgentMessage {
        let attempt = AttemptRef { task: TaskId::from_u128(1), attempt: AttemptNumber(1), assignment: AssignmentId(1) };
        AgentMessage::Ack { attempt, recorded: true }
    }

    #[test]
    fn numbers_grow_across_restarts() {
        let (first, ..) = Sessions::new(1, 1).open();
        let (second, ..) = Sessions::new(2, 1).open();
        assert!(first < second);
    }

    #[tokio::test]
    async fn a_slow_agent_is_cut_off_with_a_reason_and_the_others_are_not() {
        let sessions = Sessions::new(1, 1);
        let (slow, _queue, end) = sessions.open();
        let (quick, mut queue, _) = sessions.open();
        assert_eq!(sessions.send(slow, ack()), Sent::Queued);
        assert_eq!(sessions.send(slow, ack()), Sent::CutOff);
        assert_eq!(sessions.send(slow, ack()), Sent::Gone);
        assert!(end.is_cut());
        assert_eq!(end.error().unwrap().code, Code::ResourceExhausted);
        assert_eq!(sessions.send(quick, ack()), Sent::Queued);
        assert!(queue.try_recv().is_ok());
    }

    #[tokio::test]
    async fn an_agent_has_as_many_results_looked_up_as_it_can_hold() {
        let sessions = Sessions::new(1, 1);
        let (flooding, ..) = sessions.open();
        let (honest, ..) = sessions.open();
        let mut permits: Vec<_> = (0..LOOK_UPS_MAX).map(|_| sessions.look_up(flooding).unwrap()).collect();
        assert!(sessions.look_up(flooding).is_none());
        assert!(sessions.look_up(honest).is_some());
        permits.pop();
        assert!(sessions.look_up(flooding).is_some());
    }

    #[tokio::test]
    async fn a_closed_session_still_delivers_what_was_queued() {
        let sessions = Sessions::new(1, 4);
        let (epoch, mut queue, end) = sessions.open();
        sessions.send(epoch, ack());
        sessions.close(epoch, Error::new(Code::Aborted, "a newer session took over"));
        end.ended().await;
        assert_eq!(queue.recv().await, Some(ack()));
        assert_eq!(queue.recv().await, None);
        assert_eq!(end.error().unwrap().code, Code::Aborted);
        assert!(sessions.is_empty());
    }
}
