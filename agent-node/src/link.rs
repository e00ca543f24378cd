//! Keeps a session with the coordinator: dials until there is one, and again when it ends.

use std::{pin::Pin, sync::Arc, time::Duration};

use evenkeel_shared::{AttemptRef, Registration, backoff::Backoff, wire::agent::to_registration};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    agent::Agent,
    error::AgentError,
    outbox::Outbox,
    session::{self, Opened, Session, SessionError, SessionEvent, Verdict},
};

/// First and longest wait before dialling again. The fleet redials together when a coordinator restarts: full jitter over
/// up to 5 s spreads it, and nobody is away for long.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// A session that lived for so long was sound: the next dial starts from the first wait again.
const SOUND_SESSION: Duration = Duration::from_secs(10);

type Dial = Pin<Box<dyn Future<Output = Result<Opened, SessionError>> + Send>>;

enum State {
    Down(Dial),
    /// Since when.
    Up(Box<Session>, Instant),
}

/// The way to the coordinator.
pub(crate) struct Link {
    state: State,
    /// Which process this is, to the coordinator.
    instance: String,
    /// Dials since the last sound session.
    dials: u32,
}

/// Something happened on the way to the coordinator.
pub(crate) enum LinkEvent {
    /// A dial has come to its end.
    Opened(Result<Box<Opened>, SessionError>),
    /// The session says something.
    Session(SessionEvent),
}

impl Link {
    /// A link of a new process, which dials at once.
    pub fn dialling(agent: &Agent) -> Self {
        let random = fastrand::u128(..).to_be_bytes();
        let instance = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let state = State::Down(dial(agent, &instance, Vec::new(), Duration::ZERO));
        Self { state, instance, dials: 0 }
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(..))
    }

    /// The next thing that happens; nothing is lost if the future is dropped. Must not be called again after a dial has
    /// come to its end until [`Link::up`] or [`Link::redial`] was.
    pub async fn next(&mut self, wants_to_write: bool) -> LinkEvent {
        match &mut self.state {
            State::Down(dial) => LinkEvent::Opened(dial.await.map(Box::new)),
            State::Up(session, _) => LinkEvent::Session(session.next(wants_to_write).await),
        }
    }

    /// There is a session.
    pub fn up(&mut self, session: Session) {
        self.state = State::Up(Box::new(session), Instant::now());
    }

    /// The session or the dial has failed: dials again after a while, with these attempts still in hand.
    ///
    /// # Errors
    /// If dialling again is of no use.
    pub fn redial(&mut self, agent: &Agent, held: Vec<AttemptRef>, error: SessionError) -> Result<(), AgentError> {
        let registered_for = match &self.state {
            State::Up(_, since) => Some(since.elapsed()),
            State::Down(_) => None,
        };
        if registered_for.is_some_and(|lived| lived >= SOUND_SESSION) {
            self.dials = 0;
        }
        let wait = Backoff::new(BACKOFF_BASE, BACKOFF_CAP, 2.0).delay(self.dials, fastrand::f64());
        let (id, wait_ms) = (&agent.spec.id, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        match error.verdict() {
            Verdict::Fenced => return Err(AgentError::Fenced { agent: id.clone(), message: error.message() }),
            Verdict::Refused(code) if registered_for.is_none() => {
                return Err(AgentError::Refused { agent: id.clone(), code, message: error.message() });
            }
            Verdict::IdTaken => warn!(
                agent = %id, wait_ms, error = error.message(),
                "another process holds this agent's id; trying again until it goes, or give this one another id"
            ),
            Verdict::Refused(_) | Verdict::Retry => warn!(agent = %id, wait_ms, %error, "no session; dialling again"),
        }
        self.dials = self.dials.saturating_add(1);
        self.state = State::Down(dial(agent, &self.instance, held, wait));
        Ok(())
    }

    /// Sends what there is to say, as far as there is room.
    pub fn write(&mut self, outbox: &mut Outbox) {
        if let State::Up(session, _) = &self.state {
            session.write(|| outbox.next_frame());
        }
    }

    /// Ends the session in order, if there is one.
    pub async fn close(self) {
        match self.state {
            State::Up(session, _) => session.close().await,
            State::Down(_) => info!("leaving without a session"),
        }
    }
}

fn dial(agent: &Agent, instance: &str, held: Vec<AttemptRef>, wait: Duration) -> Dial {
    let registration = Registration { spec: agent.spec.clone(), instance: instance.to_owned(), held };
    let register = to_registration(&registration);
    let (endpoint, sampler) = (agent.endpoint.clone(), Arc::clone(&agent.sampler));
    Box::pin(async move {
        sleep(wait).await;
        session::open(endpoint, register, sampler).await
    })
}
