//! Frames of an honest agent that come twice, late, or again on another session; and two sessions of one agent.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use evenkeel_proto::v1::{
    self, ResultStatus, agent_message::Message as FromAgent, coordinator_message::Message as ToAgent,
};
use evenkeel_shared::{AgentId, AttemptRef, wire::task::attempt_ref};
use fastrand::Rng;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{
    super::{
        Fault, Lab, Seen,
        agent::KIND,
        client::Clients,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::FaultError,
        load::{Load, LoadOptions, now, task},
        raw_agent::{RawAgent, narrow, register, success},
    },
    network::ends,
};
use crate::history::{Acknowledgement, Execution, History, RecordedTask};

const SLOTS: u32 = 16;
const NAME: &str = "repeats";
const LOAD_FOR: Duration = Duration::from_secs(8);
/// Between two turns at sending.
const TURN: Duration = Duration::from_millis(5);
/// Messages that are sent again on the next session, the latest ones.
const REPLAYED: usize = 400;
/// Between two sessions.
const SESSION_FOR: Duration = Duration::from_secs(1);

/// Frames that repeat themselves.
pub const FRAMES: Fault = Fault {
    name: "frames",
    fault: "an agent sends each message twice and in any order, and the last 400 again on each new session, once a second",
    passes_when: "nothing changes: each task succeeds once, in the first attempt that the agent heard of; no promise broken",
    on_request: false,
    run: |lab| frames(lab).boxed(),
};

async fn frames(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let mut agent = Repeater::dial(&coordinator.url(), lab.rng.fork()).await?;
    let options = LoadOptions { rate: Some(200.0), batch: 2, task: |_| task(0), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    let until = Instant::now() + LOAD_FOR;
    while Instant::now() < until {
        agent.work_for(SESSION_FOR).await?;
        agent.redial(&coordinator.url()).await?;
    }
    let settles = load.finish(SETTLE_MAX);
    tokio::pin!(settles);
    let mut history = loop {
        tokio::select! {
            history = &mut settles => break history,
            worked = agent.work_for(SESSION_FOR) => worked?,
        }
    };
    let (sent, sessions) = (agent.sent, agent.sessions);
    history.merge(agent.history);
    let judged = judge(lab, &clients, history).await?;
    let (succeeded, others) = ends(&judged.history);
    // What was under way to a session when it was replaced is assigned again, and has not been executed.
    let heard: HashSet<AttemptRef> = judged.history.executions.iter().map(|execution| execution.attempt).collect();
    let heard_once =
        |task: &&RecordedTask| task.attempts.iter().filter(|made| heard.contains(&made.attempt)).count() == 1;
    let first = judged.history.recorded.iter().filter(heard_once).count();
    let text = format!(
        "{sent} messages on {sessions} sessions for {succeeded} tasks that succeeded, {first} of them in the only attempt \
         that was heard of; {others} did not succeed"
    );
    Ok(judged.seen(succeeded > 0 && others == 0 && first == succeeded, text))
}

/// An agent that does its work at once and cannot stop talking of it.
struct Repeater {
    session: RawAgent,
    rng: Rng,
    /// Said at some later turn.
    unsaid: Vec<FromAgent>,
    /// Said lately.
    said: VecDeque<FromAgent>,
    /// Not acknowledged.
    held: BTreeMap<AttemptRef, v1::AttemptRef>,
    sent: u64,
    sessions: u32,
    history: History,
}

impl Repeater {
    async fn dial(url: &str, rng: Rng) -> Result<Self, FaultError> {
        let session = RawAgent::open(narrow(url).await?, register(NAME, "one", KIND, SLOTS)).await?;
        let (unsaid, said, held) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        Ok(Self { session, rng, unsaid, said, held, sent: 1, sessions: 1, history: History::default() })
    }

    /// A newer session of the same process, on which it begins with what it said last on the older one.
    async fn redial(&mut self, url: &str) -> Result<(), FaultError> {
        let held = self.held.values().cloned().collect();
        let register = v1::Register { held, ..register(NAME, "one", KIND, SLOTS) };
        self.session = RawAgent::open(narrow(url).await?, register).await?;
        self.sessions += 1;
        self.unsaid.extend(self.said.iter().cloned());
        Ok(())
    }

    async fn work_for(&mut self, time: Duration) -> Result<(), FaultError> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::select! {
                heard = self.session.hear() => match heard {
                    Ok(message) => self.heard(message)?,
                    Err(code) => return Err(FaultError::Other(format!("the session of an honest agent ended with {code:?}"))),
                },
                () = sleep(TURN) => self.speak().await,
            }
        }
        Ok(())
    }

    fn heard(&mut self, message: ToAgent) -> Result<(), FaultError> {
        match message {
            ToAgent::Assignment(assignment) => {
                let token = assignment.attempt.unwrap_or_default();
                let (attempt, at) = (read(token.clone())?, now());
                self.held.insert(attempt, token.clone());
                self.history.executions.push(Execution { agent: name()?, attempt, begun_at: at, ended_at: Some(at) });
                let progress = v1::AttemptProgress {
                    attempt: Some(token.clone()),
                    fraction: 0.5,
                    note: "half".into(),
                    usage: None,
                };
                let started = FromAgent::Started(v1::AttemptStarted { attempt: Some(token.clone()) });
                let output = format!("{} {}", token.task_id, token.assignment_id);
                for message in [started, FromAgent::Progress(progress), success(token, output)] {
                    self.unsaid.extend([message.clone(), message]);
                }
            }
            ToAgent::ResultAck(ack) => {
                let recorded = ack.status() == ResultStatus::Recorded;
                let attempt = read(ack.attempt.unwrap_or_default())?;
                self.held.remove(&attempt);
                self.history.acknowledgements.push(Acknowledgement {
                    agent: name()?,
                    attempt,
                    success: true,
                    recorded,
                });
            }
            ToAgent::Welcome(_) | ToAgent::Cancel(_) | ToAgent::Drain(_) => {}
        }
        Ok(())
    }

    /// Says about half of what is to be said, in any order.
    async fn speak(&mut self) {
        self.rng.shuffle(&mut self.unsaid);
        let count = self.unsaid.len().div_ceil(2);
        let mut messages = self.unsaid.split_off(self.unsaid.len() - count);
        messages.push(FromAgent::Heartbeat(v1::Heartbeat { cpu_share: 0.1, ..v1::Heartbeat::default() }));
        self.sent += messages.len() as u64;
        self.said.extend(messages.iter().cloned());
        self.said.drain(..self.said.len().saturating_sub(REPLAYED));
        // If the session has ended, hearing says so.
        self.session.say(messages).await;
    }
}

