//! Crashes at an exact place of the coordinator, actors that panic, and a coordinator that cheats.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::{Duration, Instant},
};

use evenkeel_shared::AttemptEnd;
use futures_util::FutureExt as _;
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::super::{
    Fault, Lab, Seen,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{Judged, SETTLE_MAX, judge},
    lab::FaultError,
    load::{Counts, Load, LoadOptions, task},
};
use super::crash::superseded;
use crate::history::{RecordedTask, Rule, Submission, SubmissionOutcome};

/// Deaths at each place.
const DEATHS: u32 = 6;
/// Groups that answer clients, assign or record go by so fast that this many visits are well under a second of the load.
const VISITS: std::ops::Range<u32> = 1..120;
/// Longest wait for a place to be visited so often.
const VISITED_MAX: Duration = Duration::from_secs(30);
/// The exit code of a coordinator whose actor panicked (`EX_SOFTWARE`).
const EXIT_PANICKED: i32 = 70;
/// An actor that panics may leave the process half alive for no longer than this.
const END_MAX: Duration = Duration::from_secs(2);

/// Dead between a commit and its answer.
pub const AFTER_COMMIT: Fault = Fault {
    name: "crash-after-commit",
    fault: "the coordinator dies between a commit and the reply to the client, 6 times",
    passes_when: "clients that repeat their submission get the task that was stored: one task a key; no promise broken",
    on_request: false,
    run: |lab| after_commit(lab).boxed(),
};

async fn after_commit(lab: &mut Lab) -> Result<Seen, FaultError> {
    let Died { judged, counts, duplicates, .. } = die_at(lab, "after-commit").await?;
    let text = format!(
        "{DEATHS} deaths; {} submissions were left in doubt, {duplicates} of their tasks were there when asked again",
        counts.unknown
    );
    // Without a doubt that turned out to be a stored task, the gap was never hit.
    Ok(judged.seen(counts.unknown > 0 && duplicates > 0, text))
}

/// Dead between a claim and its assignment.
pub const AFTER_CLAIM: Fault = Fault {
    name: "crash-after-claim",
    fault: "the coordinator dies after an assignment is stored and before it is sent, 6 times",
    passes_when: "the task is assigned again, and runs; no promise broken",
    on_request: false,
    run: |lab| after_claim(lab).boxed(),
};

async fn after_claim(lab: &mut Lab) -> Result<Seen, FaultError> {
    let Died { judged, .. } = die_at(lab, "after-claim-before-send").await?;
    let executed: std::collections::HashSet<_> =
        judged.history.executions.iter().map(|execution| execution.attempt).collect();
    let mut unsent = 0;
    let mut again = 0;
    for task in &judged.history.recorded {
        for (at, attempt) in task.attempts.iter().enumerate() {
            if !executed.contains(&attempt.attempt) && matches!(attempt.ended, Some((_, AttemptEnd::AgentLost))) {
                unsent += 1;
                again += usize::from(task.attempts.len() > at + 1);
            }
        }
    }
    let text = format!("{DEATHS} deaths; {unsent} assignments that never reached their agent, {again} assigned again");
    Ok(judged.seen(unsent > 0 && again == unsent, text))
}

/// Dead between a record and its acknowledgement.
pub const AFTER_RECORD: Fault = Fault {
    name: "crash-after-record",
    fault: "the coordinator dies after a result is recorded and before it is acknowledged, 6 times",
    passes_when: "its agent brings it back and is told that it is over; it is not run again; one terminal record; no promise broken",
    on_request: false,
    run: |lab| after_record(lab).boxed(),
};

async fn after_record(lab: &mut Lab) -> Result<Seen, FaultError> {
    let Died { judged, called_over, .. } = die_at(lab, "after-record-before-ack").await?;
    let text = format!(
        "{DEATHS} deaths; when agents came back with results, {called_over} were known to be over; {} tasks ran more than once",
        executed_again(&judged)
    );
    // What is recorded is not run again, although nobody was told.
    Ok(judged.seen(called_over > 0, text))
}

/// Tasks of which another attempt ran after one had succeeded.
fn executed_again(judged: &Judged) -> usize {
    let succeeded_early = |task: &&RecordedTask| {
        let before_last = task.attempts.split_last().map_or(&[][..], |(_, earlier)| earlier);
        before_last.iter().any(|attempt| matches!(attempt.ended, Some((_, AttemptEnd::Succeeded))))
    };
    judged.history.recorded.iter().filter(succeeded_early).count()
}

/// What came of deaths at a place.
struct Died {
    judged: Judged,
    counts: Counts,
    /// Tasks that were there when they were submitted again.
    duplicates: usize,
    /// Attempts that agents brought back and were told to forget.
    called_over: u64,
}

