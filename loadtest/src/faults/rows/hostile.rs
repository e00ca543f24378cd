//! An agent that lies: it knows the tokens of others, and floods.

use std::time::Duration;

use evenkeel_proto::v1::{self, ResultStatus, agent_message::Message as FromAgent};
use evenkeel_shared::limits::OUTPUT_BYTES_MAX;
use futures_util::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Code;

use super::{
    super::{
        Fault, Lab, Seen,
        client::Clients,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::FaultError,
        load::{Load, LoadOptions, hash, task},
        raw_agent::{RawAgent, narrow, register, success},
    },
    network::ends,
};

const HOSTILE_FOR: Duration = Duration::from_secs(10);
/// Others may be slower by this factor, or as slow as this on a small machine.
const SLOWDOWN_MAX: f64 = 5.0;
const P99_MAX: Duration = Duration::from_millis(250);
const GROWTH_MAX_BYTES: u64 = 256 << 20;
/// Tasks last so long that what is read of them is still true when it is used.
const LASTS_MS: u64 = 2_000;
/// What forged results say.
const FORGERY: &str = "forged";
/// Attempts of others that are forged in one round.
const FORGED: u32 = 50;

/// Lies of every sort.
pub const HOSTILE_AGENT: Fault = Fault {
    name: "hostile-agent",
    fault: "agents forge results with the tokens of running attempts, send absurd loads and outputs, claim what others hold, flood \
            with results, progress and heartbeats, and never register; all at once, for 10 s",
    passes_when: "no forged result is recorded; each breach of the protocol ends its session with the code for it; memory within \
                  256 MiB, another client's p99 within 5x of before or 250 ms; every task succeeds; no promise broken",
    on_request: false,
    run: |lab| hostile_agent(lab).boxed(),
};

