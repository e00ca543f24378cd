//! Files of the database that are not as they were left, and files of an earlier version.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use evenkeel_proto::v1::{CancelRequest, GetRequest, ListRequest, SubmitRequest, TaskSpec};
use evenkeel_shared::{Delivery, TaskId};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::FaultError,
    load::{Load, LoadOptions, hash, now, task},
};
use super::disk::taken;
use crate::history::{Submission, SubmissionOutcome};

/// Variants of each sort of damage.
const VARIANTS: usize = 12;
/// Tasks that are over in the files that are damaged, half of them in the database and half in its log; and as many that
/// still wait.
const TASKS: u64 = 200;
/// The kind of those that wait: nobody takes it.
const LATER: &str = "fault-later";
/// Longest single step.
const STEP_MAX: Duration = Duration::from_secs(30);
const DATABASE: &str = "evenkeel.db";
const LOG: &str = "evenkeel.db-wal";

/// A start on a log that is cut, or files with a byte that is wrong.
pub const DAMAGED: Fault = Fault {
    name: "damaged-files",
    fault: "a coordinator dies by SIGKILL; starts on copies of its files with the log cut short, with a flipped byte in the log, \
            with a flipped byte in the database, 12 of each",
    passes_when: "a cut log opens, with all that was answered before the cut; a flipped byte is refused by name, or what is \
                  there is as it was; nothing panics or hangs",
    on_request: false,
    run: |lab| damaged(lab).boxed(),
};

/// What a start on damaged files came to.
#[derive(Default)]
struct Starts {
    opened: usize,
    /// Of those, where damage was reported when a task was read.
    reported: usize,
    refused: usize,
    wrong: Vec<String>,
}

async fn damaged(lab: &mut Lab) -> Result<Seen, FaultError> {
    let (left, acknowledged) = leave_files(lab).await?;
    let (mut cut, mut in_log, mut in_database) = (Starts::default(), Starts::default(), Starts::default());
    let bytes = |file: &str| fs::read(left.join(file)).map_err(FaultError::io("read", left.join(file)));
    let (log, database) = (bytes(LOG)?, bytes(DATABASE)?);
    let mut before = 0;
    for variant in 0..VARIANTS {
        // Longer and longer pieces: what they hold must grow with them, and never be anything else.
        let length = log.len() * (variant + 1) / VARIANTS - lab.rng.usize(0..4_000);
        let found = start(lab, &left, (LOG, &log[..length]), &acknowledged, &mut cut).await?;
        if found.is_none_or(|found| found < before) {
            cut.wrong.push(format!("a log of {length} bytes did not open to what a shorter one held"));
        }
        before = found.unwrap_or(before);
        for (file, whole, starts) in [(LOG, &log, &mut in_log), (DATABASE, &database, &mut in_database)] {
            let mut bytes = whole.clone();
            let at = lab.rng.usize(0..bytes.len());
            bytes[at] ^= 1 << lab.rng.u8(0..8);
            start(lab, &left, (file, &bytes), &acknowledged, starts).await?;
        }
    }
    let say = |what: &str, starts: &Starts| {
        let Starts { opened, reported, refused, .. } = starts;
        format!("{what}: {opened} opened (damage reported by {reported} of them), {refused} refused")
    };
    let mut text =
        [say("cut log", &cut), say("byte in the log", &in_log), say("byte in the database", &in_database)].join("; ");
    let wrong: BTreeSet<_> = [&cut, &in_log, &in_database].into_iter().flat_map(|starts| &starts.wrong).collect();
    for what in &wrong {
        text.push_str(&format!("; {what}"));
    }
    // Most of a log is answered commits, so a check that finds nothing there does not work.
    Ok(Seen::new(wrong.is_empty() && cut.refused == 0 && in_log.refused > 0, text))
}

/// Hashes of what tasks were asked to do.
type Contents = BTreeMap<String, u64>;

