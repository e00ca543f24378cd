//! What the resource manager wants kept and said.
//!
//! It goes through the engine although the engine has no use for it: the history has one order, whose numbers are the
//! engine's, and one way to the disk, with its bounds and its rule that nothing is answered before its commit. A second way
//! to the store writer was rejected, because either would then need the other's permits and places in the order.

use super::{
    Engine,
    effects::{Change, Effects, Message, Reply},
    event::RequestId,
};
use crate::model::{ClusterEvent, Notice, Record};

impl Engine {
    pub(super) fn keep(&mut self, request: RequestId, records: Vec<Record>, notices: Vec<Notice>, out: &mut Effects) {
        out.changes.extend(records.into_iter().map(|record| Change::Record(Box::new(record))));
        for Notice { kind, agent, message } in notices {
            let position = self.numbers.position();
            let event = ClusterEvent { position, at: self.now, kind, agent, task: None, message };
            out.changes.push(Change::ClusterEvent(event.clone()));
            out.messages.push(Message::ClusterEvent(event));
        }
        out.messages.push(Message::Reply { request, reply: Reply::Done(Ok(())) });
    }
}
