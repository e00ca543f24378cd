//! Tasks from submission to their end.

use evenkeel_proto::v1::{self, FailureClass, TaskState};
use evenkeel_shared::Code;

use crate::support::{World, config, error_of, soon, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_to_an_agent_and_its_output_comes_back() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let id = world.submit(task("echo", "in")).await;

    let assignment = agent.assignment().await;
    assert_eq!(assignment.payload, "in");
    assert_eq!(assignment.attempt.as_ref().unwrap().task_id, id);
    agent.started(&assignment).await;
    agent.succeed(&assignment, "out").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);

    let waited = world.wait(&[&id]).await;
    assert_eq!(waited.finished[0].output, "out");
    assert_eq!(waited.finished[0].state(), TaskState::Succeeded);
    let shown = world.get(&id).await;
    assert_eq!(shown.state(), TaskState::Succeeded);
    assert_eq!((shown.output.as_ref(), shown.agent_id.as_str()), (b"out".as_slice(), "a-1"));
    assert_eq!(shown.spec.unwrap().payload, "in");
    assert_eq!(shown.attempts.len(), 1);
    assert_eq!(shown.attempts[0].decision.as_ref().unwrap().strategy, "least_loaded");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_answers_with_the_result() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let mut client = world.tasks();
    let request = v1::ExecuteRequest { task: Some(task("echo", "in")), wait_timeout_ms: 0 };
    let (answer, ()) = tokio::join!(soon(client.execute(request)), agent.work("out"));
    assert_eq!(answer.unwrap().into_inner().finished.unwrap().output, "out");
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_that_takes_too_long_names_the_task_which_goes_on() {
    let world = World::start().await;
    let request = v1::ExecuteRequest { task: Some(task("echo", "in")), wait_timeout_ms: 1 };
    let error = error_of(&soon(world.tasks().execute(request)).await.unwrap_err());
    assert_eq!(error.code, Code::DeadlineExceeded);
    let (kind, id) = error.resource.expect("it names the task");
    assert_eq!((kind, world.get(&id).await.state()), ("task", TaskState::Queued));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_answers_with_what_is_over_when_the_time_is_up() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let done = world.submit(task("echo", "1")).await;
    agent.work("out").await;
    let queued = world.submit(task("other", "2")).await;
    let request = |timeout_ms, any| v1::WaitRequest {
        task_ids: vec![queued.clone(), done.clone(), done.clone()],
        timeout_ms,
        any,
    };
    for asked in [request(1, false), request(0, true)] {
        let answer = soon(world.tasks().wait(asked)).await.unwrap().into_inner();
        assert_eq!(answer.finished.len(), 1, "named twice, answered once");
        assert_eq!(answer.finished[0].task_id, done);
        assert_eq!(answer.pending_task_ids, std::slice::from_ref(&queued));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_not_found() {
    let world = World::start().await;
    let id = "01890000-0000-7000-8000-000000000000".to_owned();
    let mut client = world.tasks();
    let wait = v1::WaitRequest { task_ids: vec![id.clone()], ..v1::WaitRequest::default() };
    let get = v1::GetRequest { task_id: id.clone(), ..v1::GetRequest::default() };
    let cancel = v1::CancelRequest { task_id: id.clone(), reason: String::new() };
    let explain = v1::ExplainRequest { task_id: id.clone(), candidates_max: 0 };
    for status in [
        soon(client.wait(wait)).await.unwrap_err(),
        soon(client.get(get)).await.unwrap_err(),
        soon(client.cancel(cancel)).await.unwrap_err(),
        soon(client.explain(explain)).await.unwrap_err(),
    ] {
        let error = error_of(&status);
        assert_eq!((error.code, error.resource), (Code::NotFound, Some(("task", id.clone()))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_a_task_in_every_state() {
    let world = World::start().await;
    let cancel = async |id: &str| {
        let request = v1::CancelRequest { task_id: id.into(), reason: "enough".into() };
        soon(world.tasks().cancel(request)).await.unwrap().into_inner().state()
    };
    let queued = world.submit(task("echo", "1")).await;
    assert_eq!(cancel(&queued).await, TaskState::Cancelled);
    assert_eq!(cancel(&queued).await, TaskState::Cancelled, "once more changes nothing");

    let mut agent = world.agent("a-1").await;
    let running = world.submit(task("echo", "2")).await;
    let assignment = agent.assignment().await;
    assert_eq!(cancel(&running).await, TaskState::Cancelled);
    match agent.hear().await.unwrap() {
        v1::coordinator_message::Message::Cancel(cancel) => assert_eq!(cancel.attempt, assignment.attempt),
        other => panic!("no cancel but {other:?}"),
    }
    agent.result(&assignment, v1::attempt_result::Outcome::Cancelled(v1::Cancelled {})).await;

    let over = world.submit(task("echo", "3")).await;
    let third = loop {
        match agent.hear().await.unwrap() {
            v1::coordinator_message::Message::Assignment(assignment) => break assignment,
            v1::coordinator_message::Message::ResultAck(_) => {}
            other => panic!("{other:?}"),
        }
    };
    agent.succeed(&third, "out").await;
    assert_eq!(world.wait(&[&over]).await.finished.len(), 1);
    assert_eq!(cancel(&over).await, TaskState::Succeeded, "what is over stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gives_the_same_task_for_the_same_work_only() {
    let world = World::start().await;
    let keyed = |payload| v1::TaskSpec { idempotency_key: "k-1".into(), ..task("echo", payload) };
    let first = world.submit(keyed("in")).await;
    let again = soon(world.tasks().submit(v1::SubmitRequest { tasks: vec![keyed("in")] })).await.unwrap();
    let again = &again.into_inner().results[0];
    assert_eq!((again.task_id.as_str(), again.duplicate), (first.as_str(), true));
    let error = world.refused(vec![keyed("other")]).await;
    assert_eq!((error.code, error.resource), (Code::AlreadyExists, Some(("task", first.clone()))));
    let elsewhere = v1::TaskSpec { tenant: "acme".into(), ..keyed("other") };
    assert_ne!(world.submit(elsewhere).await, first, "keys belong to a tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_tasks_each_has_its_own_answer() {
    let world = World::start().await;
    let tasks = vec![task("echo", "1"), task("not a kind", "2"), task("echo", "3")];
    let response = soon(world.tasks().submit(v1::SubmitRequest { tasks })).await.unwrap().into_inner();
    let [first, second, third] = response.results.as_slice() else { panic!("{response:?}") };
    assert!(first.error.is_none() && third.error.is_none());
    let error = second.error.as_ref().unwrap();
    assert_eq!((error.code, error.field.as_str()), (Code::InvalidArgument.grpc(), "tasks[1].kind"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let mut config = config();
    config.engine.tasks_max = 2;
    let world = World::with(config).await;
    world.submit(task("echo", "1")).await;
    world.submit(task("echo", "2")).await;
    let error = world.refused(vec![task("echo", "3")]).await;
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.retry_after.is_some());
    let listed = soon(world.tasks().list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.tasks.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_followed_by_another() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let retry = Some(v1::RetryPolicy { initial_backoff_ms: 1, ..v1::RetryPolicy::default() });
    let id = world.submit(v1::TaskSpec { retry, ..task("echo", "in") }).await;
    let first = agent.assignment().await;
    agent.fail(&first, FailureClass::Retryable, "not yet").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    let second = agent.assignment().await;
    assert_eq!(second.attempt.as_ref().unwrap().attempt, 2);
    agent.succeed(&second, "out").await;
    assert_eq!(world.wait(&[&id]).await.finished[0].attempts_made, 2);
    let attempts = world.get(&id).await.attempts;
    assert_eq!(
        attempts.iter().map(v1::Attempt::end).collect::<Vec<_>>(),
        [v1::AttemptEnd::Failed, v1::AttemptEnd::Succeeded]
    );
    assert_eq!(attempts[0].failure.as_ref().unwrap().message, "not yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_task_is_known_while_it_lives_and_a_while_after() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let ephemeral = v1::TaskSpec { delivery: v1::Delivery::Ephemeral.into(), ..task("echo", "in") };
    let id = world.submit(ephemeral).await;
    agent.work("out").await;
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
    assert_eq!(world.get(&id).await.output, "out");
    let listed = soon(world.tasks().list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.tasks[0].task_id, id);
}