fn name() -> Result<AgentId, FaultError> {
    AgentId::new(NAME).map_err(|error| FaultError::Other(error.to_string()))
}

fn read(token: v1::AttemptRef) -> Result<AttemptRef, FaultError> {
    attempt_ref(token).map_err(|error| FaultError::Other(error.to_string()))
}

/// Two sessions of one agent.
pub const SAME_ID: Fault = Fault {
    name: "same-id",
    fault: "an agent opens a second session while it has one, 20 times; and another process comes under its name",
    passes_when: "the newer session fences the older one, which gets ABORTED; the other process gets ALREADY_EXISTS; the work goes \
                  on; no promise broken",
    on_request: false,
    run: |lab| same_id(lab).boxed(),
};

const TAKE_OVERS: usize = 20;

async fn same_id(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients: Clients = coordinator.clients()?;
    let url = coordinator.url();
    let _agents = Host::start(lab, &url, "a", HostOptions { agents: 2, ..HostOptions::default() })?;
    clients.until_agents(2).await?;
    let options = LoadOptions { rate: Some(100.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    let open = async |instance: &str| RawAgent::open(narrow(&url).await?, register("twice", instance, "none", 1)).await;
    let mut current = open("one").await?;
    let (mut fenced, mut refused) = (0, 0);
    for _ in 0..TAKE_OVERS {
        let welcomed = |heard| matches!(heard, Ok(ToAgent::Welcome(_)));
        if !welcomed(current.hear().await) {
            return Err(FaultError::Other("the newer session is not welcome".into()));
        }
        refused += usize::from(open("another").await?.end().await == Code::AlreadyExists);
        let newer = open("one").await?;
        fenced += usize::from(current.end().await == Code::Aborted);
        current = newer;
    }
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let (succeeded, others) = ends(&judged.history);
    let text = format!(
        "{fenced} of {TAKE_OVERS} older sessions ABORTED, {refused} of {TAKE_OVERS} other processes ALREADY_EXISTS; \
         {succeeded} tasks succeeded, {others} did not"
    );
    let passed = fenced == TAKE_OVERS && refused == TAKE_OVERS && succeeded > 0 && others == 0;
    Ok(judged.seen(passed, text))
}
