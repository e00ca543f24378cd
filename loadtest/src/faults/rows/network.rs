//! Networks that fail: connections that go dead, deaf or slow, are cut, or carry bytes in crumbs.
//!
//! A flock of agents `near` reaches the coordinator directly, so that work goes on; `far` and its agents are behind the
//! [`proxy`](super::super::proxy). What the coordinator took for the death and the return of an agent is read from its
//! events.

use std::time::Duration;

use evenkeel_proto::v1::{ClusterEventType, TaskSpec};
use evenkeel_shared::{TaskState, Timestamp};
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::{FaultError, until},
    load::{Load, LoadOptions, now, task},
    proxy::{Conditions, Loss, Path, Proxy},
};
use crate::history::History;

/// Longest time until a dead path is found.
const FOUND_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a thing that is judged by when it came.
const EVENT_MAX: Duration = Duration::from_secs(60);
/// An agent that is back is looked at for so long: one that flaps would be gone again, its lease is shorter.
const CALM: Duration = Duration::from_secs(4);
/// Longest wait for what arrives late.
const LATE_MAX: Duration = Duration::from_secs(20);
const FAR: &str = "far-0";

/// A path without faults.
const WELL: Path = Path {
    delay: Duration::ZERO,
    jitter: Duration::ZERO,
    loss: Loss::None,
    pieces_max: None,
    bytes_per_s: None,
    ends_lost: false,
    reset_within: None,
};
const HELD: Path = Path { loss: Loss::Held, ..WELL };
const SILENT: Path = Path { loss: Loss::Silent, ..WELL };

/// A connection of which both ends think that it lives.
pub const HALF_OPEN: Fault = Fault {
    name: "half-open",
    fault: "an agent's connection goes silent both ways and is never closed",
    passes_when: "both sides find it within 20 s, and once; no other agent is lost; no promise broken",
    on_request: false,
    run: |lab| half_open(lab).boxed(),
};

async fn half_open(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let load = net.load();
    net.until_far_works().await?;
    let cut = now();
    net.proxy.set_live(Conditions::both(SILENT));
    let lost = net.until_event(ClusterEventType::AgentLost, 1).await?.since(cut);
    let back = net.until_event(ClusterEventType::AgentReturned, 1).await?.since(cut);
    sleep(CALM).await;
    let sessions = net.sessions().await?;
    let text = format!("the coordinator found it after {}, the agent after {}; {sessions}", ms(lost), ms(back));
    let passed = lost <= FOUND_MAX && back <= FOUND_MAX && sessions.are(1, 1);
    net.judged(lab, load, passed, text).await
}

/// The coordinator hears nothing, the agent hears all.
pub const ONE_WAY_TO_COORDINATOR: Fault = Fault {
    name: "one-way-to-coordinator",
    fault: "nothing of what an agent sends arrives, what its next dial sends only in drops, after the dial that follows",
    passes_when: "found within 20 s, the dead dial given up within 20 s more, each once; that dial is refused when it arrives \
                  and changes nothing; no promise broken",
    on_request: false,
    run: |lab| one_way_to_coordinator(lab).boxed(),
};

/// A greeting arrives before the coordinator hangs up (10 s), and nothing more before the agent does (15 s).
const DROPS: Path = Path { bytes_per_s: Some(6), ..WELL };
/// The rest arrives, the end of the dial well after its beginning.
const SLOWLY: Path = Path { bytes_per_s: Some(1_000), ..WELL };

async fn one_way_to_coordinator(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut net = Net::start(lab, CoordinatorOptions::default()).await?;
    let load = net.load();
    net.until_far_works().await?;
    let cut = now();
    net.proxy.set_live(Conditions { to_server: HELD, ..Conditions::default() });
    net.proxy.set_later(Conditions { to_server: DROPS, ..Conditions::default() });
    let lost = net.until_event(ClusterEventType::AgentLost, 1).await?.since(cut);
    let dialled = || {
        let dialled = net.proxy.accepted() >= 2;
        async move { dialled.then_some(()) }
    };
    until("the agent dials again", EVENT_MAX, dialled).await?;
    let again = now();
    net.proxy.set_later(Conditions::default());
    let back = net.until_event(ClusterEventType::AgentReturned, 1).await?.since(again);
    net.proxy.set_live(Conditions { to_server: SLOWLY, ..Conditions::default() });
    let refused = || async {
        let refused = net.clients.metric("evenkeel_bad_input_total{reason=\"session_refused\"}").await.ok()?;
        (refused > 0.0).then_some(())
    };
    let refused = until("the dead dial is refused", LATE_MAX, refused).await.is_ok();
    sleep(CALM).await;
    let sessions = net.sessions().await?;
    let goes_on = net.far.process().try_ended().is_none();
    let ended = if goes_on { "" } else { "; the agent's process has ended" };
    let word = if refused { "refused" } else { "not refused" };
    let text = format!(
        "found after {}, a dead dial given up after {} and later {word}; {sessions}{ended}",
        ms(lost),
        ms(back)
    );
    let passed = goes_on && refused && lost <= FOUND_MAX && back <= FOUND_MAX && sessions.are(1, 1);
    net.judged(lab, load, passed, text).await
}

