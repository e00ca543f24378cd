//! All simulated agents of a run, and their connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use evenkeel_shared::{
    backoff::Backoff,
    dial::{Channel, DialError, Way},
};
use fastrand::Rng;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    held::Held,
    session::{Agent, Away, Broken, Wanted, passes},
};
use crate::{
    error::LoadtestError,
    ledger::Ledger,
    plan::RunPlan,
    progress::{Progress, Stage},
    task_time::{TaskTime, mix},
};

/// Sessions being opened at once: fewer than the connections that a listener keeps waiting (usually 128 or more).
const DIALS_MAX: usize = 64;
/// Longest wait for the whole fleet.
const GATHERING_MAX: Duration = Duration::from_secs(120);
/// A session that lived this long was a good one: the next backoff starts anew.
const GOOD_SESSION_MIN: Duration = Duration::from_secs(5);
/// Backoff between sessions, as a real agent has it.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Pings on an idle connection find a coordinator whose machine is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A fleet's slowness is kept in thousandths.
const SLOWNESS_PARTS: f64 = 1e3;
/// Multiples of the golden ratio spread over the unit interval more evenly than drawn numbers (Weyl).
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

/// How long an agent's executions take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    /// Drawn from the seed by the task's number.
    Drawn(TaskTime),
    /// As the ledger has it.
    Booked,
}

/// What fleet there is to be.
#[derive(Clone, Debug)]
pub(crate) struct FleetPlan {
    pub agents: u32,
    pub slots: u32,
    pub agents_per_connection: u32,
    pub times: Times,
    pub seed: u64,
    /// Share of the agents that take follow-up tasks, and only those.
    pub specialists_share: f64,
    /// Shares of the agents with a label `region`.
    pub regions: BTreeMap<String, f64>,
}

impl From<&RunPlan> for FleetPlan {
    fn from(plan: &RunPlan) -> Self {
        Self {
            agents: plan.agents,
            slots: plan.slots,
            agents_per_connection: plan.agents_per_connection,
            times: Times::Drawn(plan.task_time),
            seed: plan.seed,
            specialists_share: 0.0,
            regions: BTreeMap::new(),
        }
    }
}

impl FleetPlan {
    /// Specialists are spread evenly; the first agent is one, so that a small fleet has any.
    pub(crate) fn is_specialist(&self, agent: u32) -> bool {
        let until = |agents: u32| (f64::from(agents) * self.specialists_share).ceil();
        until(agent + 1) > until(agent)
    }

    /// The region of an agent, if the fleet has regions.
    pub(crate) fn region(&self, agent: u32) -> Option<&str> {
        let total: f64 = self.regions.values().sum();
        let mut at = (f64::from(agent) * GOLDEN_RATIO).fract() * total;
        for (region, share) in &self.regions {
            at -= share;
            if at < 0.0 {
                return Some(region);
            }
        }
        self.regions.keys().next_back().map(String::as_str)
    }
}

/// What all agents of a run share.
pub(super) struct Shared {
    pub ledger: Arc<Ledger>,
    pub slots: u32,
    times: Times,
    pub seed: u64,
    /// Cancelled when the agents are to leave.
    pub stop: CancellationToken,
    dials: Semaphore,
    state: watch::Sender<State>,
    /// Of each agent, the factor of its executions' times.
    slowness: Box<[AtomicU32]>,
}

#[derive(Clone, Debug, Default)]
struct State {
    connected: u32,
    /// How the last session that was not opened, or broke, ended.
    last_status: Option<String>,
    /// An agent was refused for a reason that stays.
    refused: bool,
}

impl Shared {
    /// An agent has a session, or has lost it.
    pub(super) fn connected(&self, agent: u32, connected: bool) {
        let change = if connected { 1 } else { -1 };
        self.ledger.connected(agent, connected);
        self.state.send_modify(|state| state.connected = state.connected.saturating_add_signed(change));
    }

    /// How long a task takes, and the share of its executions that fail.
    pub(super) fn work(&self, number: u32) -> (Duration, f64) {
        match self.times {
            Times::Drawn(time) => (time.of_task(self.seed, number), 0.0),
            Times::Booked => self.ledger.work(number),
        }
    }

    /// Factor of the time that executions take on this agent.
    pub(super) fn slowness(&self, agent: u32) -> f64 {
        f64::from(self.slowness[agent as usize].load(Relaxed)) / SLOWNESS_PARTS
    }
}

/// The running fleet. Dropping it ends all agents.
pub(crate) struct Fleet {
    agents: u32,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
    wanted: Vec<watch::Sender<Wanted>>,
}