/// Lets the coordinator die so many times at a place, and goes on without harm.
async fn die_at(lab: &mut Lab, point: &str) -> Result<Died, FaultError> {
    lab.need_failpoints()?;
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 4, slots: 8, ..HostOptions::default() };
    let mut agents = Host::start(lab, &coordinator.url(), "a", host)?;
    clients.until_agents(4).await?;
    let options = LoadOptions { rate: Some(400.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    coordinator.kill().await?;
    for _ in 0..DEATHS {
        let visit = lab.rng.u32(VISITS);
        coordinator.options.env = failpoints(&format!("{point}=abort@{visit}"));
        coordinator.restart().await?;
        let status = ended(&mut coordinator, VISITED_MAX).await?;
        if status.signal() != Some(Signal::SIGABRT as i32) {
            return Err(FaultError::Other(format!("the coordinator ended with {status} instead of dying at {point}")));
        }
    }
    coordinator.options.env.clear();
    coordinator.restart().await?;
    clients.until_agents(4).await?;
    let counts = load.counts();
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let is_duplicate =
        |made: &&Submission| matches!(made.outcome, SubmissionOutcome::Acknowledged { duplicate: true, .. });
    let duplicates = judged.history.submissions.iter().filter(is_duplicate).count();
    let called_over = superseded(&agents.process().log());
    Ok(Died { judged, counts, duplicates, called_over })
}

pub(super) fn failpoints(text: &str) -> Vec<(String, String)> {
    vec![("EVENKEEL_FAILPOINTS".to_owned(), text.to_owned())]
}

async fn ended(coordinator: &mut Coordinator, max: Duration) -> Result<ExitStatus, FaultError> {
    let what = "the coordinator ends by itself".to_owned();
    match timeout(max, coordinator.process().ended()).await {
        Ok(status) => status,
        Err(_) => Err(FaultError::Never { what, waited: max }),
    }
}

/// Actors that panic.
pub const ACTOR_PANICS: Fault = Fault {
    name: "actor-panics",
    fault: "a panic in the engine's actor, in the store writer and in the publisher, 3 times each, under load",
    passes_when: "the process exits with 70 within 2 s, and the restart is clean; no promise broken",
    on_request: false,
    run: |lab| actor_panics(lab).boxed(),
};

async fn actor_panics(lab: &mut Lab) -> Result<Seen, FaultError> {
    lab.need_failpoints()?;
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 2, slots: 8, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", host)?;
    let options = LoadOptions { rate: Some(200.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    clients.until_agents(2).await?;
    coordinator.kill().await?;
    let (mut slowest, mut exits) = (Duration::ZERO, 0);
    for actor in ["engine", "store-writer", "publisher"] {
        for _ in 0..3 {
            // The publisher is visited twenty times a second.
            coordinator.options.env = failpoints(&format!("{actor}=panic@{}", lab.rng.u32(5..60)));
            let before = panics(&mut coordinator);
            coordinator.restart().await?;
            let panicked_by = Instant::now() + VISITED_MAX;
            while panics(&mut coordinator) == before && Instant::now() < panicked_by {
                sleep(Duration::from_millis(5)).await;
            }
            let began = Instant::now();
            let status = ended(&mut coordinator, VISITED_MAX).await?;
            slowest = slowest.max(began.elapsed());
            exits += usize::from(status.code() == Some(EXIT_PANICKED));
        }
    }
    coordinator.options.env.clear();
    let ready = coordinator.restart().await?;
    clients.until_agents(2).await?;
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let text = format!(
        "{exits} of 9 exited with {EXIT_PANICKED}, the slowest {} ms after its panic; ready {} ms after the last restart",
        slowest.as_millis(),
        ready.as_millis()
    );
    Ok(judged.seen(exits == 9 && slowest <= END_MAX, text))
}

/// Panics that the coordinator's log tells of, over all its lives.
fn panics(coordinator: &mut Coordinator) -> usize {
    coordinator.process().log().matches("panicked at").count()
}

/// A coordinator that answers before it has stored.
pub const EARLY_ANSWERS: Fault = Fault {
    name: "checker-early-answers",
    fault: "sabotage: the coordinator answers before it commits, and is killed at random moments",
    passes_when: "the checker finds accepted tasks that are lost: it can tell a coordinator that cheats",
    on_request: false,
    run: |lab| early_answers(lab).boxed(),
};

async fn early_answers(lab: &mut Lab) -> Result<Seen, FaultError> {
    lab.need_failpoints()?;
    let env = failpoints("ack-before-commit=on");
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions { env, ..CoordinatorOptions::default() }).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 2, slots: 8, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", host)?;
    clients.until_agents(2).await?;
    let options = LoadOptions { rate: Some(200.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    for _ in 0..DEATHS {
        sleep(Duration::from_millis(lab.rng.u64(200..500))).await;
        coordinator.kill().await?;
        coordinator.restart().await?;
        clients.until_agents(2).await?;
    }
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let lost = judged.verdict.broken.get(&Rule::AcceptedTaskLost).copied().unwrap_or(0);
    // Its verdict is bad, as it should be, and so it is not the row's.
    Ok(Seen::new(lost > 0, format!("{DEATHS} deaths; the checker found {lost} accepted tasks lost")))
}