async fn hostile_agent(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 4, slots: 128, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", host)?;
    clients.until_agents(4).await?;
    let options = LoadOptions { rate: Some(100.0), batch: 1, task: |_| task(LASTS_MS), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    sleep(Duration::from_secs(3)).await;
    let before_p99 = p99(&load.take_acceptance_us());
    let before_bytes = coordinator.process().resident_bytes();
    let until = Instant::now() + HOSTILE_FOR;
    let url = coordinator.url();
    let mut floods = JoinSet::new();
    for flood in [Flood::Results, Flood::Heartbeats, Flood::Progress] {
        floods.spawn(flood_with(url.clone(), flood, until));
    }
    let breaches = breaches();
    let (mut forged, mut stale, mut right_codes, mut breaches_tried) = (0, 0, 0, 0);
    while Instant::now() < until {
        let (count, refused) = forge(&clients, &url).await?;
        forged += count;
        stale += refused;
        for (register, messages, code) in &breaches {
            breaches_tried += 1;
            let mut hostile = RawAgent::open(narrow(&url).await?, register.clone()).await?;
            hostile.say(messages.clone()).await;
            right_codes += usize::from(hostile.end().await == *code);
        }
    }
    while floods.join_next().await.is_some() {}
    let p99 = p99(&load.take_acceptance_us());
    let growth = coordinator.process().resident_peak_bytes().saturating_sub(before_bytes);
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let (succeeded, others) = ends(&judged.history);
    let forgery = Some(hash(FORGERY.as_bytes()));
    let recorded = judged.history.recorded.iter().filter(|task| task.output == forgery).count();
    let text = format!(
        "{forged} results forged, {stale} of them STALE and the others too late, {recorded} recorded; {right_codes} of {breaches_tried} breaches ended with their code; p99 {} ms \
         before, {} ms meanwhile; memory grew by {} MiB; {succeeded} tasks succeeded, {others} did not",
        before_p99.as_millis(),
        p99.as_millis(),
        growth >> 20
    );
    let unharmed = p99 <= before_p99.mul_f64(SLOWDOWN_MAX).max(P99_MAX) && growth <= GROWTH_MAX_BYTES;
    let no_lie = stale > 0 && recorded == 0 && right_codes == breaches_tried;
    Ok(judged.seen(no_lie && unharmed && succeeded > 0 && others == 0, text))
}

fn p99(sorted_us: &[u64]) -> Duration {
    let at = (sorted_us.len() * 99).div_ceil(100).saturating_sub(1);
    Duration::from_micros(sorted_us.get(at).copied().unwrap_or(u64::MAX))
}

/// Sends results for attempts that others run. Answers how many, and how many of them were answered STALE: the others had
/// been recorded a moment before, as their own agents had ended them.
async fn forge(clients: &Clients, url: &str) -> Result<(usize, usize), FaultError> {
    let request = v1::ListRequest {
        states: vec![v1::TaskState::Running.into()],
        page_size: FORGED,
        ..v1::ListRequest::default()
    };
    let running = clients.clone().tasks.list(request).await.map_err(FaultError::call("List"))?.into_inner().tasks;
    let mut tokens = Vec::new();
    for task in running {
        // What any client may read names the attempt, and so does the token.
        let shown = clients.clone().task(&task.task_id).await?;
        tokens.extend(shown.attempts.iter().map(|attempt| v1::AttemptRef {
            task_id: task.task_id.clone(),
            attempt: attempt.attempt,
            assignment_id: attempt.assignment_id,
        }));
    }
    let mut thief = RawAgent::open(narrow(url).await?, register("thief", "one", "none", 1)).await?;
    let messages = tokens.iter().map(|token| success(token.clone(), FORGERY)).collect();
    thief.say(messages).await;
    let mut stale = 0;
    for _ in &tokens {
        stale += usize::from(thief.ack().await == Some(ResultStatus::Stale));
    }
    Ok((tokens.len(), stale))
}

/// Breaches of the protocol: as whom, with what, and the code that the session has to end with.
fn breaches() -> Vec<(v1::Register, Vec<FromAgent>, Code)> {
    let known = || register("breaks", "one", "none", 1);
    let load = |cpu_share| vec![FromAgent::Heartbeat(v1::Heartbeat { cpu_share, ..v1::Heartbeat::default() })];
    let token =
        v1::AttemptRef { task_id: "01890000-0000-7000-8000-000000000000".into(), attempt: 1, assignment_id: u64::MAX };
    let progress =
        v1::AttemptProgress { attempt: Some(token.clone()), fraction: f64::NAN, note: String::new(), usage: None };
    let no_task = v1::AttemptRef { task_id: "none".into(), attempt: 1, assignment_id: 1 };
    vec![
        (known(), load(f64::NAN), Code::InvalidArgument),
        (known(), load(-1.0), Code::InvalidArgument),
        (known(), load(1e300), Code::InvalidArgument),
        (known(), vec![FromAgent::Progress(progress)], Code::InvalidArgument),
        (known(), vec![success(token.clone(), vec![0; OUTPUT_BYTES_MAX + 1])], Code::InvalidArgument),
        (known(), vec![success(token.clone(), vec![0; 9 << 20])], Code::InvalidArgument),
        (known(), vec![success(no_task, "x")], Code::InvalidArgument),
        (known(), vec![FromAgent::Register(known())], Code::FailedPrecondition),
        (v1::Register { agent_id: "no spaces".into(), ..known() }, Vec::new(), Code::InvalidArgument),
        (v1::Register { held: vec![token; 20_000], ..known() }, Vec::new(), Code::InvalidArgument),
        (v1::Register { capacity: None, ..known() }, Vec::new(), Code::InvalidArgument),
        (register("a-0", "impostor", "none", 1), Vec::new(), Code::AlreadyExists),
    ]
}

#[derive(Clone, Copy)]
enum Flood {
    Results,
    Heartbeats,
    Progress,
}

/// Messages in one frame of a flood.
const FLOOD: u64 = 200;

/// Says as much as it can. A session that is ended for it is opened again.
async fn flood_with(url: String, flood: Flood, until: Instant) -> Result<(), FaultError> {
    let name = match flood {
        Flood::Results => "floods-results",
        Flood::Heartbeats => "floods-heartbeats",
        Flood::Progress => "floods-progress",
    };
    let unknown =
        |n: u64| v1::AttemptRef { task_id: format!("01890000-0000-7000-8000-{n:012x}"), attempt: 1, assignment_id: n };
    let message = |n: u64| match flood {
        Flood::Results => success(unknown(n), "x"),
        Flood::Heartbeats => FromAgent::Heartbeat(v1::Heartbeat { cpu_share: 0.1, ..v1::Heartbeat::default() }),
        Flood::Progress => FromAgent::Progress(v1::AttemptProgress {
            attempt: Some(unknown(n)),
            fraction: 0.5,
            note: "x".repeat(1_000),
            usage: None,
        }),
    };
    let mut first = 0;
    while Instant::now() < until {
        let mut agent = RawAgent::open(narrow(&url).await?, register(name, "one", "none", 1)).await?;
        while Instant::now() < until && agent.say((first..first + FLOOD).map(message).collect()).await {
            first += FLOOD;
            // Answers are read as they come: this one floods, and does not stop reading.
            while agent.hear().now_or_never().is_some_and(|heard| heard.is_ok()) {}
        }
    }
    Ok(())
}