impl Fleet {
    /// Lets all agents dial, but for those that `away` keeps away at first.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn start(
        plan: &FleetPlan,
        way: &Way,
        ledger: &Arc<Ledger>,
        away: impl Fn(u32) -> bool,
    ) -> Result<Self, LoadtestError> {
        let (state, watching) = watch::channel(State::default());
        let stop = CancellationToken::new();
        let unslowed = |_| AtomicU32::new(SLOWNESS_PARTS as u32);
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            slots: plan.slots,
            times: plan.times,
            seed: plan.seed,
            stop: stop.clone(),
            dials: Semaphore::new(DIALS_MAX),
            state,
            slowness: (0..plan.agents).map(unslowed).collect(),
        });
        let (mut tasks, mut all_wanted) = (JoinSet::new(), Vec::new());
        let mut shared_channel = channel(way)?;
        for index in 0..plan.agents {
            if index % plan.agents_per_connection == 0 {
                shared_channel = channel(way)?;
            }
            let mut rng = Rng::with_seed(mix(plan.seed ^ mix(u64::from(index) << 32)));
            let (wanting, wanted) =
                watch::channel(Wanted { away: away(index).then_some(Away::Orderly), ..Wanted::default() });
            all_wanted.push(wanting);
            let agent = Agent {
                shared: Arc::clone(&shared),
                index,
                held: Held::new(plan.slots),
                instance_id: instance_id(ledger.run(), &mut rng),
                rng,
                specialist: plan.is_specialist(index),
                region: plan.region(index).map(str::to_owned),
                wanted,
                breaks_seen: 0,
                answered: false,
            };
            let own = (plan.agents_per_connection == 1).then(|| way.clone());
            tasks.spawn(live(agent, Line { channel: shared_channel.clone(), own }));
        }
        Ok(Self { agents: plan.agents, state: watching, stop, tasks, shared, wanted: all_wanted })
    }

    /// Agents with a session.
    pub(crate) fn connected(&self) -> u32 {
        self.state.borrow().connected
    }

    /// Tells an agent what is wanted of it.
    pub(crate) fn want(&self, agent: u32, change: impl FnOnce(&mut Wanted)) {
        self.wanted[agent as usize].send_modify(change);
    }

    /// Executions on this agent take so many times as long from now on.
    pub(crate) fn slow(&self, agent: u32, factor: f64) {
        self.shared.slowness[agent as usize].store((factor * SLOWNESS_PARTS) as u32, Relaxed);
    }

    /// Waits until every agent that is not kept away has a session.
    ///
    /// # Errors
    /// Some have none in time, or are refused.
    pub(crate) async fn gather(&self, progress: &dyn Progress) -> Result<(), LoadtestError> {
        let mut state = self.state.clone();
        let away = self.wanted.iter().filter(|wanted| wanted.borrow().away.is_some()).count();
        let wanted = self.agents.saturating_sub(u32::try_from(away).unwrap_or(u32::MAX));
        let since = Instant::now();
        let gathered = timeout_at(
            (since + GATHERING_MAX).into(),
            state.wait_for(|state| {
                progress.at(Stage::Connecting { connected: state.connected, wanted });
                state.connected >= wanted || state.refused
            }),
        );
        let complete = matches!(gathered.await, Ok(Ok(state)) if !state.refused);
        if complete {
            return Ok(());
        }
        let state = self.state.borrow().clone();
        let reason = state.last_status.unwrap_or_else(|| "the others got no answer".to_owned());
        Err(LoadtestError::AgentsMissing { connected: state.connected, wanted, waited: since.elapsed(), reason })
    }

    /// Lets all agents say that they leave, and ends their sessions.
    pub(crate) async fn leave(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The run's id is random, so the same seed still makes a new instance in each run.
fn instance_id(run: &str, rng: &mut Rng) -> String {
    format!("{run}-{:016x}", rng.u64(..))
}

/// How an agent reaches the coordinator.
struct Line {
    channel: Channel,
    /// Where the connection is the agent's own: how to dial a new one.
    own: Option<Way>,
}

impl Line {
    /// The connection is gone, if it is the agent's own: the next session has another one.
    fn cut(&mut self) {
        // A file that was there at the start and is gone leaves the agent without a new connection, which shows soon enough.
        if let Some(Ok(fresh)) = self.own.as_ref().map(channel) {
            self.channel = fresh;
        }
    }
}

/// One agent's life: a session, and after it another.
async fn live(mut agent: Agent, mut line: Line) {
    let backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP, 2.0);
    let shared = Arc::clone(&agent.shared);
    let mut tries = 0;
    while !shared.stop.is_cancelled() {
        if agent.wanted.borrow_and_update().away.is_some() {
            // It goes on when the fleet is dropped, too.
            let back = agent.wanted.wait_for(|wanted| wanted.away.is_none());
            if !matches!(shared.stop.run_until_cancelled(back).await, Some(Ok(_))) {
                return;
            }
            continue;
        }
        let dial = tokio::select! {
            dial = shared.dials.acquire() => dial,
            () = shared.stop.cancelled() => return,
        };
        let breaks = agent.breaks_seen;
        let Broken { status, lived } = agent.session(line.channel.clone(), dial).await;
        let away = agent.wanted.borrow().away;
        if away.is_some() {
            line.cut();
            // What comes back is another process.
            agent.held = Held::new(shared.slots);
            agent.instance_id = instance_id(shared.ledger.run(), &mut agent.rng);
            shared.ledger.busy(agent.index, 0, Instant::now());
            tries = 0;
            continue;
        }
        if agent.breaks_seen != breaks {
            line.cut();
            tries = 0;
            continue;
        }
        let refused = !passes(&status);
        shared.state.send_modify(|state| {
            state.refused |= refused;
            state.last_status = Some(status.to_string());
        });
        if refused {
            return;
        }
        tries = if lived >= GOOD_SESSION_MIN { 0 } else { tries + 1 };
        let delay = backoff.delay(tries, agent.rng.f64());
        shared.stop.run_until_cancelled(sleep(delay)).await;
    }
}

/// How the fleet and the client dial: a channel that connects when it is used.
///
/// # Errors
/// The address is none, or a file cannot be read.
pub(crate) fn channel(way: &Way) -> Result<Channel, LoadtestError> {
    let unusable = |source: DialError| LoadtestError::Address { url: way.url().to_owned(), source };
    let endpoint = way
        .endpoint()
        .map_err(unusable)?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_INTERVAL);
    way.connect_lazy(&endpoint).map_err(unusable)
}
