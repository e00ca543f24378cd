use evenkeel_shared::{AssignmentId, AttemptNumber, Code, TaskId, limits::HELD_ATTEMPTS_MAX};
use tokio::sync::mpsc;

use super::*;
use crate::{sessions::SessionEnd, snapshot::Snapshot, store::Store as _, store::sqlite::SqliteStore};

/// A dispatcher that asks the store nothing before it is given turns, so that what is to be looked up waits.
fn dispatcher() -> (SqliteStore, Dispatcher) {
    let store = SqliteStore::ephemeral().unwrap();
    let reader = store.reader();
    (store, testing::dispatcher(Sessions::new(1, HELD_ATTEMPTS_MAX), Snapshot::default(), reader, 0))
}

/// An agent's session.
struct Agent {
    epoch: SessionEpoch,
    queue: mpsc::Receiver<AgentMessage>,
    end: Arc<SessionEnd>,
}

impl Agent {
    fn of(dispatcher: &Dispatcher) -> Self {
        let (epoch, queue, end) = dispatcher.sessions.open();
        Self { epoch, queue, end }
    }

    /// It sends so many results that the engine does not know.
    fn sends_old_results(&self, dispatcher: &Dispatcher, count: usize) {
        let result = |number: usize| {
            let attempt = AttemptRef {
                task: TaskId::from_u128(number as u128),
                attempt: AttemptNumber(1),
                assignment: AssignmentId(number as u64),
            };
            Message::LookUpResult { session: self.epoch, attempt }
        };
        dispatcher.release(&mut (0..count).map(result).collect());
    }

    #[track_caller]
    fn is_told_to_come_back(&self, why: &str) {
        let error = self.end.error().expect("the session is over");
        assert_eq!((error.code, error.retry_after), (Code::ResourceExhausted, Some(LOOK_UP_RETRY_AFTER)));
        assert!(error.message.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_agent_with_more_old_results_than_it_can_hold_is_told_to_come_back() {
    let (_store, dispatcher) = dispatcher();
    let (flooding, honest) = (Agent::of(&dispatcher), Agent::of(&dispatcher));
    flooding.sends_old_results(&dispatcher, HELD_ATTEMPTS_MAX);
    assert!(flooding.end.error().is_none(), "so many are within its rights");
    flooding.sends_old_results(&dispatcher, 1);
    flooding.is_told_to_come_back("than an agent can hold");
    honest.sends_old_results(&dispatcher, 1);
    assert!(honest.end.error().is_none());
}

#[tokio::test]
async fn a_fleet_with_more_old_results_than_there_is_room_for_is_told_to_come_back() {
    let (_store, dispatcher) = dispatcher();
    let dispatcher = Dispatcher { look_ups: Arc::new(Semaphore::new(2)), ..dispatcher };
    let (first, second) = (Agent::of(&dispatcher), Agent::of(&dispatcher));
    first.sends_old_results(&dispatcher, 2);
    second.sends_old_results(&dispatcher, 1);
    second.is_told_to_come_back("too many old results");
    assert!(first.end.error().is_none());
}

#[tokio::test]
async fn what_was_looked_up_is_answered_and_makes_room() {
    let (_store, dispatcher) = dispatcher();
    let mut agent = Agent::of(&dispatcher);
    agent.sends_old_results(&dispatcher, HELD_ATTEMPTS_MAX);
    dispatcher.look_up_turns.add_permits(LOOK_UPS_ASKING_MAX);
    for _ in 0..HELD_ATTEMPTS_MAX {
        let answer = agent.queue.recv().await.expect("the session is open");
        assert!(matches!(answer, AgentMessage::Ack { recorded: false, .. }), "{answer:?}");
    }
    agent.sends_old_results(&dispatcher, 1);
    assert!(agent.queue.recv().await.is_some());
}
