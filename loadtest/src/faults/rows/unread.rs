//! Peers that never read.

use std::time::Duration;

use evenkeel_proto::v1::{self, TaskSpec, task_service_client::TaskServiceClient};
use evenkeel_shared::Delivery;
use futures_util::FutureExt as _;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    super::{
        Fault, Lab, Seen,
        agent::Work,
        client::Clients,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::{FaultError, until},
        load::{Load, LoadOptions, hash, now, task, task_of},
        raw_agent::{RawAgent, narrow, register},
    },
    network::ends,
};
use crate::history::{Submission, SubmissionOutcome};

/// Peers of each sort.
const PEERS: usize = 4;
/// Longest wait for them to be disconnected.
const DISCONNECTED_MAX: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

/// Agents that take and never read.
pub const AGENT_NEVER_READS: Fault = Fault {
    name: "agent-never-reads",
    fault: "four agents of 256 slots never read, while 160 MiB of tasks wait for them",
    passes_when: "disconnected within 30 s; memory within 2x of the tasks and 64 MiB; their tasks move on, and succeed; \
                  no promise broken",
    on_request: false,
    run: |lab| agent_never_reads(lab).boxed(),
};

const DEAF: &str = "deaf";
const DEAF_TASKS: u64 = 320;
const DEAF_TASK_BYTES: usize = MIB / 2;
/// A queue that these tasks fill; and what is left unread in time.
const CONFIG: &str = "[limits]\nsession_queue_max = 64\nunread_timeout_ms = 5000\n";

/// A task whose description is large and that is done at once.
fn large(_: u64) -> TaskSpec {
    let payload = format!("{{\"wait_ms\":0,\"pad\":\"{}\"}}", "x".repeat(DEAF_TASK_BYTES));
    TaskSpec { kind: DEAF.into(), payload: payload.into_bytes().into(), ..TaskSpec::default() }
}

