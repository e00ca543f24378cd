//! Budgets with real processes: what is spent and reserved never passes a cap, whatever dies meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;

use evenkeel_proto::v1::{
    self, AttemptEnd, Budget, BudgetAction, FailureClass, ListBudgetsRequest, PutBudgetRequest, SubmitRequest,
    TaskBudget, TaskSpec, TaskState, resource_service_client::ResourceServiceClient,
};
use support::{Clients, Coordinator, assert_succeeded, shell_task, until};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// Millionths in a unit.
const UNIT: u64 = 1_000_000;
/// What an attempt may cost, and does cost, in millionths.
const MAX: u64 = 50_000;
const COST: u64 = 40_000;
const TASKS: usize = 1_000;
/// Tasks of one submission; all submissions are made at once.
const PER_SUBMISSION: usize = 20;

type Resources = ResourceServiceClient<Channel>;

fn resources(coordinator: &Coordinator) -> Resources {
    ResourceServiceClient::new(Endpoint::from_shared(coordinator.url()).unwrap().connect_lazy())
}

fn micros(units: f64) -> u64 {
    (units * UNIT as f64).round() as u64
}

fn budget(name: &str, tenant: &str, cap: f64) -> Budget {
    Budget { name: name.into(), tenant: tenant.into(), unit: "usd".into(), cap, ..Budget::default() }
}

async fn put(resources: &mut Resources, budget: Budget) -> Budget {
    let request = PutBudgetRequest { budget: Some(budget), reason: "the test says so".into() };
    resources.put_budget(request).await.unwrap().into_inner()
}

async fn get(resources: &mut Resources, name: &str) -> v1::BudgetUse {
    let budgets = resources.list_budgets(ListBudgetsRequest::default()).await.unwrap().into_inner().budgets;
    budgets.into_iter().find(|budget| budget.name == name).unwrap().r#use.unwrap()
}

fn max_usd(micros: u64) -> Option<TaskBudget> {
    Some(TaskBudget { max_micros: [("usd".to_owned(), micros)].into(), ..TaskBudget::default() })
}

/// Costs [`COST`] with each attempt; every fifth one's first attempt dies after that.
fn costly(number: usize) -> TaskSpec {
    let report = format!("echo cost usd 0.0{} >> $EVENKEEL_REPORT", COST / 10_000);
    let dies = if number.is_multiple_of(5) { "; [ $EVENKEEL_ATTEMPT != 1 ] || kill -9 $$" } else { "" };
    TaskSpec {
        idempotency_key: format!("task-{number}"),
        tenant: if number.is_multiple_of(2) { "acme" } else { "other" }.into(),
        budget: max_usd(MAX),
        ..shell_task(&format!("{report}{dies}"))
    }
}

/// Submits until it is accepted: a coordinator that is gone comes back, and knows the keys.
async fn submit(clients: Clients, tasks: Vec<TaskSpec>) -> Vec<String> {
    let accepted = until("the submission is accepted", || {
        let (mut clients, tasks) = (clients.tasks.clone(), tasks.clone());
        async move { clients.submit(SubmitRequest { tasks }).await.ok() }
    });
    let results = accepted.await.into_inner().results;
    results.into_iter().map(|result| result.task_id).collect()
}

/// Looks at all budgets all the time, one look after the other: none is ever over its cap.
struct Watch {
    task: tokio::task::JoinHandle<()>,
    looks: watch::Receiver<u32>,
}

