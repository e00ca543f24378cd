//! Events from a position on: from the store, then from the hub's ring, then live, without gap or repeat.
//!
//! The store has every durable event up to what the hub has published, because publishing comes after the commit. So a
//! reader takes pages from the store up to where the ring begins, and joins the hub there; if the ring has moved on in the
//! meantime, it reads on.

use std::{future::Future, time::Duration};

use evenkeel_shared::{Error, EventPosition, wire::status::to_status};
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    hub::{Hub, JoinError, Positioned},
    lifecycle::Lifecycle,
};

/// Events read from the store at a time.
pub const PAGE: usize = 512;
/// Events on their way to one client, beyond what its connection holds.
pub const OUTBOUND_MAX: usize = 64;
/// When one who was cut off, or found no room, may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Where the events of a watch come from, and what becomes of them.
pub trait Source: Send + Sync + 'static {
    /// The hub's events.
    type Event: Positioned + Send + Sync + 'static;
    /// What the client gets.
    type Wire: Send + 'static;

    /// At most [`PAGE`] stored events after a position, in order.
    fn page(&self, after: EventPosition) -> impl Future<Output = Result<Vec<Self::Event>, Error>> + Send;

    /// The event, if the client wants it.
    fn wire(&self, event: &Self::Event) -> Option<Self::Wire>;
}

/// One who watches.
pub struct Watcher<S: Source> {
    /// Where the events come from.
    pub source: S,
    /// Where the live ones are published.
    pub hub: Hub<S::Event>,
    /// Where they go.
    pub outbound: mpsc::Sender<Result<S::Wire, Status>>,
    /// Ends the watch when the process stops.
    pub lifecycle: Lifecycle,
}

/// Why a watch ended.
enum End {
    /// The client went away, or has all that it asked for.
    Done,
    /// Something to tell the client.
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<S: Source> Watcher<S> {
    /// Watches until the client goes away: from after a position on, or from now on. Without `follow` it ends when what
    /// there is has been sent.
    pub async fn run(self, after: Option<EventPosition>, follow: bool) {
        let end = tokio::select! {
            end = self.watch(after, follow) => end,
            () = self.lifecycle.closed() => Err(End::Failed(Lifecycle::restarting())),
            () = self.outbound.closed() => Err(End::Done),
        };
        if let Err(End::Failed(error)) = end {
            // A client that has gone needs no reason.
            let _ = self.outbound.send(Err(to_status(&error))).await;
        }
    }

    async fn watch(&self, mut after: Option<EventPosition>, follow: bool) -> Result<(), End> {
        let mut joined = loop {
            match self.hub.join(after) {
                Ok(joined) => break joined,
                Err(JoinError::Full) => {
                    return Err(Error::exhausted("there are as many watchers as there may be", RETRY_AFTER).into());
                }
                Err(JoinError::Behind { up_to }) => after = Some(self.replay(after.unwrap_or_default(), up_to).await?),
            }
        };
        for event in joined.ring.drain(..) {
            after = Some(self.emit(&event).await?);
        }
        if !follow {
            return Ok(());
        }
        while let Some(event) = joined.live.recv().await {
            after = Some(self.emit(&event).await?);
        }
        let position = after.unwrap_or_default();
        let what = format!("the watcher was too slow and is cut off; watch again from after position {position}");
        Err(Error::exhausted(what, RETRY_AFTER).about("event", position.to_string()).into())
    }

    /// Sends a page of stored events up to a position. Answers up to where all have been sent.
    async fn replay(&self, after: EventPosition, up_to: EventPosition) -> Result<EventPosition, End> {
        let page = self.source.page(after).await?;
        let mut complete = page.len() < PAGE;
        let mut sent = after;
        for event in page {
            if event.position() > up_to {
                // The ring has it, and the ones in between that are kept in memory only.
                complete = true;
                break;
            }
            sent = self.emit(&event).await?;
        }
        Ok(if complete { sent.max(up_to) } else { sent })
    }

    async fn emit(&self, event: &S::Event) -> Result<EventPosition, End> {
        if let Some(wire) = self.source.wire(event) {
            self.outbound.send(Ok(wire)).await.map_err(|_| End::Done)?;
        }
        Ok(event.position())
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
