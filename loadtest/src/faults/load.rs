//! Clients that submit work while harm is done, and write down what they were told.
//!
//! A submission whose fate is not known is sent again under its key, as a careful client does, until it is answered. Every
//! task that was acknowledged is followed to its end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use evenkeel_proto::v1::{self, SubmitRequest, TaskSpec, WaitRequest};
use evenkeel_shared::{Delivery, TaskId, TaskState, Timestamp, limits::WAIT_TASKS_MAX, wire::enums::task_state};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tonic::Code;

use super::{
    agent::{KIND, Work},
    client::Clients,
};
use crate::history::{History, Sighting, Submission, SubmissionOutcome};

/// Wait before a submission is sent again.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// Longest wait for the answer to a submission; then its fate is not known.
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// Longest single Wait.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How often those who follow tasks look for new ones.
const FOLLOW_POLL: Duration = Duration::from_millis(20);

/// What is submitted.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Prefix of all idempotency keys: loads of one lab differ in it.
    pub name: &'static str,
    /// Tasks, at most; the load ends with them.
    pub tasks: u64,
    /// Tasks per second in all; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// Clients, each with one submission under way.
    pub clients: u32,
    /// Tasks in one submission.
    pub batch: usize,
    /// The task of this number, without its key.
    pub task: fn(u64) -> TaskSpec,
    /// Tasks that are refused are submitted again, as a client does that has nothing else to do; else they are dropped.
    pub refused_again: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            name: "load",
            tasks: u64::MAX,
            rate: None,
            clients: 4,
            batch: 10,
            task: |_| task(5),
            refused_again: true,
        }
    }
}

/// A task that waits so long.
pub fn task(wait_ms: u64) -> TaskSpec {
    task_of(&Work { wait_ms, ..Work::default() })
}

/// A task that does this.
pub fn task_of(work: &Work) -> TaskSpec {
    let payload = serde_json::json!(work).to_string().into_bytes().into();
    TaskSpec { kind: KIND.into(), payload, ..TaskSpec::default() }
}

/// Now, on this machine's clock.
pub fn now() -> Timestamp {
    Timestamp::ZERO.plus(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// The hash of an output or of a task's description, as histories have them.
pub fn hash(bytes: &[u8]) -> u64 {
    crate::history::hash(bytes)
}

/// A load that runs. Dropping it stops it at once.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    clients: Clients,
    options: LoadOptions,
    next: AtomicU64,
    began: Instant,
    stop: AtomicBool,
    /// Clients that may still have a submission under way.
    submitting: AtomicU32,
    history: Mutex<History>,
    /// Acknowledged and not known to be over.
    open: Mutex<BTreeMap<TaskId, Instant>>,
    acknowledged: AtomicU64,
    over: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    /// Answers to submissions, in microseconds, since they were last taken.
    acceptance_us: Mutex<Vec<u64>>,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Tasks refused, by code.
    refusals: Mutex<BTreeMap<String, u64>>,
}

/// How far a load is.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Tasks that were acknowledged.
    pub acknowledged: u64,
    /// Of them those that are over.
    pub over: u64,
    /// Submissions refused, tasks counted.
    pub refused: u64,
    /// Submissions whose fate was not known at first, tasks counted.
    pub unknown: u64,
}

impl Load {
    /// Starts it.
    pub fn start(clients: Clients, options: LoadOptions) -> Self {
        let count = options.clients;
        let shared = Arc::new(Shared {
            clients,
            options,
            next: AtomicU64::new(0),
            began: Instant::now(),
            stop: AtomicBool::new(false),
            submitting: AtomicU32::new(count),
            history: Mutex::default(),
            open: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            over: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            acceptance_us: Mutex::default(),
            errors: Mutex::default(),
            refusals: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(submit_all(Arc::clone(&shared)));
        }
        tasks.spawn(follow(Arc::clone(&shared)));
        Self { shared, clients: tasks }
    }

    /// How far it is.
    pub fn counts(&self) -> Counts {
        let Shared { acknowledged, over, refused, unknown, .. } = &*self.shared;
        let [acknowledged, over, refused, unknown] = [acknowledged, over, refused, unknown].map(|n| n.load(Relaxed));
        Counts { acknowledged, over, refused, unknown }
    }

    /// Times of answers to submissions since this was last asked, in microseconds, sorted. They count from when a submission
    /// was due by the load's rate.
    pub fn take_acceptance_us(&self) -> Vec<u64> {
        let mut taken = std::mem::take(&mut *locked(&self.shared.acceptance_us));
        taken.sort_unstable();
        taken
    }

    /// Errors that clients met, and how often: `CODE: message`.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        locked(&self.shared.errors).clone()
    }

