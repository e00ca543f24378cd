//! Against a real coordinator, with an agent on a string.

use std::{collections::VecDeque, time::Duration};

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, RunningCoordinator};
use evenkeel_proto::v1::{
    self, agent_message::Message as FromAgent, agent_service_client::AgentServiceClient, attempt_result::Outcome,
    coordinator_message::Message as ToAgent,
};
use evenkeel_shared::{AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, TaskState, Timestamp};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    super::{Acknowledgement, Execution, Expect, Rule, Submission, SubmissionOutcome, check, hash},
    *,
};

/// Nothing here takes so long unless it hangs.
const OVERALL: Duration = Duration::from_secs(60);

const HEALED: Expect =
    Expect { all_over: true, ephemeral_may_be_lost: false, others_submit: false, clock_tolerance: Duration::ZERO };

struct World {
    coordinator: RunningCoordinator,
    channel: Channel,
    history: History,
}

impl World {
    async fn start() -> Self {
        let mut config = CoordinatorConfig {
            grpc: "127.0.0.1:0".parse().unwrap(),
            http: "127.0.0.1:0".parse().unwrap(),
            ephemeral: true,
            abort_on_panic: false,
            ..CoordinatorConfig::default()
        };
        config.engine.lease.heartbeat_interval_ms = 60_000;
        let coordinator = Coordinator::start(config).await.unwrap();
        let address = format!("http://{}", coordinator.grpc_addr());
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Self { coordinator, channel, history: History::default() }
    }

    /// Submits tasks with these keys, and writes it down.
    async fn submit(&mut self, keys: &[String], change: impl Fn(&mut v1::TaskSpec)) -> Vec<TaskId> {
        let spec = |key: &String| {
            let mut spec = v1::TaskSpec { kind: "echo".into(), idempotency_key: key.clone(), ..Default::default() };
            change(&mut spec);
            spec
        };
        let tasks: Vec<_> = keys.iter().map(spec).collect();
        let delivery =
            if tasks[0].delivery() == v1::Delivery::Ephemeral { Delivery::Ephemeral } else { Delivery::Durable };
        let answer = TaskServiceClient::new(self.channel.clone()).submit(v1::SubmitRequest { tasks }).await.unwrap();
        let results = answer.into_inner().results.into_iter();
        let mut ids = Vec::new();
        for (key, result) in keys.iter().zip(results) {
            let task: TaskId = result.task_id.parse().unwrap();
            ids.push(task);
            let outcome = SubmissionOutcome::Acknowledged { task, duplicate: result.duplicate };
            self.history.submissions.push(Submission {
                key: key.clone(),
                content: 1,
                delivery,
                asked_at: Timestamp::ZERO,
                outcome,
            });
        }
        ids
    }

    async fn agent(&self) -> Agent {
        let (outbound, frames) = mpsc::channel(64);
        let mut client = AgentServiceClient::new(self.channel.clone());
        let inbound = client.session(ReceiverStream::new(frames)).await.unwrap().into_inner();
        let agent = Agent { outbound, inbound, heard: VecDeque::new() };
        agent
            .say(FromAgent::Register(v1::Register {
                agent_id: "a-1".into(),
                instance_id: "one".into(),
                kinds: vec!["echo".into()],
                capacity: Some(v1::Resources { slots: 64, ..Default::default() }),
                prefetch_per_slot: Some(0),
                quota_keys: Vec::new(),
                ..Default::default()
            }))
            .await;
        agent
    }

    async fn collected(&mut self) -> &mut History {
        collect(self.channel.clone().into(), &mut self.history).await.unwrap();
        &mut self.history
    }