/// The agent hears nothing, the coordinator hears all.
pub const ONE_WAY_TO_AGENT: Fault = Fault {
    name: "one-way-to-agent",
    fault: "an agent hears nothing of the coordinator for 25 s, and the coordinator hears all of the agent",
    passes_when: "found within 20 s; one session more at most is begun in vain; back within 20 s after it healed; \
                  no promise broken",
    on_request: false,
    run: |lab| one_way_to_agent(lab).boxed(),
};

const DEAF: Duration = Duration::from_secs(25);

async fn one_way_to_agent(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let load = net.load();
    net.until_far_works().await?;
    let cut = now();
    net.proxy.set(Conditions { to_client: HELD, ..Conditions::default() });
    let lost = net.until_event(ClusterEventType::AgentLost, 1).await?.since(cut);
    sleep(DEAF.saturating_sub(now().since(cut))).await;
    let healed = now();
    net.proxy.set(Conditions::default());
    let back = net.until_far_hears(healed).await?.since(healed);
    sleep(CALM).await;
    let sessions = net.sessions().await?;
    let text = format!("found after {}, back {} after it healed; {sessions}", ms(lost), ms(back));
    // The dial that follows the discovery is heard, welcomed in vain, and found dead by its lease.
    let calm = sessions.lost <= 2 && sessions.lost == sessions.returned && sessions.others == 0;
    let passed = lost <= FOUND_MAX && back <= FOUND_MAX && calm;
    net.judged(lab, load, passed, text).await
}

/// A slow path.
pub const DELAY: Fault = Fault {
    name: "delay-500ms",
    fault: "half a second each way, and up to 300 ms more, for 15 s",
    passes_when: "no agent is taken for dead, no attempt is lost, every task succeeds; no promise broken",
    on_request: false,
    run: |lab| delay(lab).boxed(),
};

const SLOW: Path = Path { delay: Duration::from_millis(500), jitter: Duration::from_millis(300), ..WELL };
const SLOW_FOR: Duration = Duration::from_secs(15);

async fn delay(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let load = net.load();
    net.until_far_works().await?;
    net.proxy.set(Conditions::both(SLOW));
    // New sessions have to begin on a slow path too.
    let newcomer = HostOptions { agents: 4, slots: 2, ..HostOptions::default() };
    let _newcomers = Host::start(lab, &net.proxy.url(), "newcomer", newcomer)?;
    sleep(SLOW_FOR).await;
    let joined = net.clients.clone().status().await?.agents_healthy;
    net.proxy.set(Conditions::default());
    let sessions = net.sessions().await?;
    let lost = net.clients.metric("evenkeel_attempts_lost_total").await?;
    let text = format!("{joined} of 6 agents there; {lost} attempts lost; {sessions}");
    net.judged_all_well(lab, load, joined == 6 && lost == 0.0 && sessions.are(0, 0), text).await
}

/// Agents whose connections are cut.
pub const RESETS: Fault = Fault {
    name: "resets",
    fault: "the connections of all agents are reset, 10 times at random moments, and each after at most 64 KiB besides",
    passes_when: "they dial again and go on with most of what they run; every task succeeds; no promise broken",
    on_request: false,
    run: |lab| resets(lab).boxed(),
};

const AGENT_RESETS: u32 = 10;