    /// Tasks refused, by the code of the refusal.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        locked(&self.shared.refusals).clone()
    }

    /// Submits nothing new from here on. What is under way is still settled.
    pub fn stop_submitting(&self) {
        self.shared.stop.store(true, Relaxed);
    }

    /// Stops, waits until all that was acknowledged is over (`settle_max` at the longest), and hands out what was seen.
    pub async fn finish(mut self, settle_max: Duration) -> History {
        self.stop_submitting();
        // A client or follower that does not end in time leaves tasks open, which the judge sees.
        let settled = async { while self.clients.join_next().await.is_some() {} };
        let _ = timeout(settle_max, settled).await;
        self.clients.abort_all();
        std::mem::take(&mut *locked(&self.shared.history))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn submit_all(shared: Arc<Shared>) {
    submit_until_stopped(&shared).await;
    shared.submitting.fetch_sub(1, Relaxed);
}

async fn submit_until_stopped(shared: &Shared) {
    let LoadOptions { tasks, batch, rate, .. } = shared.options;
    while !shared.stop.load(Relaxed) {
        let first = shared.next.fetch_add(batch as u64, Relaxed);
        if first >= tasks {
            return;
        }
        let mut due = Instant::now();
        if let Some(rate) = rate {
            due = shared.began + Duration::from_secs_f64(first as f64 / rate);
            sleep_until(due.into()).await;
        }
        let numbers = first..(first + batch as u64).min(tasks);
        let mut specs: Vec<TaskSpec> = numbers
            .map(|number| {
                let key = format!("{}-{number}", shared.options.name);
                TaskSpec { idempotency_key: key, ..(shared.options.task)(number) }
            })
            .collect();
        while !specs.is_empty() {
            specs = shared.submit(specs, due).await;
            if !specs.is_empty() {
                sleep(RETRY_DELAY).await;
                due = Instant::now();
            }
        }
    }
}

impl Shared {
    /// Submits the tasks once; answers those that have to be submitted again. What was due while the client waited for an
    /// earlier answer has waited as well: its time counts from then.
    async fn submit(&self, specs: Vec<TaskSpec>, due: Instant) -> Vec<TaskSpec> {
        let asked_at = now();
        let mut calls = self.clients.tasks.clone();
        let answer = timeout(SUBMIT_MAX, calls.submit(SubmitRequest { tasks: specs.clone() })).await;
        let results = match answer {
            Ok(Ok(answer)) => {
                locked(&self.acceptance_us).push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                answer.into_inner().results
            }
            Ok(Err(status)) => {
                *locked(&self.errors).entry(format!("{}: {}", status.code(), status.message())).or_default() += 1;
                return self.settle(specs, asked_at, |_| Err(status.code()));
            }
            Err(_) => {
                *locked(&self.errors).entry("no answer".to_owned()).or_default() += 1;
                return self.settle(specs, asked_at, |_| Err(Code::DeadlineExceeded));
            }
        };
        self.settle(specs, asked_at, |at| results.get(at).map_or(Err(Code::Unknown), accepted))
    }

    /// Writes down what became of the tasks; answers those that have to be submitted again.
    fn settle(
        &self,
        specs: Vec<TaskSpec>,
        asked_at: Timestamp,
        result: impl Fn(usize) -> Result<SubmissionOutcome, Code>,
    ) -> Vec<TaskSpec> {
        let outcome = |at| result(at).unwrap_or_else(outcome_of);
        self.write_down(&specs, asked_at, outcome);
        let again = |at: usize| match outcome(at) {
            SubmissionOutcome::Acknowledged { .. } => false,
            SubmissionOutcome::Unknown => true,
            SubmissionOutcome::Refused => {
                let code = result(at).err().map_or_else(String::new, |code| format!("{code:?}"));
                *locked(&self.refusals).entry(code).or_default() += 1;
                self.options.refused_again
            }
        };
        specs.into_iter().enumerate().filter(|(at, _)| again(*at)).map(|(_, spec)| spec).collect()
    }

    fn write_down(&self, specs: &[TaskSpec], asked_at: Timestamp, outcome: impl Fn(usize) -> SubmissionOutcome) {
        let entries = specs.iter().enumerate().map(|(at, spec)| Submission {
            key: spec.idempotency_key.clone(),
            content: hash(&spec.payload),
            delivery: Delivery::Durable,
            asked_at,
            outcome: outcome(at),
        });
        let entries: Vec<_> = entries.collect();
        for entry in &entries {
            match &entry.outcome {
                SubmissionOutcome::Acknowledged { task, .. } => {
                    self.acknowledged.fetch_add(1, Relaxed);
                    locked(&self.open).insert(*task, Instant::now());
                }
                SubmissionOutcome::Refused => drop(self.refused.fetch_add(1, Relaxed)),
                SubmissionOutcome::Unknown => drop(self.unknown.fetch_add(1, Relaxed)),
            }
        }
        locked(&self.history).submissions.extend(entries);
    }

    fn saw_end(&self, finished: v1::TaskFinished) {
        let (Ok(task), Some(state)) = (finished.task_id.parse::<TaskId>(), task_state(finished.state)) else { return };
        if locked(&self.open).remove(&task).is_some() {
            self.over.fetch_add(1, Relaxed);
        }
        let output = (state == TaskState::Succeeded).then(|| hash(&finished.output));
        locked(&self.history).sightings.push(Sighting { task, state, output, at: now() });
    }
}

/// What was answered to one task: acknowledged, or the code that says why not.
fn accepted(result: &v1::SubmitResult) -> Result<SubmissionOutcome, Code> {
    match (&result.error, result.task_id.parse()) {
        (None, Ok(task)) => Ok(SubmissionOutcome::Acknowledged { task, duplicate: result.duplicate }),
        (Some(error), _) => Err(Code::from_i32(error.code)),
        (None, Err(_)) => Err(Code::Unknown),
    }
}

/// Codes that say that nothing was done; after all others nobody knows.
fn outcome_of(code: Code) -> SubmissionOutcome {
    match code {
        Code::ResourceExhausted | Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            SubmissionOutcome::Refused
        }
        _ => SubmissionOutcome::Unknown,
    }
}

