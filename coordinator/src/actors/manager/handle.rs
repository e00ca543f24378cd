//! The services' way to the manager: a question, answered once what follows from it is stored.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Message, prelude::SendError};
use evenkeel_core::manager::{Manager, Outputs};
use evenkeel_shared::{Code, Error, Timestamp};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{ManagerActor, TURN_INTERVAL, state::ManagerState};
use crate::{gateway::Gateway, lifecycle::Lifecycle};

/// Questions of operators that wait: they are people and scripts, not tasks.
pub(super) const QUESTIONS_MAX: usize = 64;
/// How long an operator waits for an answer, however busy the manager is.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a question leaves behind: the answer, to be given once all is stored.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
pub(super) type Question = Box<dyn FnOnce(&mut Manager, Timestamp, &mut Outputs) -> Answer + Send>;

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
pub(super) struct Ask {
    pub(super) question: Question,
    pub(super) place: OwnedSemaphorePermit,
    /// Dropped once the state says what has become of the manager.
    pub(super) held: oneshot::Sender<()>,
}

impl Message for Ask {
    type Result = ();
}