async fn agent_never_reads(lab: &mut Lab) -> Result<Seen, FaultError> {
    let options = CoordinatorOptions { config: CONFIG.into(), ..CoordinatorOptions::default() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let _others = Host::start(lab, &coordinator.url(), "a", HostOptions::default())?;
    let mut deaf = Vec::new();
    for n in 0..PEERS {
        let register = register(&format!("deaf-{n}"), "one", DEAF, 256);
        deaf.push(RawAgent::open(narrow(&coordinator.url()).await?, register).await?);
    }
    clients.until_agents(1 + PEERS as u32).await?;
    let before = coordinator.process().resident_bytes();
    let others =
        LoadOptions { name: "others", rate: Some(50.0), batch: 1, task: |_| task(5), ..LoadOptions::default() };
    let others = Load::start(clients.clone(), others);
    let began = Instant::now();
    let large = LoadOptions { name: "large", tasks: DEAF_TASKS, batch: 4, task: large, ..LoadOptions::default() };
    let large = Load::start(clients.clone(), large);
    for agent in &deaf {
        agent.is_disconnected(DISCONNECTED_MAX).await?;
    }
    let disconnected = began.elapsed();
    let growth = coordinator.process().resident_peak_bytes().saturating_sub(before);
    let accepted = || {
        let accepted = large.counts().acknowledged;
        async move { (accepted >= DEAF_TASKS).then_some(()) }
    };
    until("the large tasks are accepted", SETTLE_MAX, accepted).await?;
    let hearing = HostOptions { agents: 2, slots: 8, kind: DEAF, ..HostOptions::default() };
    let _hearing = Host::start(lab, &coordinator.url(), "hearing", hearing)?;
    let mut history = large.finish(SETTLE_MAX).await;
    history.merge(others.finish(SETTLE_MAX).await);
    let cut_off = clients.metric("evenkeel_connections_closed_total{reason=\"unread\"}").await?;
    let judged = judge(lab, &clients, history).await?;
    let (succeeded, failed) = ends(&judged.history);
    let text = format!(
        "{cut_off} disconnected, the last after {:.1} s; memory grew by {} MiB at most; {succeeded} tasks succeeded, {failed} did not",
        disconnected.as_secs_f64(),
        growth >> 20
    );
    let growth_max = 2 * DEAF_TASKS * DEAF_TASK_BYTES as u64 + (64 << 20);
    let passed = disconnected <= DISCONNECTED_MAX && growth <= growth_max && succeeded > 0 && failed == 0;
    Ok(judged.seen(passed, text))
}

/// Clients that ask and never read.
pub const CLIENT_NEVER_READS: Fault = Fault {
    name: "client-never-reads",
    fault: "four clients want the results of 100 tasks of 1 MiB each on a stream, and do not read",
    passes_when: "disconnected within 30 s; memory grows by 512 MiB at most; other clients' tasks succeed; no promise broken",
    on_request: false,
    run: |lab| client_never_reads(lab).boxed(),
};

const RESULTS: usize = 100;
const GROWTH_MAX_BYTES: u64 = 512 << 20;

async fn client_never_reads(lab: &mut Lab) -> Result<Seen, FaultError> {
    let options = CoordinatorOptions { config: CONFIG.into(), ..CoordinatorOptions::default() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 2, slots: 8, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", host)?;
    clients.until_agents(2).await?;
    let others = LoadOptions { rate: Some(50.0), batch: 1, task: |_| task(5), ..LoadOptions::default() };
    let others = Load::start(clients.clone(), others);
    let before = coordinator.process().resident_bytes();
    let began = Instant::now();
    let (mut deaf, mut unanswered) = (Vec::new(), Vec::new());
    for peer in 0..PEERS {
        let tasks = wanted(peer);
        unanswered.extend(tasks.iter().map(|task| Submission {
            key: task.idempotency_key.clone(),
            content: hash(&task.payload),
            delivery: Delivery::Durable,
            asked_at: now(),
            outcome: SubmissionOutcome::Unknown,
        }));
        deaf.push(wants_results(&coordinator.url(), tasks).await?);
    }
    for (requests, _) in &deaf {
        let what = || FaultError::Never { what: "the stream is disconnected".into(), waited: DISCONNECTED_MAX };
        tokio::time::timeout(DISCONNECTED_MAX, requests.closed()).await.map_err(|_| what())?;
    }
    let disconnected = began.elapsed();
    let growth = coordinator.process().resident_peak_bytes().saturating_sub(before);
    // What they submitted goes on without them.
    all_over(&clients).await?;
    let mut history = others.finish(SETTLE_MAX).await;
    history.submissions.extend(unanswered);
    let judged = judge(lab, &clients, history).await?;
    let (succeeded, failed) = ends(&judged.history);
    let text = format!(
        "disconnected, the last after {:.1} s; memory grew by {} MiB at most; {succeeded} tasks succeeded, {failed} did not",
        disconnected.as_secs_f64(),
        growth >> 20
    );
    let all = succeeded >= PEERS * RESULTS && failed == 0;
    Ok(judged.seen(disconnected <= DISCONNECTED_MAX && growth <= GROWTH_MAX_BYTES && all, text))
}

type Unread = (mpsc::Sender<v1::SubmitStreamRequest>, tonic::Streaming<v1::SubmitStreamResponse>);

/// Tasks with large results, each under a key.
fn wanted(peer: usize) -> Vec<TaskSpec> {
    let work = task_of(&Work { output_bytes: MIB - 256, ..Work::default() });
    let keyed = |n| TaskSpec { idempotency_key: format!("unread-{peer}-{n}"), ..work.clone() };
    (0..RESULTS).map(keyed).collect()
}

/// A stream of submissions whose results are not read.
async fn wants_results(url: &str, tasks: Vec<TaskSpec>) -> Result<Unread, FaultError> {
    let (requests, stream) = mpsc::channel(1);
    let mut client = TaskServiceClient::new(narrow(url).await?);
    let request = v1::SubmitStreamRequest { batch_id: 1, tasks, want_results: true };
    let opened = client.submit_stream(ReceiverStream::new(stream)).await.map_err(FaultError::call("SubmitStream"))?;
    // It is the first one, so that there is room for it.
    let _ = requests.send(request).await;
    Ok((requests, opened.into_inner()))
}

async fn all_over(clients: &Clients) -> Result<(), FaultError> {
    let over = || {
        let clients = clients.clone();
        async move {
            let succeeded = clients.metric("evenkeel_tasks_succeeded_total").await.ok()?;
            (succeeded >= (PEERS * RESULTS) as f64).then_some(())
        }
    };
    until("the tasks of those who do not read are over", SETTLE_MAX, over).await
}
