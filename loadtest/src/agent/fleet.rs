//! All simulated agents of a run, and their connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_shared::backoff::Backoff;
use fastrand::Rng;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{
    held::Held,
    session::{Agent, Broken, passes},
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

/// What all agents of a run share.
pub(super) struct Shared {
    pub ledger: Arc<Ledger>,
    pub slots: u32,
    pub task_time: TaskTime,
    pub seed: u64,
    /// Cancelled when the agents are to leave.
    pub stop: CancellationToken,
    dials: Semaphore,
    state: watch::Sender<State>,
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
    /// An agent has a session (1) or has lost it (-1).
    pub(super) fn connected(&self, change: i32) {
        self.state.send_modify(|state| state.connected = state.connected.saturating_add_signed(change));
    }
}

/// The running fleet. Dropping it ends all agents.
pub(crate) struct Fleet {
    agents: u32,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Lets all agents dial `url`.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn start(plan: &RunPlan, url: &str, ledger: &Arc<Ledger>) -> Result<Self, LoadtestError> {
        let endpoint = endpoint(url)?;
        let (state, watching) = watch::channel(State::default());
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            slots: plan.slots,
            task_time: plan.task_time,
            seed: plan.seed,
            stop: stop.clone(),
            dials: Semaphore::new(DIALS_MAX),
            state,
        });
        let mut tasks = JoinSet::new();
        let mut channel = endpoint.connect_lazy();
        for index in 0..plan.agents {
            if index % plan.agents_per_connection == 0 {
                channel = endpoint.connect_lazy();
            }
            let mut rng = Rng::with_seed(mix(plan.seed ^ mix(u64::from(index) << 32)));
            let agent = Agent {
                shared: Arc::clone(&shared),
                index,
                held: Held::new(plan.slots),
                // The run's id is random, so the same seed still makes a new instance in each run.
                instance_id: format!("{}-{:016x}", ledger.run(), rng.u64(..)),
                rng,
            };
            tasks.spawn(live(agent, channel.clone()));
        }
        Ok(Self { agents: plan.agents, state: watching, stop, tasks })
    }

    /// Waits until every agent has a session.
    ///
    /// # Errors
    /// Some have none in time, or are refused.
    pub(crate) async fn gather(&self, progress: &dyn Progress) -> Result<(), LoadtestError> {
        let mut state = self.state.clone();
        let since = Instant::now();
        let gathered = timeout_at(
            (since + GATHERING_MAX).into(),
            state.wait_for(|state| {
                progress.at(Stage::Connecting { connected: state.connected, wanted: self.agents });
                state.connected == self.agents || state.refused
            }),
        );
        let complete = matches!(gathered.await, Ok(Ok(state)) if !state.refused);
        if complete {
            return Ok(());
        }
        let state = self.state.borrow().clone();
        let reason = state.last_status.unwrap_or_else(|| "the others got no answer".to_owned());
        Err(LoadtestError::AgentsMissing {
            connected: state.connected,
            wanted: self.agents,
            waited: since.elapsed(),
            reason,
        })
    }

    /// Lets all agents say that they leave, and ends their sessions.
    pub(crate) async fn leave(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One agent's life: a session, and after it another.
async fn live(mut agent: Agent, channel: Channel) {
    let backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP, 2.0);
    let shared = Arc::clone(&agent.shared);
    let mut tries = 0;
    while !shared.stop.is_cancelled() {
        let dial = tokio::select! {
            dial = shared.dials.acquire() => dial,
            () = shared.stop.cancelled() => return,
        };
        let Broken { status, lived } = agent.session(channel.clone(), dial).await;
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

/// How the fleet and the client dial.
///
/// # Errors
/// The address is none.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, LoadtestError> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|source| LoadtestError::Address { url: url.to_owned(), source })?;
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_INTERVAL))
}
