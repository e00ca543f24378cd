//! Who gets which task, and who waits for which result.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use super::messages::{Done, Results, Task, Tasks};

/// Tasks that wait for one agent's connection.
const AGENT_QUEUE_MAX: usize = 4_096;
/// Messages with results that wait for one client's connection.
const RESULTS_QUEUE_MAX: usize = 1_024;
/// Tasks in one message to an agent.
const FRAME_TASKS_MAX: usize = 512;
/// Results in one message to a client.
const FRAME_RESULTS_MAX: usize = 256;

/// The router.
#[derive(Default)]
pub struct Router {
    agents: RwLock<Vec<Arc<Agent>>>,
    next: AtomicUsize,
    numbers: AtomicU64,
}

/// One agent.
struct Agent {
    tasks: mpsc::Sender<Task>,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

/// Who wants a result.
enum Waiter {
    Call(oneshot::Sender<Done>),
    Stream(mpsc::Sender<Vec<Done>>),
}

impl Router {
    /// Gives a task to the next agent.
    async fn route(&self, mut task: Task, waiter: Waiter) -> Result<(), Status> {
        let agent = {
            let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let agent = agents.get(turn.checked_rem(agents.len()).unwrap_or(0)).cloned();
            agent.ok_or_else(|| Status::unavailable("there is no agent"))?
        };
        task.number = self.numbers.fetch_add(1, Ordering::Relaxed);
        task.id = format!("{:036}", task.number);
        agent.waiting().insert(task.number, waiter);
        agent.tasks.send(task).await.map_err(|_| Status::unavailable("the agent is gone"))
    }

    /// Has a task done.
    pub async fn execute(&self, task: Task) -> Result<Done, Status> {
        let (waiter, done) = oneshot::channel();
        self.route(task, Waiter::Call(waiter)).await?;
        done.await.map_err(|_| Status::unavailable("the agent is gone"))
    }

    /// Has all tasks of a stream done; the results come as they are there.
    pub fn submit(self: Arc<Self>, mut tasks: Streaming<Tasks>) -> impl Stream<Item = Result<Results, Status>> {
        let (waiter, results) = mpsc::channel(RESULTS_QUEUE_MAX);
        tokio::spawn(async move {
            while let Ok(Some(batch)) = tasks.message().await {
                for task in batch.tasks {
                    if self.route(task, Waiter::Stream(waiter.clone())).await.is_err() {
                        return;
                    }
                }
            }
        });
        stream::unfold((results, Vec::new()), |(mut results, mut spare)| async move {
            if spare.is_empty() {
                spare = results.recv().await?;
            }
            while spare.len() < FRAME_RESULTS_MAX {
                let Ok(mut more) = results.try_recv() else { break };
                spare.append(&mut more);
            }
            Some((Ok(Results { done: mem::take(&mut spare) }), (results, spare)))
        })
    }

    /// Takes an agent in: its results are passed on, its tasks are the answer.
    pub fn agent(self: Arc<Self>, mut results: Streaming<Results>) -> impl Stream<Item = Result<Tasks, Status>> {
        let (sender, mut tasks) = mpsc::channel(AGENT_QUEUE_MAX);
        let agent = Arc::new(Agent { tasks: sender, waiting: Mutex::default() });
        let reader = Arc::clone(&agent);
        tokio::spawn(async move {
            // The empty message that says it is there.
            if !matches!(results.message().await, Ok(Some(_))) {
                return;
            }
            self.agents.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&reader));
            // The word that it is welcome.
            let _ = reader.tasks.send(Task::default()).await;
            while let Ok(Some(results)) = results.message().await {
                reader.pass_on(results.done).await;
            }
            let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
            agents.retain(|other| !Arc::ptr_eq(other, &reader));
        });
        stream::poll_fn(move |cx| {
            let mut frame = Vec::new();
            tasks
                .poll_recv_many(cx, &mut frame, FRAME_TASKS_MAX)
                .map(|count| (count > 0).then_some(Ok(Tasks { tasks: frame })))
        })
    }
}

impl Agent {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Results of one client next to each other go to it together.
    async fn pass_on(&self, results: Vec<Done>) {
        let waiters: Vec<_> = {
            let mut waiting = self.waiting();
            results.into_iter().filter_map(|done| Some((waiting.remove(&done.number)?, done))).collect()
        };
        let mut together: Option<(mpsc::Sender<Vec<Done>>, Vec<Done>)> = None;
        for (waiter, done) in waiters {
            match waiter {
                // Who has gone wants no result.
                Waiter::Call(waiter) => drop(waiter.send(done)),
                Waiter::Stream(waiter) => match &mut together {
                    Some((same, results)) if same.same_channel(&waiter) => results.push(done),
                    _ => {
                        if let Some((before, results)) = together.replace((waiter, vec![done])) {
                            let _ = before.send(results).await;
                        }
                    }
                },
            }
        }
        if let Some((waiter, results)) = together {
            let _ = waiter.send(results).await;
        }
    }
}
