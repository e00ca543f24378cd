//! What agents send: a hostile agent, on two connections at a time if it likes, beside an honest one.
//!
//! The bytes of a frame go the way of the service: protobuf, the form of the frame, events, engine. Nothing that the
//! hostile agent says may touch what the honest one has; once it is gone, every task ends, once.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_coordinator::services::agent::read_frame;
use evenkeel_core::engine::{AgentMessage, Change, Effects, Event, Message, Settings};
use evenkeel_proto::v1;
use evenkeel_shared::{AttemptRef, SessionEpoch, TaskId};
use prost::Message as _;

use super::cluster::{Cluster, HONEST, HONEST_INSTANCE};

/// Slots of the honest agent; all are taken when the hostile one comes.
const HONEST_SLOTS: u32 = 3;
/// Tasks that wait for whoever has room.
const WAITING_TASKS: usize = 3;
/// Steps of one input: longer ones find nothing that these do not.
const STEPS_MAX: usize = 64;
/// Simulated time of one input.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Tasks submitted beside those that there are.
const SUBMITTED_MAX: usize = 16;

/// What happens, in order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Script {
    /// One after the other.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Step {
    /// Which.
    #[prost(oneof = "Act", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub act: Option<Act>,
}

/// Something that happens.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Act {
    /// The hostile agent sends this as a frame.
    #[prost(bytes = "vec", tag = "1")]
    Frame(Vec<u8>),
    /// So many milliseconds pass.
    #[prost(uint64, tag = "2")]
    Wait(u64),
    /// The hostile agent hangs up and dials again.
    #[prost(bool, tag = "3")]
    Redial(bool),
    /// It goes on on its first or its second connection.
    #[prost(uint32, tag = "4")]
    Use(u32),
    /// The honest agent ends one of its attempts.
    #[prost(uint32, tag = "5")]
    HonestSucceeds(u32),
    /// A client calls off one of the tasks that are not over.
    #[prost(uint32, tag = "6")]
    Cancel(u32),
    /// A client submits a task.
    #[prost(bool, tag = "7")]
    Submit(bool),
}

/// One connection of the hostile agent.
#[derive(Clone, Copy)]
struct Connection {
    session: SessionEpoch,
    registered: bool,
}

/// What happens beside the script.
pub struct World {
    cluster: Cluster,
    connections: [Connection; 2],
    current: usize,
}

/// Plays the bytes as a [`Script`].
pub fn run(data: &[u8]) {
    let Ok(script) = Script::decode(data) else { return };
    let mut world = World::new();
    if world.play(&script) {
        world.end();
    }
}

impl World {
    /// The honest agent is busy, some tasks wait, and somebody dials.
    #[must_use]
    pub fn new() -> Self {
        let mut cluster = Cluster::new(Settings::default(), Cluster::honest_spec(HONEST_SLOTS));
        for _ in 0..HONEST_SLOTS as usize + WAITING_TASKS {
            cluster.submit_plain();
        }
        assert_eq!(cluster.held().len(), HONEST_SLOTS as usize);
        let connections = [(); 2].map(|()| Connection { session: cluster.open_session(), registered: false });
        Self { cluster, connections, current: 0 }
    }

    /// What the honest agent runs.
    #[must_use]
    pub fn honest_attempts(&self) -> &[AttemptRef] {
        self.cluster.held()
    }

    /// What the hostile agent was given, ever.
    #[must_use]
    pub fn hostile_attempts(&self) -> &[AttemptRef] {
        self.cluster.given()
    }