impl Watch {
    fn start(mut resources: Resources) -> Self {
        let (looked, looks) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let Ok(budgets) = resources.list_budgets(ListBudgetsRequest::default()).await else {
                    // While the coordinator is gone there is nothing to see.
                    tokio::task::yield_now().await;
                    continue;
                };
                for budget in budgets.into_inner().budgets {
                    let used = budget.r#use.unwrap();
                    let sum = micros(used.spent) + micros(used.reserved);
                    assert!(sum <= micros(budget.cap), "{} of {} {}: {used:?}", sum, budget.cap, budget.name);
                    assert!(used.overrun == 0.0, "{}: {used:?}", budget.name);
                }
                looked.send_modify(|looks| *looks += 1);
            }
        });
        Self { task, looks }
    }

    /// Waits until it has looked at what is now.
    async fn looks(&mut self) {
        // The next look may have begun before.
        let wanted = *self.looks.borrow() + 2;
        let looked = self.looks.wait_for(|looks| *looks >= wanted).await.map(|looks| *looks);
        if looked.is_err() {
            let error = (&mut self.task).await.unwrap_err();
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the attempts of these tasks cost by tenant, as recorded. One whose agent was lost may have spent all it could.
async fn recorded(clients: &mut Clients, ids: &[String]) -> (BTreeMap<String, u64>, usize, usize) {
    let (mut sums, mut attempts, mut lost) = (BTreeMap::<String, u64>::new(), 0, 0);
    for id in ids {
        let task = clients.get(id).await;
        for attempt in &task.attempts {
            let usage = attempt.usage.clone().unwrap_or_default();
            let reported = usage.cost_micros.get("usd").copied().unwrap_or(0);
            let cost = if attempt.end() == AttemptEnd::AgentLost { reported.max(MAX) } else { reported };
            *sums.entry(task.spec.as_ref().unwrap().tenant.clone()).or_default() += cost;
            attempts += 1;
            lost += usize::from(attempt.end() == AttemptEnd::AgentLost);
        }
    }
    (sums, attempts, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_budget_is_passed_while_agents_and_the_coordinator_die() {
    let mut coordinator = Coordinator::start().await;
    let (mut clients, mut resources) = (coordinator.clients(), resources(&coordinator));
    put(&mut resources, budget("all", "", 20.0)).await;
    put(&mut resources, budget("acme", "acme", 8.0)).await;
    let mut doomed = coordinator.agent("doomed", 8, &["--allow", "sh"]).await;
    let _survivors =
        [coordinator.agent("a", 8, &["--allow", "sh"]).await, coordinator.agent("b", 8, &["--allow", "sh"]).await];
    let mut watch = Watch::start(resources.clone());

    let tasks: Vec<TaskSpec> = (0..TASKS).map(costly).collect();
    let submissions: Vec<_> =
        tasks.chunks(PER_SUBMISSION).map(|tasks| tokio::spawn(submit(coordinator.clients(), tasks.to_vec()))).collect();
    let spent = |units: f64| {
        let resources = resources.clone();
        async move {
            until(&format!("{units} are spent"), || {
                let mut resources = resources.clone();
                async move { (get(&mut resources, "all").await.spent >= units).then_some(()) }
            })
            .await;
        }
    };
    spent(2.0).await;
    doomed.kill();
    watch.looks().await;
    spent(5.0).await;
    coordinator.kill();
    coordinator.restart().await;
    watch.looks().await;
    let mut ids = Vec::new();
    for submission in submissions {
        ids.extend(submission.await.unwrap());
    }
    assert_eq!(ids.len(), TASKS);

    // What is left of the money is less than a task may cost; all others wait.
    let held = until("the budgets are used up and the rest waits", || {
        let (mut clients, mut resources) = (clients.clone(), resources.clone());
        async move {
            let used = get(&mut resources, "all").await;
            let status = clients.status().await;
            let runs = status.tasks_running + status.tasks_assigned + status.tasks_retry_wait > 0;
            (!runs && used.reserved == 0.0 && used.waiting > 0).then_some(used)
        }
    })
    .await;
    assert!(micros(held.spent) + MAX > 20 * UNIT, "there was money for another: {held:?}");
    watch.looks().await;

    // More money, and they go.
    put(&mut resources, budget("acme", "acme", 100.0)).await;
    put(&mut resources, budget("all", "", 100.0)).await;
    assert_succeeded(&clients.wait(&ids).await);

    let (sums, attempts, lost) = recorded(&mut clients, &ids).await;
    for (name, sum) in [("all", sums.values().sum()), ("acme", sums["acme"])] {
        let used = get(&mut resources, name).await;
        assert_eq!((micros(used.spent), used.reserved), (sum, 0.0), "{name}: what is spent is what was recorded");
    }
    watch.looks().await;
    assert!(attempts >= TASKS + TASKS / 5, "{attempts} attempts");
    let looks = *watch.looks.borrow();
    eprintln!("{TASKS} tasks, {attempts} attempts, {lost} lost, {looks} looks, {sums:?} spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_over_its_own_maximum_is_ended_while_it_runs() {
    let coordinator = Coordinator::start().await;
    let (mut clients, mut resources) = (coordinator.clients(), resources(&coordinator));
    put(&mut resources, budget("all", "", 5.0)).await;
    let _agent = coordinator.agent("a", 1, &["--allow", "sh"]).await;

    let script = "echo cost usd 0.5 >> $EVENKEEL_REPORT; echo cost usd 1 >> $EVENKEEL_REPORT; sleep 600";
    let id = clients.submit_one(TaskSpec { budget: max_usd(UNIT), ..shell_task(script) }).await;
    let task = clients.reach(&id, TaskState::Failed).await;
    let failure = task.failure.clone().unwrap();
    assert_eq!(failure.class(), FailureClass::BudgetExceeded, "{failure:?}");
    assert!(failure.message.contains("it has cost 1.5 usd so far, of at most 1"), "{failure:?}");
    assert_eq!(task.attempts.len(), 1, "no other attempt is made");
    let used = get(&mut resources, "all").await;
    assert_eq!((used.spent, used.overrun, used.reserved), (1.5, 0.5, 0.0));
    until("the agent has stopped it", || {
        let mut clients = clients.clone();
        async move { clients.agent("a").await.filter(|agent| agent.running_tasks == 0) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_over_its_budget_of_resources_is_ended_and_not_run_again() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _agent = coordinator.agent("a", 1, &["--allow", "sh"]).await;
    let none = TaskBudget::default;
    for (budget, script, message) in [
        (TaskBudget { cpu_max_ms: 200, ..none() }, "while :; do :; done", "its budget allows 200 ms"),
        (TaskBudget { wall_max_ms: 200, ..none() }, "sleep 600", "the 200 ms of wall time"),
        (
            TaskBudget { memory_max_bytes: 16 << 20, ..none() },
            "(head -c 99999999 /dev/zero; exec sleep 600) | tail",
            "memory",
        ),
    ] {
        let id = clients.submit_one(TaskSpec { budget: Some(budget.clone()), ..shell_task(script) }).await;
        let task = clients.reach(&id, TaskState::Failed).await;
        let failure = task.failure.unwrap();
        assert_eq!(failure.class(), FailureClass::BudgetExceeded, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
        assert_eq!(task.attempts.len(), 1);
        assert!(budget.cpu_max_ms == 0 || task.attempts[0].usage.as_ref().unwrap().cpu_ms >= 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_refuses_answers_submissions_and_one_that_holds_takes_them() {
    let coordinator = Coordinator::start().await;
    let (mut clients, mut resources) = (coordinator.clients(), resources(&coordinator));
    let _agent = coordinator.agent("a", 1, &["--allow", "sh"]).await;
    let refuses = Budget { action: BudgetAction::Refuse.into(), ..budget("strict", "strict", 0.06) };
    put(&mut resources, refuses).await;
    let of = |tenant: &str, number| TaskSpec { tenant: tenant.into(), ..costly(number) };
    let first = clients.submit_one(of("strict", 1)).await;
    assert_succeeded(&clients.wait(&[first]).await);
    let tasks = vec![of("strict", 3), of("lenient", 3)];
    let answer = clients.tasks.submit(SubmitRequest { tasks }).await.unwrap().into_inner();
    let refusal = answer.results[0].error.clone().unwrap();
    assert_eq!(tonic::Code::from_i32(refusal.code), tonic::Code::ResourceExhausted, "{refusal:?}");
    assert!(refusal.message.contains("budget `strict` has 0.02 of 0.06 usd left"), "{refusal:?}");
    assert_eq!(answer.results[1].error, None);
}