    async fn stop(self) {
        drop(self.channel);
        self.coordinator.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

struct Agent {
    outbound: mpsc::Sender<v1::AgentFrame>,
    inbound: Streaming<v1::CoordinatorFrame>,
    heard: VecDeque<ToAgent>,
}

impl Agent {
    async fn say(&self, message: FromAgent) {
        let messages = vec![v1::AgentMessage { message: Some(message) }];
        self.outbound.send(v1::AgentFrame { messages }).await.unwrap();
    }

    async fn hear(&mut self) -> ToAgent {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            let frame = self.inbound.message().await.unwrap().expect("the session goes on");
            self.heard.extend(frame.messages.into_iter().filter_map(|message| message.message));
        }
    }

    /// Works until so many results have been answered: each task succeeds with its id. Writes down what it did.
    async fn work(&mut self, mut answers: usize, history: &mut History) {
        while answers > 0 {
            match self.hear().await {
                ToAgent::Assignment(assignment) => self.run(assignment, history).await,
                ToAgent::ResultAck(ack) => {
                    answers -= 1;
                    let recorded = ack.status() == v1::ResultStatus::Recorded;
                    let attempt = token(&ack.attempt.unwrap());
                    history.acknowledgements.push(Acknowledgement { agent: name(), attempt, success: true, recorded });
                }
                _ => {}
            }
        }
    }

    async fn run(&self, assignment: v1::Assignment, history: &mut History) {
        let attempt = assignment.attempt.clone().unwrap();
        let begun_at = Timestamp::ZERO;
        history.executions.push(Execution { agent: name(), attempt: token(&attempt), begun_at, ended_at: None });
        let outcome = Outcome::Success(v1::Success { output: attempt.task_id.clone().into() });
        self.say(FromAgent::Result(v1::AttemptResult {
            attempt: Some(attempt),
            outcome: Some(outcome),
            run_us: 5,
            usage: None,
        }))
        .await;
    }
}

fn name() -> AgentId {
    AgentId::new("a-1").unwrap()
}

fn token(attempt: &v1::AttemptRef) -> AttemptRef {
    AttemptRef {
        task: attempt.task_id.parse().unwrap(),
        attempt: AttemptNumber(attempt.attempt),
        assignment: AssignmentId(attempt.assignment_id),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_coordinator_has_recorded_is_collected() {
    let test = async {
        let mut world = World::start().await;
        let mut agent = world.agent().await;
        // More than a page of the list, and than a watch takes.
        let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number}")).collect();
        world.submit(&keys, |_| {}).await;
        let repeated = world.submit(&keys[..10], |_| {}).await;
        let tenant = |spec: &mut v1::TaskSpec| spec.tenant = "other".into();
        let others = world.submit(&["own".into()], tenant).await;
        world.history.submissions.last_mut().unwrap().key = "other#own".into();
        let ephemeral = world.submit(&["gone".into()], |spec| spec.set_delivery(v1::Delivery::Ephemeral)).await;
        let mut history = std::mem::take(&mut world.history);
        agent.work(1_002, &mut history).await;
        world.history = history;

        let history = world.collected().await;
        assert_eq!(history.recorded.len(), 1_002);
        let verdict = check(history, HEALED);
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!((verdict.acknowledged, verdict.executions, verdict.attempts), (1_012, 1_002, 1_001));

        let find = |id: TaskId| history.recorded.iter().find(|task| task.id == id).unwrap().clone();
        let task = find(repeated[3]);
        assert_eq!((task.key.as_str(), task.state, task.ends_recorded), ("key-3", TaskState::Succeeded, 1));
        assert_eq!((task.delivery, task.attempts_made, task.attempts_max), (Delivery::Durable, 1, 5));
        assert_eq!(task.output, Some(hash(task.id.to_string().as_bytes())));
        assert_eq!((task.attempts.len(), &task.attempts[0].agent), (1, &name()));
        let (ended_at, end) = task.attempts[0].ended.unwrap();
        assert_eq!((end, Some(ended_at)), (AttemptEnd::Succeeded, task.finished_at));
        assert_eq!(find(others[0]).key, "other#own");
        let kept = find(ephemeral[0]);
        assert_eq!((kept.delivery, kept.attempts_made, kept.attempts.len()), (Delivery::Ephemeral, 1, 0));
        assert!(
            history.recorded.iter().all(|task| task.ends_recorded == u32::from(task.delivery == Delivery::Durable))
        );

        // What was collected is what the judge needs to see a loss.
        history.recorded.retain(|task| task.id != repeated[3]);
        assert_eq!(check(history, HEALED).rules_broken(), [Rule::AcceptedTaskLost]);
        drop(agent);
        world.stop().await;
    };
    timeout(OVERALL, test).await.expect("it takes too long: it hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_not_over_are_collected_as_they_are() {
    let test = async {
        let mut world = World::start().await;
        let waiting = world.submit(&["waits".into()], |spec| spec.deadline_unix_ms = 4_000_000_000_000).await;
        let history = world.collected().await;
        let [task] = history.recorded.as_slice() else { panic!("{:?}", history.recorded) };
        assert_eq!((task.id, task.state, task.finished_at), (waiting[0], TaskState::Queued, None));
        assert_eq!(task.deadline, Some(Timestamp::from_unix_millis(4_000_000_000_000)));
        assert_eq!(check(history, HEALED).rules_broken(), [Rule::NotOver]);
        world.stop().await;
    };
    timeout(OVERALL, test).await.expect("it takes too long: it hangs");
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_is_named_as_the_cause() {
    let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy().into();
    let collector = Collector { calls: TaskServiceClient::new(channel), patience: Patience::hasty() };
    let error = collector.ids().await.unwrap_err().to_string();
    assert!(error.contains("List failed"), "{error}");
}