    /// Plays a script; false if the hostile agent turned out to be the honest one.
    pub fn play(&mut self, script: &Script) -> bool {
        let mut waited = Duration::ZERO;
        let mut submitted = 0;
        for step in script.steps.iter().take(STEPS_MAX) {
            match &step.act {
                Some(Act::Frame(bytes)) => {
                    if !self.frame(bytes) {
                        return false;
                    }
                }
                Some(Act::Wait(ms)) => {
                    let wait = Duration::from_millis(*ms).min(TIME_MAX - waited);
                    waited += wait;
                    self.cluster.wait(wait);
                }
                Some(Act::Redial(_)) => self.redial(),
                Some(Act::Use(n)) => self.current = (*n % 2) as usize,
                Some(Act::HonestSucceeds(n)) => self.cluster.honest_succeeds(*n as usize),
                Some(Act::Cancel(n)) => {
                    let live: Vec<TaskId> = self.cluster.ledger().unfinished().collect();
                    if !live.is_empty() {
                        self.cluster.cancel(live[*n as usize % live.len()]);
                    }
                }
                Some(Act::Submit(_)) if submitted < SUBMITTED_MAX => {
                    submitted += 1;
                    self.cluster.submit_plain();
                }
                Some(Act::Submit(_)) | None => {}
            }
            self.follow();
        }
        true
    }

    /// The hostile agent goes, and everything is well again.
    pub fn end(mut self) {
        for connection in 0..self.connections.len() {
            self.current = connection;
            self.hang_up("it is over");
        }
        self.cluster.heal();
    }

    /// The service reads a frame. False if it names the honest agent's process, which nobody else knows.
    fn frame(&mut self, bytes: &[u8]) -> bool {
        let connection = self.connections[self.current];
        let Ok(frame) = v1::AgentFrame::decode(bytes) else {
            self.redial();
            return true;
        };
        let Ok(events) = read_frame(connection.session, frame, connection.registered) else {
            self.redial();
            return true;
        };
        self.connections[self.current].registered |= !events.is_empty();
        if events.iter().any(is_honest) {
            return false;
        }
        for event in events {
            let spared: BTreeSet<TaskId> = self.cluster.held().iter().map(|held| held.task).collect();
            let effects = self.cluster.handle(event);
            check_spared(&spared, &effects);
        }
        true
    }

    /// Ends the connections whose sessions the engine has ended, as the service does.
    fn follow(&mut self) {
        let closed = self.cluster.take_closed();
        let current = self.current;
        for at in 0..self.connections.len() {
            if closed.contains(&self.connections[at].session) {
                self.current = at;
                self.redial();
            }
        }
        self.current = current;
    }

    fn redial(&mut self) {
        self.hang_up("the stream ended");
        let session = self.cluster.open_session();
        self.connections[self.current] = Connection { session, registered: false };
    }

    fn hang_up(&mut self, reason: &str) {
        let Connection { session, registered } = self.connections[self.current];
        if registered {
            self.connections[self.current].registered = false;
            self.cluster.handle(Event::SessionClosed { session, reason: reason.to_owned() });
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn is_honest(event: &Event) -> bool {
    matches!(event, Event::Register { registration, .. }
        if registration.spec.id.as_str() == HONEST && registration.instance == HONEST_INSTANCE)
}

/// Nothing that followed is about these tasks.
fn check_spared(spared: &BTreeSet<TaskId>, effects: &Effects) {
    let changed = effects.changes.iter().find(|change| match change {
        Change::Assign { attempt, .. } | Change::EndAttempt { attempt, .. } => spared.contains(&attempt.task),
        Change::Requeue { task, .. } | Change::Finish { task, .. } => spared.contains(task),
        Change::TaskEvent(event) => spared.contains(&event.task),
        Change::Accept(_)
        | Change::ClusterEvent(_)
        | Change::Admin { .. }
        | Change::Strategy(_)
        | Change::Record(_) => false,
    });
    assert!(changed.is_none(), "another agent's task was changed: {changed:?}");
    let told = effects.messages.iter().find(|message| match message {
        Message::TaskEvent(event) => spared.contains(&event.task),
        Message::Finished(task) => spared.contains(&task.id),
        Message::ToAgent { message, .. } => match message {
            AgentMessage::Assign(assignment) => spared.contains(&assignment.attempt.task),
            AgentMessage::Cancel { attempt, .. } => spared.contains(&attempt.task),
            AgentMessage::Welcome { adopted, .. } => adopted.iter().any(|attempt| spared.contains(&attempt.task)),
            // Of a token made up of parts that were recorded once, only the liar is told that it was.
            AgentMessage::Ack { .. } | AgentMessage::Drain { .. } => false,
        },
        _ => false,
    });
    assert!(told.is_none(), "something was said of another agent's task: {told:?}");
}
