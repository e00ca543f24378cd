//! A store under test, and the changes it is given.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AcceptedTask, Change},
    model::{BudgetShare, ClusterEvent, ClusterEventKind, Recovery, TaskEvent, TaskEventKind},
};
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Decision, EventPosition, Failure, FailureClass, Kind,
    TaskId, TaskSpec, TaskState, Tenant, Timestamp,
};
use tempfile::TempDir;

use super::{super::StoreReader, Open, Store};

pub const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

pub fn at(ms: u64) -> Timestamp {
    START.plus(Duration::from_millis(ms))
}

pub fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// A store in a directory of its own, claimed.
pub struct Fixture {
    dir: TempDir,
    open: Open,
    store: Option<Box<dyn Store>>,
    next: u64,
}

impl Fixture {
    pub fn new(open: Open) -> Self {
        let mut fixture = Self { dir: TempDir::new().unwrap(), open, store: None, next: 0 };
        fixture.reopen();
        fixture
    }

    fn reopen(&mut self) -> Recovery {
        let mut store = (self.open)(self.dir.path()).unwrap();
        let recovery = store.claim(START).unwrap();
        self.store = Some(store);
        recovery
    }

    /// Ends as a process does that is killed, and starts again: from the files as they lie there while the store is still
    /// open, for closing it in order would tidy them up.
    pub fn crash(&mut self) -> Recovery {
        let left = TempDir::new().unwrap();
        for file in fs::read_dir(self.dir.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
        self.store = None;
        self.dir = left;
        self.reopen()
    }

    /// Ends in order, and starts again.
    pub fn restart(&mut self) -> Recovery {
        self.store().release().unwrap();
        self.store = None;
        self.reopen()
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    pub fn reader(&mut self) -> Arc<dyn StoreReader> {
        self.store().reader()
    }

    #[track_caller]
    pub fn commit(&mut self, changes: impl IntoIterator<Item = Change>) {
        let changes: Vec<_> = changes.into_iter().collect();
        self.store().commit(&changes).unwrap();
    }

    /// A number that was not used before.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Accepts a task and commits it.
    pub fn accepted(&mut self, task: TaskBuilder) -> Arc<AcceptedTask> {
        let task = Arc::new(self.new_task(task));
        self.commit([Change::Accept(task.clone())]);
        task
    }

    /// A task that is about to be accepted, a millisecond after the one before.
    pub fn new_task(&mut self, task: TaskBuilder) -> AcceptedTask {
        let order = self.number();
        let accepted_at = task.accepted_at.unwrap_or_else(|| at(order));
        AcceptedTask {
            id: TaskId::new(accepted_at, u128::from(order) << 8),
            spec: Arc::new(task.spec),
            payload: task.payload,
            fingerprint: u128::MAX - u128::from(order),
            order,
            at: accepted_at,
            redrive_of: task.redrive_of,
        }
    }

    /// Gives the task to an agent and commits that.
    pub fn assigned(&mut self, task: TaskId, attempt: u32, to: &str) -> AttemptRef {
        let attempt = AttemptRef { task, attempt: AttemptNumber(attempt), assignment: AssignmentId(self.number()) };
        self.commit([assign(attempt, to)]);
        attempt
    }

    /// A task that ended in this state without ever being assigned.
    pub fn over(&mut self, task: TaskBuilder, state: TaskState, ended: Timestamp) -> TaskId {
        let id = self.accepted(task).id;
        self.commit([finish(id, state, ended)]);
        id
    }

    pub fn task_event(&mut self, task: TaskId) -> TaskEvent {
        let position = EventPosition(self.number());
        TaskEvent {
            position,
            at: at(position.0),
            task,
            kind: TaskEventKind::Assigned,
            state: TaskState::Running,
            attempt: AttemptNumber(1),
            agent: Some(agent("a")),
            progress: 0.0,
            message: format!("event {position}"),
        }
    }

    pub fn cluster_event(&mut self, kind: ClusterEventKind, about: Option<&str>) -> ClusterEvent {
        let position = EventPosition(self.number());
        let agent = about.map(agent);
        ClusterEvent { position, at: at(position.0), kind, agent, task: None, message: "so it is".into() }
    }
}

pub fn assign(attempt: AttemptRef, to: &str) -> Change {
    reserving(attempt, to, Vec::new())
}

/// The same for an attempt that holds something of budgets.
pub fn reserving(attempt: AttemptRef, to: &str, reserved: Vec<BudgetShare>) -> Change {
    Change::Assign { attempt, agent: agent(to), at: at(attempt.assignment.0), decision: decision(), reserved }
}

pub fn decision() -> Decision {
    Decision {
        strategy: "least_loaded".into(),
        score: -0.25,
        agents_with_room: 3,
        prefetched: true,
        preferences_given_up: 2,
        queued: Duration::from_micros(1_234),
    }
}

pub fn end(attempt: AttemptRef, end: AttemptEnd, run: Duration) -> Change {
    Change::EndAttempt { attempt, at: at(90_000), started_at: Some(at(80_000)), end, failure: None, run, usage: None }
}

pub fn requeue(task: TaskId, not_before: Option<Timestamp>, crashes: u32) -> Change {
    Change::Requeue { task, at: at(70_000), not_before, crashes }
}

pub fn finish(task: TaskId, state: TaskState, ended: Timestamp) -> Change {
    let failure = (state != TaskState::Succeeded).then(|| Failure::new(FailureClass::Timeout, "took too long"));
    Change::Finish { task, at: ended, state, output: Bytes::new(), failure, crashes: 0 }
}

/// What is asked for.
#[derive(Clone)]
pub struct TaskBuilder {
    pub spec: TaskSpec,
    payload: Bytes,
    redrive_of: Option<TaskId>,
    accepted_at: Option<Timestamp>,
}

pub fn a_task() -> TaskBuilder {
    let spec = TaskSpec::of_kind(Kind::new("echo").unwrap());
    TaskBuilder { spec, payload: Bytes::from_static(b"payload"), redrive_of: None, accepted_at: None }
}

impl TaskBuilder {
    pub fn kind(mut self, kind: &str) -> Self {
        self.spec.kind = Kind::new(kind).unwrap();
        self
    }

    pub fn tenant(mut self, tenant: &str) -> Self {
        self.spec.tenant = Tenant::new(tenant).unwrap();
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.spec.idempotency_key = key.to_owned();
        self
    }

    pub fn payload(mut self, payload: &'static [u8]) -> Self {
        self.payload = Bytes::from_static(payload);
        self
    }

    pub fn redrives(mut self, task: TaskId) -> Self {
        self.redrive_of = Some(task);
        self
    }

    pub fn accepted_at(mut self, at: Timestamp) -> Self {
        self.accepted_at = Some(at);
        self
    }

    /// With something in every field.
    pub fn with_everything(mut self) -> Self {
        let rule = evenkeel_shared::LabelRule::equals("zone", "a");
        self.spec.requirements.resources.cpu_millis = 500;
        self.spec.requirements.resources.memory_bytes = 1 << 40;
        self.spec.requirements.resources.custom = BTreeMap::from([("gpu".to_owned(), 2)]);
        self.spec.requirements.required = vec![rule.clone()];
        self.spec.requirements.preferred = vec![rule];
        self.spec.affinity_key = "session 1".into();
        self.spec.queue_timeout = Some(Duration::from_millis(1));
        self.spec.attempt_timeout = Some(Duration::from_secs(3_600));
        self.spec.deadline = Some(at(1_000_000));
        self.spec.retry.attempts_max = 7;
        self.key("key").tenant("other")
    }
}
