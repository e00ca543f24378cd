//! The publisher: makes what the engine shows of itself visible to readers, after it is on disk.
//!
//! It has a mailbox of its own so that neither the engine nor the store writer spends time on maps of a large fleet. Who has
//! just changed something asks it, not the snapshot: its mailbox is in order, so the answer has the change in it.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use evenkeel_core::model::AgentView;
use evenkeel_shared::AgentId;
use tokio::sync::oneshot;

use crate::{
    failpoint::{self, Point},
    snapshot::{Snapshot, SnapshotUpdate},
};

/// Publications and questions that wait. Publications come ten times a second and questions from operators.
pub const MAILBOX_MAX: usize = 256;

/// Owns the published values.
#[derive(Debug)]
pub struct Publisher {
    snapshot: Snapshot,
}

/// Publish this.
#[derive(Debug)]
pub struct Publish(pub SnapshotUpdate);

impl Message for Publish {
    type Result = ();
}

/// An agent, with every change that was answered so far.
#[derive(Debug)]
pub struct Describe {
    /// Which one.
    pub agent: AgentId,
    /// Where it goes; `None`: not known.
    pub answer: oneshot::Sender<Option<Arc<AgentView>>>,
}

impl Message for Describe {
    type Result = ();
}

impl Publisher {
    /// A publisher into this snapshot.
    #[must_use]
    pub const fn new(snapshot: Snapshot) -> Self {
        Self { snapshot }
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;
}

impl Handler<Publish> for Publisher {
    type Result = ();

    fn handle(&mut self, Publish(update): Publish, _: &mut Self::Context) {
        failpoint::hit(Point::Publisher);
        self.snapshot.apply(update);
    }
}

impl Handler<Describe> for Publisher {
    type Result = ();

    fn handle(&mut self, question: Describe, _: &mut Self::Context) {
        // Who asked may have gone.
        let _ = question.answer.send(self.snapshot.agent(&question.agent));
    }
}
