//! The way into the coordinator's mailbox, bounded on purpose.
//!
//! actix's own bound does not serve: `do_send` ignores it, and `send` on a full mailbox returns `Pending` without leaving a
//! waker, so it may sleep for ever. Permits of a semaphore are taken instead, and travel with the message until it is
//! handled; the mailbox has room for every permit there is, so `try_send` finds it full never. Clients are refused when
//! there is no permit. Agents' sessions wait for one, which holds back their streams, and have permits of their own, so
//! that a flood of submissions delays no heartbeat.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Handler, Message, prelude::SendError};
use evenkeel_core::{engine::Event, model::Explanation};
use evenkeel_shared::{Code, Error, TaskId, limits::MESSAGE_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::{
    actors::coordinator::{Batch, CoordinatorActor, Explain, Glance, Look},
    heartbeats::{Heartbeats, Hold, Place},
    lifecycle::Lifecycle,
};

/// Requests of clients on their way to the engine: at half a million events a second a few milliseconds of work.
const CLIENT_BATCHES_MAX: usize = 2_048;
/// Batches of agents on their way to the engine. A session has one at a time, so sessions beyond this number take turns.
const SESSION_BATCHES_MAX: usize = 4_096;
/// Messages of the process itself: ticks, stop.
const CONTROL_MAX: usize = 16;
/// What the mailbox holds: every permit and the process's own messages.
pub const MAILBOX_MAX: usize = CLIENT_BATCHES_MAX + SESSION_BATCHES_MAX + CONTROL_MAX;
/// Payload bytes of submissions that are not answered yet.
const SUBMIT_BYTES_MAX: usize = 256 << 20;
/// When a refused request is worth another try: the mailbox turns over in less.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Bytes are counted in units of this size, because a semaphore counts to 2^29 on some machines.
const BYTES_UNIT: usize = 1 << 10;

/// The way in. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Intake {
    coordinator: Addr<CoordinatorActor>,
    clients: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    heartbeats: Heartbeats,
}

/// A session's turn to have a batch in the mailbox, and its place among the heartbeats that wait. One for each session.
#[derive(Debug)]
pub struct SessionTurn {
    batch: Arc<Semaphore>,
    heartbeat: Place,
}

impl Default for SessionTurn {
    fn default() -> Self {
        Self { batch: Arc::new(Semaphore::new(1)), heartbeat: Place::default() }
    }
}

impl Intake {
    /// The way into this coordinator.
    #[must_use]
    pub fn new(coordinator: Addr<CoordinatorActor>, heartbeats: Heartbeats) -> Self {
        Self {
            coordinator,
            clients: Arc::new(Semaphore::new(CLIENT_BATCHES_MAX)),
            sessions: Arc::new(Semaphore::new(SESSION_BATCHES_MAX)),
            bytes: Arc::new(Semaphore::new(SUBMIT_BYTES_MAX / BYTES_UNIT)),
            heartbeats,
        }
    }

    /// A client's place in the mailbox, or RESOURCE_EXHAUSTED.
    fn client_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.clients)
            .try_acquire_owned()
            .map_err(|error| refused(&error, "the coordinator has as many requests as it can hold; try again"))
    }

    /// Room for so many payload bytes, kept until the submission is answered.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there is none.
    pub fn bytes_permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let units = bytes.min(MESSAGE_BYTES_MAX).div_ceil(BYTES_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.bytes).try_acquire_many_owned(units).map_err(|error| {
            refused(&error, "submissions that wait for their answer hold as many bytes as they may; try again")
        })
    }

    /// Sends a client's event.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if the mailbox is full, UNAVAILABLE if the coordinator is gone.
    pub fn send(&self, event: Event) -> Result<(), Error> {
        let permit = self.client_permit()?;
        self.put(Batch::new(vec![event], permit))
    }

    /// Delivers what an agent said, as soon as there is room and what the session delivered before is handled. Until then
    /// the session's stream is held back, so that no session has more than one batch in the mailbox. A heartbeat alone waits
    /// until the engine is awake.
    ///
    /// # Errors
    /// UNAVAILABLE if the coordinator is gone.
    pub async fn deliver(&self, turn: &SessionTurn, mut events: Vec<Event>) -> Result<(), Error> {
        if let [Event::Heartbeat { .. }] = events[..]
            && let Some(heartbeat) = events.pop()
        {
            match self.heartbeats.hold(&turn.heartbeat, heartbeat) {
                Hold::Waits => return Ok(()),
                Hold::Wake => {}
                Hold::Taken(heartbeat) => events.push(heartbeat),
            }
        }
        let turn = Arc::clone(&turn.batch).acquire_owned().await;
        let place = Arc::clone(&self.sessions).acquire_owned().await;
        let (Ok(turn), Ok(place)) = (turn, place) else { return Err(Lifecycle::restarting()) };
        self.put(Batch::new(events, place).in_turn(turn))
    }

    fn put<M>(&self, message: M) -> Result<(), Error>
    where
        M: Message<Result = ()> + Send + 'static,
        CoordinatorActor: Handler<M>,
    {
        self.coordinator.try_send(message).map_err(|error| match error {
            SendError::Full(_) => Error::exhausted("the coordinator's mailbox is full; try again", RETRY_AFTER),
            SendError::Closed(_) => Lifecycle::restarting(),
        })
    }

    /// Asks why a live task is where it is.
    ///
    /// # Errors
    /// As for [`Intake::send`].
    pub fn explain(
        &self,
        task: TaskId,
        candidates_max: usize,
        answer: oneshot::Sender<Option<Explanation>>,
    ) -> Result<(), Error> {
        let place = self.client_permit()?;
        self.put(Explain { task, candidates_max, answer, place })
    }

    /// Looks at the engine.
    ///
    /// # Errors
    /// As for [`Intake::send`].
    pub fn look(&self, at: Glance) -> Result<(), Error> {
        let place = self.client_permit()?;
        self.put(Look { at, place })
    }
}

fn refused(error: &TryAcquireError, message: &str) -> Error {
    match error {
        TryAcquireError::NoPermits => Error::exhausted(message, RETRY_AFTER),
        TryAcquireError::Closed => Error::new(Code::Unavailable, "the coordinator is stopping"),
    }
}