/// A load: its name, its tasks, and how long it may take until they are over.
type Part = (&'static str, fn(u64) -> TaskSpec, Duration);

/// The files of a coordinator that was killed with work in them, and what it had acknowledged.
async fn leave_files(lab: &Lab) -> Result<(PathBuf, Contents), FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let mut agents = Host::start(lab, &coordinator.url(), "a", HostOptions { slots: 8, ..HostOptions::default() })?;
    let mut acknowledged = Contents::new();
    // Those that nobody takes are never over, so there is no use in waiting for their end.
    let halves: [[Part; 2]; 2] = [
        [("first", soon, SETTLE_MAX), ("first-later", later, Duration::ZERO)],
        [("second", soon, SETTLE_MAX), ("second-later", later, Duration::ZERO)],
    ];
    for (half, loads) in halves.into_iter().enumerate() {
        if half > 0 {
            // A stop in order writes the log into the database.
            coordinator.terminate().await?;
            coordinator.restart().await?;
        }
        clients.until_agents(1).await?;
        for (name, task, settle_max) in loads {
            let load = LoadOptions { name, tasks: TASKS / 2, batch: 2, task, ..LoadOptions::default() };
            let load = Load::start(clients.clone(), load);
            taken(&load, TASKS / 2).await?;
            for Submission { outcome, content, .. } in load.finish(settle_max).await.submissions {
                if let SubmissionOutcome::Acknowledged { task, .. } = outcome {
                    acknowledged.insert(task.to_string(), content);
                }
            }
        }
    }
    coordinator.kill().await?;
    agents.process().kill().await?;
    Ok((coordinator.data_dir().to_owned(), acknowledged))
}

fn soon(number: u64) -> TaskSpec {
    task(number % 3)
}

fn later(number: u64) -> TaskSpec {
    TaskSpec { kind: LATER.into(), ..task(number) }
}

