//! Keeps a session with the coordinator: a dial under way, or the session that came of it.

use std::pin::Pin;

use evenkeel_proto::v1;
use tokio::time::sleep;
use tracing::info;

use crate::{
    agent::Agent,
    machine::Dial,
    session::{self, Opened, Session, SessionError, SessionEvent},
};

type Dialling = Pin<Box<dyn Future<Output = Result<Opened, SessionError>> + Send>>;

/// The way to the coordinator.
pub(crate) enum Link {
    /// There is no session yet.
    Down(Dialling),
    /// There is one.
    Up(Box<Session>),
}

/// Something happened on the way to the coordinator.
pub(crate) enum LinkEvent {
    /// A dial has come to its end.
    Opened(Result<Box<Opened>, SessionError>),
    /// The session says something.
    Session(SessionEvent),
}

impl Link {
    /// A link that dials.
    pub fn dialling(agent: &Agent, dial: Dial) -> Self {
        let way = agent.way.clone();
        Self::Down(Box::pin(async move {
            sleep(dial.wait).await;
            session::open(way, dial.register).await
        }))
    }

    /// The next thing that happens; nothing is lost if the future is dropped. Must not be called again after a dial has
    /// come to its end until the link was replaced.
    pub async fn next(&mut self, wants_to_write: bool) -> LinkEvent {
        match self {
            Self::Down(dialling) => LinkEvent::Opened(dialling.await.map(Box::new)),
            Self::Up(session) => LinkEvent::Session(session.next(wants_to_write).await),
        }
    }

    /// Sends what `next_frame` gives, as far as there is room.
    pub fn write(&mut self, next_frame: impl FnMut() -> Option<v1::AgentFrame>) {
        if let Self::Up(session) = self {
            session.write(next_frame);
        }
    }

    /// Ends the session in order, if there is one.
    pub async fn close(self) {
        match self {
            Self::Up(session) => session.close().await,
            Self::Down(_) => info!("leaving without a session"),
        }
    }
}
