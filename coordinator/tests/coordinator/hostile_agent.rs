//! An agent that lies and breaks the rules: what it gets is asserted, and that an honest agent and its client go on as if it
//! were not there.

use evenkeel_proto::v1::{self, agent_message::Message as FromAgent, attempt_result::Outcome};
use evenkeel_shared::{Code, limits};

use crate::{
    raw::RawCodec,
    support::{FakeAgent, World, config, register, soon, task},
};

/// Tasks of the honest agent in each story.
const HONEST_TASKS: usize = 30;

fn honest(id: &str) -> v1::Register {
    v1::Register { kinds: vec!["honest".into()], ..register(id) }
}

/// Runs what is hostile beside an honest agent and its client, whose tasks all succeed at the first attempt.
pub async fn beside_an_honest_agent<T>(world: &World, hostile: impl Future<Output = T>) -> T {
    let mut agent = world.agent_with(honest("honest")).await;
    let goes_on = async {
        for n in 0..HONEST_TASKS {
            let payload = format!("{n}");
            let spec = v1::TaskSpec { payload: payload.clone().into(), ..task("honest", "") };
            let id = world.submit(spec).await;
            let assignment = agent.assignment().await;
            assert_eq!(assignment.attempt.as_ref().unwrap().task_id, id);
            agent.started(&assignment).await;
            let output = Outcome::Success(v1::Success { output: assignment.payload.clone() });
            agent.result(&assignment, output).await;
            assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
            let finished = world.wait(&[&id]).await.finished.remove(0);
            assert_eq!((finished.state(), finished.attempts_made), (v1::TaskState::Succeeded, 1));
            assert_eq!(finished.output, payload.as_bytes());
        }
    };
    let (outcome, ()) = tokio::join!(hostile, goes_on);
    outcome
}

/// The word that an attempt succeeded.
pub fn success(attempt: v1::AttemptRef, output: &'static str) -> FromAgent {
    let outcome = Some(Outcome::Success(v1::Success { output: output.into() }));
    FromAgent::Result(v1::AttemptResult { attempt: Some(attempt), outcome, run_us: 1, usage: None })
}

fn failure(attempt: v1::AttemptRef) -> FromAgent {
    let failure =
        v1::Failure { class: v1::FailureClass::NonRetryable.into(), message: "forged".into(), exit_code: Some(1) };
    FromAgent::Result(v1::AttemptResult {
        attempt: Some(attempt),
        outcome: Some(Outcome::Failure(failure)),
        run_us: 1,
        usage: None,
    })
}

/// A task that the victim runs, and its token.
pub async fn victim(world: &World) -> (FakeAgent, String, v1::Assignment) {
    let mut victim = world.agent("victim").await;
    let id = world.submit(task("echo", "in")).await;
    let assignment = victim.assignment().await;
    victim.started(&assignment).await;
    (victim, id, assignment)
}