/// Starts on a copy of the files in which one is another. Answers how many tasks are there; `None`: refused.
async fn start(
    lab: &Lab,
    left: &Path,
    (file, bytes): (&str, &[u8]),
    acknowledged: &Contents,
    starts: &mut Starts,
) -> Result<Option<usize>, FaultError> {
    let data_dir = lab.subdirectory("copy")?;
    for name in [DATABASE, LOG] {
        fs::copy(left.join(name), data_dir.join(name)).map_err(FaultError::io("copy", left.join(name)))?;
    }
    // The index of the log is made anew by the first process that opens it.
    let _ = fs::remove_file(data_dir.join("evenkeel.db-shm"));
    fs::write(data_dir.join(file), bytes).map_err(FaultError::io("write", data_dir.join(file)))?;
    let options = CoordinatorOptions { data_dir: Some(data_dir), ..CoordinatorOptions::default() };
    let mut coordinator = match Coordinator::start_named(lab, "damaged", options).await {
        Ok(coordinator) => coordinator,
        Err(FaultError::Died { status, log, .. }) => {
            starts.refused += 1;
            // Exit code 1 and a reason; a panic has another code.
            if status.code() != Some(1) || !log.contains("could not start") {
                starts.wrong.push(format!("a start ended with {status}: {}", log.lines().last().unwrap_or_default()));
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    starts.opened += 1;
    let read = timeout(STEP_MAX, contents(&coordinator.clients()?)).await;
    let read = read.map_err(|_| FaultError::Never { what: "all tasks are read".into(), waited: STEP_MAX })?;
    coordinator.kill().await?;
    match read {
        Ok(found) => {
            let other = found.iter().filter(|(id, content)| acknowledged.get(*id) != Some(content)).count();
            if other > 0 {
                starts.wrong.push(format!("{other} tasks are not what was submitted"));
            }
            Ok(Some(found.len()))
        }
        // Damage that is met while reading is reported then.
        Err(said) => {
            starts.reported += 1;
            if !said.contains("damaged") {
                starts.wrong.push(said);
            }
            Ok(None)
        }
    }
}

/// What all tasks ask for, or what was said instead.
async fn contents(clients: &Clients) -> Result<Contents, String> {
    let mut contents = Contents::new();
    for task_id in all_tasks(clients).await? {
        let mut calls = clients.tasks.clone();
        let request = GetRequest { task_id: task_id.clone(), include_payload: true, include_attempts: true };
        let answer = calls.get(request).await.map_err(|status| format!("{}: {}", status.code(), status.message()))?;
        let spec = answer.into_inner().task.and_then(|task| task.spec).unwrap_or_default();
        contents.insert(task_id, hash(&spec.payload));
    }
    Ok(contents)
}

/// The ids of all tasks, or what was said instead.
async fn all_tasks(clients: &Clients) -> Result<BTreeSet<String>, String> {
    let mut calls = clients.tasks.clone();
    let (mut found, mut page_token) = (BTreeSet::new(), String::new());
    loop {
        let request = ListRequest { page_size: 1_000, page_token, ..ListRequest::default() };
        let page = calls.list(request).await.map_err(|status| status.message().to_owned())?.into_inner();
        found.extend(page.tasks.into_iter().map(|task| task.task_id));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

/// A database of the version before.
pub const EARLIER_VERSION: Fault = Fault {
    name: "earlier-database",
    fault: "a start on a database of version 1, with tasks of each fate, keys, a cordoned agent and a strategy",
    passes_when: "all of it is there, a key of then still names its task, live tasks go on and new ones run; no promise broken",
    on_request: false,
    run: |lab| earlier_version(lab).boxed(),
};

/// What the store's own tests take over, too.
const VERSION_1: &str = include_str!("../../../../coordinator/src/store/sqlite/fixtures/version_1.sql");
/// Tasks in it, and how many of them are not over.
const THEN: usize = 6;
const LIVE_THEN: u64 = 3;
/// Tasks that are new.
const NEW: u64 = 50;

async fn earlier_version(lab: &mut Lab) -> Result<Seen, FaultError> {
    let data_dir = lab.subdirectory("data")?;
    let made = rusqlite::Connection::open(data_dir.join(DATABASE)).and_then(|file| file.execute_batch(VERSION_1));
    made.map_err(|error| FaultError::Other(format!("the old database cannot be made: {error}")))?;
    let options = CoordinatorOptions { data_dir: Some(data_dir), ..CoordinatorOptions::default() };
    let coordinator = Coordinator::start(lab, options).await?;
    let mut clients = coordinator.clients()?;
    let found = all_tasks(&clients).await.map_err(FaultError::Other)?;
    let status = clients.status().await?;
    let live = status.tasks_queued + status.tasks_assigned + status.tasks_running + status.tasks_retry_wait;
    let again = TaskSpec {
        kind: "echo".into(),
        payload: "over and out".into(),
        idempotency_key: "key-over".into(),
        ..TaskSpec::default()
    };
    let answer =
        clients.tasks.submit(SubmitRequest { tasks: vec![again] }).await.map_err(FaultError::call("Submit"))?;
    let same = answer.get_ref().results.iter().all(|result| result.duplicate && found.contains(&result.task_id));
    let mut cancelled = 0;
    for task_id in &found {
        let request = CancelRequest { task_id: task_id.clone(), reason: "no longer needed".into() };
        cancelled += u64::from(clients.tasks.cancel(request).await.is_ok());
    }
    let _agents = Host::start(lab, &coordinator.url(), "a", HostOptions::default())?;
    let load = Load::start(clients.clone(), LoadOptions { tasks: NEW, ..LoadOptions::default() });
    taken(&load, NEW).await?;
    let mut history = load.finish(SETTLE_MAX).await;
    history.submissions.extend(submitted_then(&clients, &found).await?);
    let judged = judge(lab, &clients, history).await?;
    let text = format!(
        "{} of {THEN} tasks are there, {live} of {LIVE_THEN} live; strategy {}; the old key {} its task; {cancelled} could be \
         called off or were over",
        found.len(),
        status.strategy,
        if same { "names" } else { "does not name" },
    );
    let passed =
        found.len() == THEN && live == LIVE_THEN && same && status.strategy == "weighted" && cancelled == THEN as u64;
    Ok(judged.seen(passed, text))
}

/// Nobody who lives now saw these submissions, so they are read off the tasks: the judge wants to know who asked.
async fn submitted_then(clients: &Clients, tasks: &BTreeSet<String>) -> Result<Vec<Submission>, FaultError> {
    let mut submissions = Vec::new();
    for task_id in tasks {
        let task = clients.clone().task(task_id).await?;
        let Ok(id) = task_id.parse::<TaskId>() else { continue };
        submissions.push(Submission {
            key: task.spec.unwrap_or_default().idempotency_key,
            content: 0,
            delivery: Delivery::Durable,
            asked_at: now(),
            outcome: SubmissionOutcome::Acknowledged { task: id, duplicate: false },
        });
    }
    Ok(submissions)
}