async fn resets(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let options = HostOptions { agents: 4, slots: 4, ..HostOptions::default() };
    let _agents = Host::start(lab, &net.proxy.url(), "cut", options)?;
    net.clients.until_agents(6).await?;
    let load = net.load();
    net.until_far_works().await?;
    net.proxy.set(Conditions::both(Path { reset_within: Some(64 << 10), ..WELL }));
    for _ in 0..AGENT_RESETS {
        sleep(Duration::from_millis(lab.rng.u64(200..3_000))).await;
        net.proxy.reset_all();
    }
    net.proxy.set(Conditions::default());
    net.clients.until_agents(6).await?;
    let (cut, adopted) = (net.proxy.resets(), net.clients.metric("evenkeel_attempts_adopted_total").await?);
    let lost = net.clients.metric("evenkeel_attempts_lost_total").await?;
    let text = format!("{cut} connections reset, {adopted} attempts went on, {lost} were lost");
    net.judged_all_well(lab, load, adopted > lost, text).await
}

/// Clients whose connections are cut.
pub const RESETS_CLIENTS: Fault = Fault {
    name: "resets-clients",
    fault: "the connections of clients are reset, 20 times at random moments and each after at most 16 KiB",
    passes_when: "submissions that were left in doubt and repeated give one task a key; every task succeeds; no promise broken",
    on_request: false,
    run: |lab| resets_clients(lab).boxed(),
};

const CLIENT_RESETS: u32 = 20;