/// Names that could be taken for the token of an attempt that another agent runs.
fn forgeries(real: &v1::AttemptRef) -> Vec<v1::AttemptRef> {
    let other_task = "01890000-0000-7000-8000-000000000000".to_owned();
    vec![
        real.clone(),
        v1::AttemptRef { attempt: real.attempt + 1, ..real.clone() },
        v1::AttemptRef { attempt: u32::MAX, ..real.clone() },
        v1::AttemptRef { assignment_id: real.assignment_id + 1, ..real.clone() },
        v1::AttemptRef { assignment_id: 0, ..real.clone() },
        v1::AttemptRef { assignment_id: u64::MAX, ..real.clone() },
        v1::AttemptRef { task_id: other_task, ..real.clone() },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_stale_and_change_nothing() {
    let world = World::start().await;
    let (mut victim, id, assignment) = victim(&world).await;
    let real = assignment.attempt.clone().unwrap();
    beside_an_honest_agent(&world, async {
        let mut thief = world.agent_with(v1::Register { kinds: vec!["none".into()], ..register("thief") }).await;
        for forged in forgeries(&real) {
            for message in [success(forged.clone(), "stolen"), failure(forged.clone())] {
                thief.say(message).await;
                assert_eq!(thief.ack().await, v1::ResultStatus::Stale, "{forged:?}");
            }
            // What is not answered is passed over.
            let progress = v1::AttemptProgress {
                attempt: Some(forged.clone()),
                fraction: 1.0,
                note: "forged".into(),
                usage: None,
            };
            thief.say(FromAgent::Progress(progress)).await;
            thief.say(FromAgent::Started(v1::AttemptStarted { attempt: Some(forged) })).await;
        }
    })
    .await;
    let task = world.get(&id).await;
    assert_eq!((task.state(), task.attempts.len()), (v1::TaskState::Running, 1));
    // The victim itself cannot be made to end it by the wrong number either.
    for forged in forgeries(&real).into_iter().skip(1) {
        victim.say(failure(forged)).await;
        assert_eq!(victim.ack().await, v1::ResultStatus::Stale);
    }
    victim.succeed(&assignment, "out").await;
    assert_eq!(victim.ack().await, v1::ResultStatus::Recorded);
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_end_the_session() {
    let world = World::start().await;
    let attempt = |task_id: &str, attempt| v1::AttemptRef { task_id: task_id.into(), attempt, assignment_id: 1 };
    beside_an_honest_agent(&world, async {
        for bad in [
            attempt("", 1),
            attempt("../../etc/passwd", 1),
            attempt(&"9".repeat(100_000), 1),
            attempt("01890000-0000-7000-8000-000000000000", 0),
        ] {
            let hostile = world.agent_with(register("hostile")).await;
            hostile.say(success(bad, "out")).await;
            assert_eq!(hostile.end().await.code, Code::InvalidArgument);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_outcome_for_what_is_recorded_changes_nothing() {
    let world = World::start().await;
    let (mut agent, id, assignment) = victim(&world).await;
    agent.succeed(&assignment, "out").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    let before = world.get(&id).await;
    let attempt = || assignment.attempt.clone().unwrap();
    beside_an_honest_agent(&world, async {
        for message in [failure(attempt()), success(attempt(), "other"), failure(attempt())] {
            agent.say(message).await;
            // That attempt is recorded, as it was the first time.
            assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
        }
    })
    .await;
    assert_eq!(world.get(&id).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_loads_end_the_session() {
    let world = World::start().await;
    let base = || v1::Heartbeat { cpu_share: 0.5, memory_share: 0.5, ..v1::Heartbeat::default() };
    let latency = |kind: &str, mean_us| v1::KindLatency { kind: kind.into(), completed: u64::MAX, mean_us };
    let absurd = [
        v1::Heartbeat { cpu_share: f64::NAN, ..base() },
        v1::Heartbeat { cpu_share: f64::INFINITY, ..base() },
        v1::Heartbeat { cpu_share: 1e300, ..base() },
        v1::Heartbeat { memory_share: -1.0, ..base() },
        v1::Heartbeat { memory_share: 1.06, ..base() },
        v1::Heartbeat { load_average: f64::NEG_INFINITY, ..base() },
        v1::Heartbeat { network_rx_bytes_per_s: -0.1, ..base() },
        v1::Heartbeat { network_tx_bytes_per_s: f64::NAN, ..base() },
        v1::Heartbeat { latencies: vec![latency("echo", f64::NAN)], ..base() },
        v1::Heartbeat { latencies: vec![latency("no spaces", 1.0)], ..base() },
        v1::Heartbeat { latencies: vec![latency("echo", 1.0); limits::KINDS_MAX + 1], ..base() },
    ];
    beside_an_honest_agent(&world, async {
        for load in absurd {
            let hostile = world.agent_with(register("hostile")).await;
            hostile.say(FromAgent::Heartbeat(load.clone())).await;
            assert_eq!(hostile.end().await.code, Code::InvalidArgument, "{load:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_numbers_are_taken_as_they_are() {
    let world = World::start().await;
    let latency = v1::KindLatency { kind: "echo".into(), completed: u64::MAX, mean_us: f64::MAX };
    // Shares of less than all: an agent without anything to spare would get no work.
    let largest = v1::Heartbeat {
        cpu_share: 0.5,
        memory_share: 0.5,
        memory_used_bytes: u64::MAX,
        network_rx_bytes_per_s: f64::MAX,
        network_tx_bytes_per_s: f64::MAX,
        load_average: f64::MAX,
        running_tasks: u32::MAX,
        latencies: vec![latency],
    };
    let custom = [("gpu".to_owned(), u64::MAX)].into();
    let capacity = v1::Resources { slots: 4, cpu_millis: u64::MAX, memory_bytes: u64::MAX, custom };
    beside_an_honest_agent(&world, async {
        let boaster = v1::Register { capacity: Some(capacity), ..register("boaster") };
        let mut boaster = world.agent_with(boaster).await;
        for _ in 0..200 {
            boaster.say(FromAgent::Heartbeat(largest.clone())).await;
        }
        // It can be given work, and nothing overflows on the way.
        world.submit(task("echo", "in")).await;
        let assignment = boaster.assignment().await;
        let attempt = assignment.attempt.clone();
        let outcome = Some(Outcome::Success(v1::Success::default()));
        boaster.say(FromAgent::Result(v1::AttemptResult { attempt, outcome, run_us: u64::MAX, usage: None })).await;
        assert_eq!(boaster.ack().await, v1::ResultStatus::Recorded);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_beyond_their_bounds_are_refused() {
    let world = World::start().await;
    let attempt = |n: u64| v1::AttemptRef {
        task_id: "01890000-0000-7000-8000-000000000000".into(),
        attempt: 1,
        assignment_id: n,
    };
    let slots = |slots| Some(v1::Resources { slots, ..v1::Resources::default() });
    let many = |count: u64| (0..count).map(attempt).collect::<Vec<_>>();
    let labels = (0..=limits::LABELS_MAX).map(|n| (format!("l{n}"), String::new())).collect();
    let refused = [
        v1::Register { agent_id: "a".repeat(limits::NAME_BYTES_MAX + 1), ..register("a") },
        v1::Register { agent_id: "a".repeat(4 << 20), ..register("a") },
        v1::Register { agent_id: "no spaces".into(), ..register("a") },
        v1::Register { agent_id: "nul\0".into(), ..register("a") },
        v1::Register { instance_id: "i".repeat(1_000), ..register("a") },
        v1::Register { version: "v".repeat(1_000), ..register("a") },
        v1::Register { kinds: vec!["k".into(); limits::KINDS_MAX + 1], ..register("a") },
        v1::Register { labels, ..register("a") },
        v1::Register { capacity: slots(0), ..register("a") },
        v1::Register { capacity: slots(limits::SLOTS_MAX + 1), ..register("a") },
        v1::Register { weight: 1_001, ..register("a") },
        v1::Register { prefetch_per_slot: Some(2), ..register("a") },
        v1::Register { held: many(limits::HELD_ATTEMPTS_MAX as u64 + 1), ..register("a") },
        // These do not even fit into a message.
        v1::Register { held: many(1_000_000), ..register("a") },
        v1::Register { agent_id: "a".repeat(9 << 20), ..register("a") },
    ];
    beside_an_honest_agent(&world, async {
        for register in refused {
            let hostile = world.silent_agent().await;
            let what = (register.agent_id.len(), register.held.len());
            hostile.say(FromAgent::Register(register)).await;
            let error = hostile.end().await;
            assert_eq!(error.code, Code::InvalidArgument, "{what:?}: {error}");
        }
        let fleet = soon(world.cluster().list_agents(v1::ListAgentsRequest::default())).await.unwrap();
        assert_eq!(fleet.into_inner().agents.len(), 1, "only the honest agent is known");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_it_holds_is_adopted_only_where_it_is_true() {
    let world = World::start().await;
    let (mut victim, id, assignment) = victim(&world).await;
    let real = assignment.attempt.clone().unwrap();
    let mut held = forgeries(&real);
    held.extend((0..limits::HELD_ATTEMPTS_MAX as u64 - held.len() as u64).map(|n| v1::AttemptRef {
        task_id: real.task_id.clone(),
        attempt: 1,
        assignment_id: 10 + n,
    }));
    beside_an_honest_agent(&world, async {
        let claims = v1::Register { held, ..register("claims") };
        let claims = world.agent_with(claims).await;
        assert!(claims.welcome.adopted.is_empty());
        assert_eq!(claims.welcome.superseded.len(), limits::HELD_ATTEMPTS_MAX);
    })
    .await;
    assert_eq!(world.get(&id).await.state(), v1::TaskState::Running);
    victim.succeed(&assignment, "out").await;
    assert_eq!(victim.ack().await, v1::ResultStatus::Recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_too_large_end_the_session_and_record_nothing() {
    let mut config = config();
    config.engine.reconnect_grace_ms = 60_000;
    let world = World::with(config).await;
    beside_an_honest_agent(&world, async {
        for bytes in [limits::OUTPUT_BYTES_MAX + 1, limits::MESSAGE_BYTES_MAX + 1] {
            let mut hostile = world.agent("hostile").await;
            let id = world.submit(task("echo", "in")).await;
            let assignment = hostile.assignment().await;
            let output = Outcome::Success(v1::Success { output: vec![0; bytes].into() });
            hostile.result(&assignment, output).await;
            assert_eq!(hostile.end().await.code, Code::InvalidArgument, "{bytes} bytes");
            let shown = world.get(&id).await;
            assert_eq!(shown.state(), v1::TaskState::Assigned, "it is the agent's until it comes back or is given up");
            let cancel = v1::CancelRequest { task_id: id, reason: String::new() };
            soon(world.tasks().cancel(cancel)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_register_is_sent_away_whatever_it_sends() {
    let mut config = config();
    config.limits.greeting_timeout_ms = 500;
    let world = World::with(config).await;
    beside_an_honest_agent(&world, async {
        let silent = world.silent_agent().await;
        assert_eq!(silent.end().await.code, Code::DeadlineExceeded);
        // Frames with nothing in them are no registration, however many there are.
        let mut busy = world.silent_agent().await;
        let sends = async { while busy.sends(v1::AgentFrame::default()).await {} };
        soon(sends).await;
        assert_eq!(busy.hear().await.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    })
    .await;
    world.metric_becomes("evenkeel_sessions", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_end_the_session_with_a_reason() {
    let world = World::start().await;
    // A message is cut short in the frame that holds it.
    let damaged = bytes::Bytes::from_static(&[0x0a, 0x7f, 0x01]);
    let mut client = tonic::client::Grpc::new(world.channel());
    soon(client.ready()).await.unwrap();
    let path = "/evenkeel.v1.AgentService/Session".parse().unwrap();
    let frames = tokio_stream::StreamExt::chain(tokio_stream::once(damaged), tokio_stream::pending());
    let request = tonic::Request::new(frames);
    let streaming = soon(client.streaming(request, path, RawCodec)).await.unwrap();
    let status = soon(streaming.into_inner().message()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    assert_eq!(world.metric("evenkeel_bad_input_total{reason=\"invalid_frame\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_over_by_its_own_process_alone() {
    let mut config = config();
    config.engine.lease.heartbeat_interval_ms = 60_000;
    let world = World::with(config).await;
    let (mut older, id, assignment) = victim(&world).await;
    let other = v1::Register { instance_id: "another".into(), ..register("victim") };
    beside_an_honest_agent(&world, async {
        for _ in 0..20 {
            let thief = world.silent_agent().await;
            thief.say(FromAgent::Register(other.clone())).await;
            assert_eq!(thief.end().await.code, Code::AlreadyExists);
        }
        // The owner never noticed, and a newer session of its own takes over.
        older.say(FromAgent::Heartbeat(v1::Heartbeat::default())).await;
        let held = vec![assignment.attempt.clone().unwrap()];
        let mut newer = world.agent_with(v1::Register { held, ..register("victim") }).await;
        assert_eq!(newer.welcome.adopted.len(), 1);
        assert_eq!(older.hear().await.unwrap_err().code(), tonic::Code::Aborted);
        newer.succeed(&assignment, "out").await;
        assert_eq!(newer.ack().await, v1::ResultStatus::Recorded);
    })
    .await;
    assert_eq!(world.wait(&[&id]).await.finished[0].attempts_made, 1);
}
