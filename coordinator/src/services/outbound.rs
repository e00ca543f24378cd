//! What goes to one agent: what is queued for it, as many messages to a frame as are there.
//!
//! That a result was recorded is not urgent: the agent only forgets it then. Such words wait a little for something else to
//! say, because a frame of their own costs both sides as much as the task did, where agents have one short task at a time.
//! Of a coordinator that dies meanwhile an agent sends these few results again, to be told from the store that they are
//! recorded.

use std::{pin::Pin, sync::Arc, time::Duration};

use evenkeel_core::engine::AgentMessage;
use evenkeel_proto::v1;
use evenkeel_shared::{SessionEpoch, wire::status::to_status};
use futures_util::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};
use tonic::Status;

use super::{agent::write_message, cluster::Identity};
use crate::sessions::SessionEnd;

/// Messages to an agent in one frame.
const FRAME_MESSAGES_MAX: usize = 512;
/// Bytes of payload after which a frame is full. One more payload may be in it, which stays below the largest message.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// How long an acknowledgement waits for company: long enough that an agent with a dozen tasks a second seldom gets one
/// alone, short enough that nobody minds who waits for it, such as an agent that has one task and ends.
const ACK_WAIT: Duration = Duration::from_millis(100);
/// Acknowledgements that wait. An agent holds results until it hears of them, and may start nothing new while it holds too
/// many: far fewer than any agent may hold.
const ACKS_MAX: usize = 32;

/// What goes to one agent.
pub struct Outbound {
    epoch: SessionEpoch,
    queue: mpsc::Receiver<AgentMessage>,
    end: Arc<SessionEnd>,
    identity: Arc<Identity>,
    /// Acknowledgements that wait for something else to say.
    acks: Vec<AgentMessage>,
    /// Until when they wait.
    wait: Option<Pin<Box<Sleep>>>,
    /// The agent drains: it goes once it has heard of all its results.
    drains: bool,
    over: bool,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // The stream is gone: there is no use in reading on.
        self.end.hang_up();
    }
}

impl Outbound {
    /// Of this session.
    #[must_use]
    pub const fn new(
        epoch: SessionEpoch,
        queue: mpsc::Receiver<AgentMessage>,
        end: Arc<SessionEnd>,
        identity: Arc<Identity>,
    ) -> Self {
        Self { epoch, queue, end, identity, acks: Vec::new(), wait: None, drains: false, over: false }
    }

    /// The frames of the session: what is queued, then its end.
    pub fn frames(self) -> impl Stream<Item = Result<v1::CoordinatorFrame, Status>> {
        futures_util::stream::unfold(self, |mut outbound| async {
            if outbound.over {
                return None;
            }
            if let Some(frame) = outbound.next().await {
                return Some((Ok(frame), outbound));
            }
            outbound.over = true;
            let status = outbound.end.error().map(to_status)?;
            Some((Err(status), outbound))
        })
    }

    /// The next frame; `None`: there is none to come.
    async fn next(&mut self) -> Option<v1::CoordinatorFrame> {
        // A session is cut off when its queue is full, and its queue is closed with it. So nobody waits on an empty queue
        // for a cut, and it is enough to look before and after.
        if self.end.is_cut() {
            return None;
        }
        let first = loop {
            let next = self.wait_for_next().await;
            match next {
                Some(ack @ AgentMessage::Ack { .. }) if self.may_wait() => self.hold(ack),
                next => break next,
            }
        };
        let nothing = first.is_none() && self.acks.is_empty();
        if nothing || self.end.is_cut() { None } else { Some(self.frame(first)) }
    }

    /// What is queued next; `None`: nothing before what waits is due, or nothing any more.
    async fn wait_for_next(&mut self) -> Option<AgentMessage> {
        if self.acks.is_empty() {
            return self.queue.recv().await;
        }
        let Some(wait) = &mut self.wait else { return None };
        tokio::select! {
            biased;
            next = self.queue.recv() => next,
            () = wait => None,
        }
    }

    fn may_wait(&self) -> bool {
        !self.drains && self.acks.len() < ACKS_MAX
    }

    fn hold(&mut self, ack: AgentMessage) {
        if self.acks.is_empty() {
            let until = Instant::now() + ACK_WAIT;
            match &mut self.wait {
                Some(wait) => wait.as_mut().reset(until),
                None => self.wait = Some(Box::pin(sleep_until(until))),
            }
        }
        self.acks.push(ack);
    }

    /// A frame of what waits, of this, and of what is queued.
    fn frame(&mut self, first: Option<AgentMessage>) -> v1::CoordinatorFrame {
        let mut frame = v1::CoordinatorFrame::default();
        frame.messages.extend(self.acks.drain(..).map(|ack| write_message(ack, self.epoch, &self.identity)));
        let mut bytes = 0;
        let mut next = first;
        while let Some(message) = next {
            match &message {
                AgentMessage::Assign(assignment) => bytes += assignment.payload.len(),
                AgentMessage::Drain { .. } => self.drains = true,
                _ => {}
            }
            frame.messages.push(write_message(message, self.epoch, &self.identity));
            let full = frame.messages.len() >= FRAME_MESSAGES_MAX || bytes >= FRAME_BYTES_MAX;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::{AssignmentId, AttemptNumber, AttemptRef, TaskId};
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::sessions::{Sent, Sessions};

    const ATTEMPT: AttemptRef =
        AttemptRef { task: TaskId::from_u128(1), attempt: AttemptNumber(1), assignment: AssignmentId(1) };

    fn ack() -> AgentMessage {
        AgentMessage::Ack { attempt: ATTEMPT, recorded: true }
    }

    #[tokio::test]
    async fn an_acknowledgement_waits_for_company_but_not_for_ever_and_not_while_its_agent_drains() {
        let sessions = Sessions::new(1, 8);
        let (epoch, queue, end) = sessions.open();
        let identity = Identity { coordinator_id: "c1".into(), version: "0", data_dir: String::new(), traces: false };
        let mut frames = Box::pin(Outbound::new(epoch, queue, end, Arc::new(identity)).frames());
        let say = |message| assert_eq!(sessions.send(epoch, message), Sent::Queued);

        say(ack());
        assert!(frames.next().now_or_never().is_none(), "it waits");
        say(AgentMessage::Cancel { attempt: ATTEMPT, reason: String::new() });
        assert_eq!(frames.next().await.unwrap().unwrap().messages.len(), 2, "in one frame");

        say(ack());
        assert_eq!(frames.next().await.unwrap().unwrap().messages.len(), 1, "nothing else comes");

        say(AgentMessage::Drain { deadline: None, reason: String::new() });
        assert_eq!(frames.next().await.unwrap().unwrap().messages.len(), 1);
        say(ack());
        assert!(frames.next().now_or_never().is_some(), "the agent goes");
    }
}
