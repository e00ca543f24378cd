//! Looks back: reads recent history from the store now and then, and tells the resource manager what follows from it.
//!
//! What an hour of tasks tells is read when it is wanted, a page at a time; nothing is counted on the way of a task. What it takes
//! is bounded by [`TASKS_MAX`], however many tasks there were: the newest count. All of it runs on one thread of its own. On the
//! threads that answer clients it would hold one of them up for some tenths of a second, and each of them would in time keep the
//! memory of a whole look; a thread of the runtime's pool ends soon after, and what it leaves behind in the heap stays.

use std::{sync::Arc, time::Duration};

use evenkeel_core::{
    advice::{
        Finding,
        history::{self, PastTask},
        strategy,
    },
    insight::metric::Metric,
    replay::Recorded,
};
use evenkeel_shared::{Error, StrategyConfig, TaskState, Timestamp};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval},
};

use crate::{
    actors::manager::ManagerHandle,
    clock::Clock,
    reads::Reads,
    store::{Page, StoreError, StoreReader, StoredTask, TaskFilter, TimeRange, UsageQuery},
};

/// How far back.
const SPAN: Duration = Duration::from_secs(3_600);
/// Tasks read in a look: about a quarter of a second.
const TASKS_MAX: usize = 5_000;
/// Tasks read at a time: some milliseconds, then others have their turn with the connection.
const PAGE_TASKS: u32 = 250;
/// How far back measurements of the fleet are put into memory after a start: as far as it keeps them.
const RESTORED: Duration = Duration::from_secs(3 * 86_400);
/// Minutes of three days, and some.
const RESTORED_ROWS_MAX: usize = 5_000;

/// What is needed to look back. Clones share it.
#[derive(Clone)]
pub struct Hindsight {
    /// The store, by a thread that nobody else asks.
    pub reads: Reads,
    /// Whom to tell.
    pub manager: ManagerHandle,
    /// The time.
    pub clock: Clock,
    /// The strategy in force.
    pub strategy: Arc<Mutex<StrategyConfig>>,
    /// Between two looks.
    pub interval: Duration,
}

impl Hindsight {
    /// Looks back again and again, until it is dropped.
    pub async fn run(self) {
        if let Err(error) = self.restore().await {
            tracing::debug!(%error, "measurements of earlier days are not in memory; trends begin anew");
        }
        let mut rounds = interval(self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when there is nothing new to see.
        rounds.tick().await;
        loop {
            rounds.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "recent history was not looked at; the next round tries again");
            }
        }
    }

    /// Puts what the store has of the fleet's last days into memory.
    async fn restore(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for metric in Metric::ALL {
            let query = UsageQuery {
                subject: "fleet".to_owned(),
                metric: metric.name().to_owned(),
                range: TimeRange { from: now.minus(RESTORED), before: now },
                step: Duration::ZERO,
                limit: RESTORED_ROWS_MAX,
            };
            let rows = self.reads.ask(move |store| store.usage(&query)).await?;
            if !rows.is_empty() {
                self.manager.ask(move |manager, _, _| manager.insight.restore(metric, &rows)).await?;
            }
        }
        // What was remembered may be advice already.
        self.manager.ask(|manager, _, _| manager.advisor.look_soon()).await
    }

    /// Looks back once.
    ///
    /// # Errors
    /// If the store cannot be read, or the manager does not answer.
    pub async fn look(&self) -> Result<(), Error> {
        let from = self.clock.now().minus(SPAN);
        let strategy = self.strategy.lock().await.clone();
        let findings = self.reads.ask(move |store| Ok(found(past(store, from)?, &strategy))).await?;
        let told = self.manager.ask(move |manager, now, out| {
            if !findings.is_empty() {
                manager.advisor.found(now, findings, out);
            }
            // What is measured is looked at at the same time.
            manager.advisor.look_soon();
        });
        told.await
    }
}

/// The newest tasks that succeeded of those accepted since then, with what their last attempts used.
fn past(store: &dyn StoreReader, from: Timestamp) -> Result<Vec<(PastTask, Recorded)>, StoreError> {
    let filter = TaskFilter { states: vec![TaskState::Succeeded], accepted_from: Some(from), ..TaskFilter::default() };
    let (mut tasks, mut older_than) = (Vec::with_capacity(TASKS_MAX), None);
    while tasks.len() < TASKS_MAX {
        let page = store.list(&filter, Page { older_than, size: PAGE_TASKS })?;
        for task in page.tasks {
            tasks.extend(past_task(store, task)?);
        }
        older_than = page.next;
        if older_than.is_none() {
            break;
        }
    }
    Ok(tasks)
}

/// What the tasks tell. The replay wants them in the order of their submission, from the first one on.
fn found(tasks: Vec<(PastTask, Recorded)>, strategy: &StrategyConfig) -> Vec<Finding> {
    let (tasks, mut recorded): (Vec<PastTask>, Vec<Recorded>) = tasks.into_iter().unzip();
    recorded.sort_by_key(|task| task.submitted_at);
    let first = recorded.first().map_or(Duration::ZERO, |task| task.submitted_at);
    recorded.iter_mut().for_each(|task| task.submitted_at -= first);
    let mut findings = history::findings(&tasks);
    findings.extend(strategy::finding(recorded, strategy));
    findings
}

/// `None`: of its last attempt the end is not known.
fn past_task(store: &dyn StoreReader, task: StoredTask) -> Result<Option<(PastTask, Recorded)>, StoreError> {
    let last = store.attempts(task.id)?.pop();
    let Some((agent, end)) = last.and_then(|last| Some((last.agent, last.ended?))) else { return Ok(None) };
    let usage = end.usage.unwrap_or_default();
    let requirements = &task.spec.requirements;
    let past = PastTask {
        kind: task.spec.kind.clone(),
        requested: requirements.resources.clone(),
        accepted_at: task.accepted_at,
        run: end.run,
        cpu: (!usage.cpu.is_zero()).then_some(usage.cpu),
        memory_max_bytes: (usage.memory_max_bytes > 0).then_some(usage.memory_max_bytes),
    };
    let recorded = Recorded {
        // From the epoch; put right once all are known.
        submitted_at: task.accepted_at.since(Timestamp::ZERO),
        tenant: task.spec.tenant.clone(),
        priority: task.spec.priority,
        kind: task.spec.kind.clone(),
        service: end.run,
        agent: Some(agent),
        queued: task.finished_at.map(|at| at.since(task.accepted_at).saturating_sub(end.run)),
    };
    Ok(Some((past, recorded)))
}
