//! An engine whose loop hangs.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::{
    super::{
        Fault, Lab, Seen,
        client::Clients,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::{FaultError, until},
        load::{Load, LoadOptions, task},
    },
    crashpoints::failpoints,
};

/// The watchdog's time in this row; by default it is half a minute.
const WATCHDOG: Duration = Duration::from_secs(2);
/// From here on `/healthz` fails: before the watchdog does anything.
const STUCK: Duration = Duration::from_millis(500);
/// How much later than its time the process may end: the watchdog counts its ticks, and a busy machine makes them longer.
const LATE_MAX: Duration = Duration::from_secs(3);
/// Longest wait for anything on the way.
const STEP_MAX: Duration = Duration::from_secs(30);
/// How often `/healthz` is asked.
const POLL: Duration = Duration::from_millis(20);
/// The exit code of a process that the watchdog has ended.
const EXIT_STUCK: i32 = 72;
/// What the coordinator says as it begins to hang.
const HANGS: &str = "failpoint Engine hangs";

/// The engine's loop hangs.
pub const STUCK_ENGINE: Fault = Fault {
    name: "watchdog",
    fault: "the engine's loop hangs for ever, under load",
    passes_when: "`/healthz` fails first; the process exits with 72 within 3 s of its watchdog's time (2 s), and the restart \
                  is clean; no promise broken",
    on_request: false,
    run: |lab| stuck_engine(lab).boxed(),
};

async fn stuck_engine(lab: &mut Lab) -> Result<Seen, FaultError> {
    lab.need_failpoints()?;
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let _agents =
        Host::start(lab, &coordinator.url(), "a", HostOptions { agents: 2, slots: 8, ..HostOptions::default() })?;
    clients.until_agents(2).await?;
    let options = LoadOptions { rate: Some(200.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    coordinator.kill().await?;
    coordinator.options.env = failpoints(&format!("engine=hang@{}", lab.rng.u32(20..100)));
    let (watchdog_ms, stuck_ms) = (WATCHDOG.as_millis(), STUCK.as_millis());
    coordinator.options.config = format!("[health]\nwatchdog_ms = {watchdog_ms}\nstuck_ms = {stuck_ms}\n");
    coordinator.restart().await?;
    let hangs = || {
        let said = coordinator.process().log().contains(HANGS);
        async move { said.then_some(()) }
    };
    until("the engine hangs", STEP_MAX, hangs).await?;
    let began = Instant::now();
    let noticed = not_alive(&clients).await;
    let status = ended(&mut coordinator).await?;
    let took = began.elapsed();
    let said = coordinator.process().log().contains("the engine's loop is stuck");
    coordinator.options = CoordinatorOptions::default();
    let ready = coordinator.restart().await?;
    clients.until_agents(2).await?;
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let text = format!(
        "`/healthz` {}; {status} {} ms after it hung; ready {} ms after the restart",
        if noticed { "failed first" } else { "did not fail" },
        took.as_millis(),
        ready.as_millis()
    );
    let in_time = took <= WATCHDOG + LATE_MAX;
    Ok(judged.seen(noticed && said && status.code() == Some(EXIT_STUCK) && in_time, text))
}

/// Whether `/healthz` says that only a restart helps, before nobody answers it any more.
async fn not_alive(clients: &Clients) -> bool {
    while let Ok((code, _)) = clients.http_get("/healthz").await {
        if code == 503 {
            return true;
        }
        sleep(POLL).await;
    }
    false
}

async fn ended(coordinator: &mut Coordinator) -> Result<ExitStatus, FaultError> {
    let what = "the watchdog ends the coordinator".to_owned();
    match timeout(STEP_MAX, coordinator.process().ended()).await {
        Ok(status) => status,
        Err(_) => Err(FaultError::Never { what, waited: STEP_MAX }),
    }
}