async fn resets_clients(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let through = Clients::new(&net.proxy.url(), net.coordinator.http().to_owned())?;
    let options = LoadOptions { rate: Some(300.0), batch: 4, clients: 8, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(through, options);
    net.proxy.set(Conditions::both(Path { reset_within: Some(16 << 10), ..WELL }));
    for _ in 0..CLIENT_RESETS {
        sleep(Duration::from_millis(lab.rng.u64(50..500))).await;
        net.proxy.reset_all();
    }
    net.proxy.set(Conditions::default());
    load.stop_submitting();
    let (counts, cut) = (load.counts(), net.proxy.resets());
    let repeated = net.clients.metric("evenkeel_tasks_duplicate_total").await?;
    let text = format!(
        "{cut} connections reset, {} submissions left in doubt, {repeated} of them had made a task already",
        counts.unknown
    );
    net.judged_all_well(lab, load, counts.unknown > 0 && repeated > 0.0, text).await
}

/// Bytes that come in crumbs.
pub const CHUNKING: Fault = Fault {
    name: "chunking",
    fault: "everything between agents, clients and the coordinator comes in pieces of 1 to 7 bytes, at 64 kB/s at most",
    passes_when: "no agent is taken for dead, every task succeeds with its own output; no promise broken",
    on_request: false,
    run: |lab| chunking(lab).boxed(),
};

const CRUMBS_FOR: Duration = Duration::from_secs(10);

async fn chunking(lab: &mut Lab) -> Result<Seen, FaultError> {
    let net = Net::start(lab, CoordinatorOptions::default()).await?;
    let crumbs = Path { pieces_max: Some(7), bytes_per_s: Some(64_000), ..WELL };
    net.proxy.set(Conditions::both(crumbs));
    let newcomer = HostOptions { agents: 2, slots: 2, ..HostOptions::default() };
    let _newcomers = Host::start(lab, &net.proxy.url(), "newcomer", newcomer)?;
    net.clients.until_agents(4).await?;
    let through = Clients::new(&net.proxy.url(), net.coordinator.http().to_owned())?;
    let load = Load::start(through, LoadOptions { rate: Some(40.0), batch: 4, task: mixed, ..LoadOptions::default() });
    sleep(CRUMBS_FOR).await;
    let accepted = load.counts().acknowledged;
    let sessions = net.sessions().await?;
    let text = format!("{accepted} tasks accepted; {sessions}");
    net.judged_all_well(lab, load, accepted > 0 && sessions.are(0, 0), text).await
}

/// Short tasks, and some that outlive a cut.
fn mixed(number: u64) -> TaskSpec {
    task(if number.is_multiple_of(8) { 1_500 } else { 100 })
}

/// A cluster with one agent nearby and one behind a proxy.
struct Net {
    coordinator: Coordinator,
    clients: Clients,
    proxy: Proxy,
    far: Host,
    _near: Host,
}

impl Net {
    async fn start(lab: &mut Lab, options: CoordinatorOptions) -> Result<Self, FaultError> {
        let coordinator = Coordinator::start(lab, options).await?;
        let clients = coordinator.clients()?;
        let proxy = Proxy::start(coordinator.grpc(), lab.rng.u64(..));
        let proxy = proxy.map_err(FaultError::io("listen for", lab.directory()))?;
        let near = HostOptions { agents: 1, slots: 16, ..HostOptions::default() };
        let near = Host::start(lab, &coordinator.url(), "near", near)?;
        let far = HostOptions { agents: 1, slots: 4, ..HostOptions::default() };
        let far = Host::start(lab, &proxy.url(), "far", far)?;
        clients.until_agents(2).await?;
        Ok(Self { coordinator, clients, proxy, far, _near: near })
    }

    /// A load for which those nearby have room alone.
    fn load(&self) -> Load {
        let options = LoadOptions { rate: Some(40.0), batch: 4, task: mixed, ..LoadOptions::default() };
        Load::start(self.clients.clone(), options)
    }

    async fn until_far_works(&self) -> Result<(), FaultError> {
        let works = || {
            let mut clients = self.clients.clone();
            async move { (clients.agent(FAR).await?.running_tasks > 0).then_some(()) }
        };
        until("the far agent runs tasks", EVENT_MAX, works).await
    }

    /// Waits until this has happened to the far agent so many times; answers when.
    async fn until_event(&self, kind: ClusterEventType, times: usize) -> Result<Timestamp, FaultError> {
        let what = format!("{} of {FAR}, {times} times", kind.as_str_name());
        let happened = || async move {
            let events = self.clients.fleet_events().await.ok()?;
            let mut of_far = events.iter().filter(|event| event.agent_id == FAR && event.r#type() == kind);
            of_far.nth(times - 1).map(|event| Timestamp::from_unix_millis(event.at_unix_ms.unsigned_abs()))
        };
        until(&what, EVENT_MAX, happened).await
    }

    /// Waits until the far agent has a session that began after this and on which it speaks.
    async fn until_far_hears(&self, after: Timestamp) -> Result<Timestamp, FaultError> {
        let hears = || {
            let mut clients = self.clients.clone();
            async move {
                let agent = clients.agent(FAR).await?;
                let connected = Timestamp::from_unix_millis(agent.connected_unix_ms.unsigned_abs());
                // It beats at once when it is welcomed; a registration alone is heard as well.
                (connected > after && agent.last_heard_unix_ms > agent.connected_unix_ms).then_some(connected)
            }
        };
        until("the far agent is back", EVENT_MAX, hears).await
    }

    async fn sessions(&self) -> Result<Sessions, FaultError> {
        let mut sessions = Sessions::default();
        for event in self.clients.fleet_events().await? {
            match event.r#type() {
                ClusterEventType::AgentLost if event.agent_id == FAR => sessions.lost += 1,
                ClusterEventType::AgentReturned if event.agent_id == FAR => sessions.returned += 1,
                ClusterEventType::AgentLost => sessions.others += 1,
                _ => {}
            }
        }
        Ok(sessions)
    }

    async fn judged(self, lab: &Lab, load: Load, passed: bool, text: String) -> Result<Seen, FaultError> {
        Ok(judge(lab, &self.clients, load.finish(SETTLE_MAX).await).await?.seen(passed, text))
    }

    /// The same where every task has to succeed.
    async fn judged_all_well(self, lab: &Lab, load: Load, passed: bool, text: String) -> Result<Seen, FaultError> {
        let judged = judge(lab, &self.clients, load.finish(SETTLE_MAX).await).await?;
        let (succeeded, others) = ends(&judged.history);
        let text = format!("{text}; {succeeded} tasks succeeded, {others} did not");
        Ok(judged.seen(passed && succeeded > 0 && others == 0, text))
    }
}

/// Tasks that succeeded, and those that did not.
pub(super) fn ends(history: &History) -> (usize, usize) {
    let succeeded = history.recorded.iter().filter(|task| task.state == TaskState::Succeeded).count();
    (succeeded, history.recorded.len() - succeeded)
}

/// A time that is close to its bound is not rounded to it.
fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// How often agents were taken for dead, and came back.
#[derive(Default)]
struct Sessions {
    lost: usize,
    returned: usize,
    /// Deaths of agents other than the far one.
    others: usize,
}

impl Sessions {
    /// So often and no other agent.
    fn are(&self, lost: usize, returned: usize) -> bool {
        (self.lost, self.returned, self.others) == (lost, returned, 0)
    }
}

impl std::fmt::Display for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lost {} times, back {} times, {} others lost", self.lost, self.returned, self.others)
    }
}