/// Follows what was acknowledged to its end.
async fn follow(shared: Arc<Shared>) {
    loop {
        let ids: Vec<TaskId> = locked(&shared.open).keys().copied().take(WAIT_TASKS_MAX).collect();
        if ids.is_empty() {
            if shared.submitting.load(Relaxed) == 0 {
                return;
            }
            sleep(FOLLOW_POLL).await;
            continue;
        }
        let request = WaitRequest {
            task_ids: ids.iter().map(TaskId::to_string).collect(),
            timeout_ms: WAIT_MAX.as_millis() as u64,
            any: true,
        };
        let mut calls = shared.clients.tasks.clone();
        match timeout(2 * WAIT_MAX, calls.wait(request)).await {
            Ok(Ok(answer)) => answer.into_inner().finished.into_iter().for_each(|end| shared.saw_end(end)),
            // A restarting coordinator answers later; a task that it has lost is found by the judge.
            Ok(Err(status)) if status.code() == Code::NotFound => {
                look_each(&shared, &ids).await;
            }
            _ => sleep(RETRY_DELAY).await,
        }
    }
}

/// Looks at the tasks one by one; gives up on those that nobody knows.
async fn look_each(shared: &Shared, ids: &[TaskId]) {
    for id in ids {
        let mut calls = shared.clients.tasks.clone();
        let request = v1::GetRequest { task_id: id.to_string(), include_payload: false, include_attempts: false };
        match calls.get(request).await {
            Err(status) if status.code() == Code::NotFound => drop(locked(&shared.open).remove(id)),
            Ok(answer) => {
                let Some(task) = answer.into_inner().task else { continue };
                if task_state(task.state).is_some_and(TaskState::is_terminal) {
                    let end = v1::TaskFinished {
                        task_id: task.task_id,
                        state: task.state,
                        output: task.output,
                        ..v1::TaskFinished::default()
                    };
                    shared.saw_end(end);
                }
            }
            Err(_) => return,
        }
    }
}
