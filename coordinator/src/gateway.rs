//! What the services ask of the coordinator: requests to the engine, and looks at what is known of a task.
//!
//! A service never touches the engine: it sends an event with a request's number and awaits the reply, which comes after
//! the commit. Looks go to the directory first and to the store for what is over.

use std::{collections::HashMap, sync::Arc, time::Duration};

use evenkeel_core::{
    engine::{
        AdminCommand, ControlCommand, Engine, Event, FinishedTask, NewTask, Put, Reply, RequestId, StoredKey, Submitted,
    },
    model::{Explanation, Notice, Record},
};
use evenkeel_shared::{AgentId, Code, Error, StrategyConfig, TaskId, TaskState, Tenant, Timestamp};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    clock::Clock,
    directory::{Directory, Known},
    intake::Intake,
    lifecycle::Lifecycle,
    pending::Pending,
    reads::Reads,
    store::StoredTask,
    telemetry::Traces,
    waiters::{ResultSink, Results, Waiters, Waiting},
};

/// Bytes of output in one answer: below the largest message, with room for the rest of it.
pub const ANSWER_BYTES_MAX: usize = 6 << 20;
/// Bytes of output held for one waiter that is about to answer.
pub const WAIT_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;
/// Tasks read from the store at a time: a few milliseconds of one of its connections.
const STORE_CHUNK: usize = 256;

/// The services' way to the coordinator. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    /// Into the engine's mailbox.
    pub intake: Intake,
    /// Requests that wait for their reply.
    pub pending: Pending,
    /// Live tasks.
    pub directory: Directory,
    /// Those who wait for tasks.
    pub waiters: Waiters,
    /// The store.
    pub reads: Reads,
    /// The time.
    pub clock: Clock,
    /// Whether work is taken.
    pub lifecycle: Lifecycle,
    /// Which tasks are traced.
    pub traces: Traces,
}

/// What was found of tasks that somebody waits for.
pub type Ended = HashMap<TaskId, Arc<FinishedTask>>;

impl Gateway {
    /// Submits tasks. Those that were accepted send their results to `results`, each once; of duplicates see
    /// [`Gateway::look`].
    ///
    /// # Errors
    /// If nothing was submitted: no room, or not ready. Each task has its own answer otherwise.
    pub async fn submit(
        &self,
        mut tasks: Vec<NewTask>,
        results: Option<ResultSink>,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        self.lifecycle.check_writable()?;
        let bytes = tasks.iter().map(|task| task.payload.len()).sum();
        let _room = self.intake.bytes_permit(bytes)?;
        self.look_up_keys(&mut tasks).await?;
        let reply = self.request(results, |request| Event::Submit { request, tasks }).await?;
        match reply {
            Reply::Submitted(answers) => Ok(answers),
            other => Err(unexpected(&other)),
        }
    }

    /// Looks the idempotency keys up, where there are any: in the store, and among the ephemeral tasks that are kept.
    async fn look_up_keys(&self, tasks: &mut [NewTask]) -> Result<(), Error> {
        let keyed = |task: &NewTask| !task.spec.idempotency_key.is_empty();
        let wanted: Vec<(Tenant, String)> = tasks
            .iter()
            .filter(|task| keyed(task))
            .map(|task| (task.spec.tenant.clone(), task.spec.idempotency_key.clone()))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // The time before the question: a task stored after it must be known to the engine.
        let asked_at = self.clock.now();
        let found = self.reads.ask(move |store| store.by_keys(&wanted)).await?;
        for (task, found) in tasks.iter_mut().filter(|task| keyed(task)).zip(found) {
            let spec = &task.spec;
            task.stored_key = match found.or_else(|| self.directory.by_key(&spec.tenant, &spec.idempotency_key)) {
                Some((task, fingerprint)) => StoredKey::Present { task, fingerprint },
                None => StoredKey::Absent { asked_at },
            };
        }
        Ok(())
    }

    /// Calls a task off. Answers its state after that.
    ///
    /// # Errors
    /// NOT_FOUND if nobody knows it, or as for every request.
    pub async fn cancel(&self, task: TaskId, reason: String) -> Result<TaskState, Error> {
        let reply = self.request(None, |request| Event::Cancel { request, task, reason }).await?;
        match reply {
            Reply::Cancelled(Err(error)) if error.code == Code::NotFound => self.ended_state(task).await,
            Reply::Cancelled(state) => state,
            other => Err(unexpected(&other)),
        }
    }

    /// The state of a task that the engine does not hold.
    async fn ended_state(&self, task: TaskId) -> Result<TaskState, Error> {
        let state = self.state(task).await?;
        if state.is_terminal() { Ok(state) } else { Err(Error::not_found("task", task.to_string())) }
    }

    /// The state of a task.
    ///
    /// # Errors
    /// NOT_FOUND if nobody knows it.
    pub async fn state(&self, task: TaskId) -> Result<TaskState, Error> {
        if let Some(known) = self.directory.get(task) {
            return Ok(known.state());
        }
        let stored = self.reads.ask(move |store| store.task(task)).await?;
        stored.map(|stored| stored.state).ok_or_else(|| self.unknown(task))
    }

    /// Tells what the operator wants of an agent.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such agent, or as for every request.
    pub async fn admin(&self, agent: AgentId, command: AdminCommand, reason: String) -> Result<(), Error> {
        self.done(|request| Event::Admin { request, agent, command, reason }).await
    }

    /// Changes the strategy.
    ///
    /// # Errors
    /// As for every request.
    pub async fn set_strategy(&self, strategy: StrategyConfig) -> Result<(), Error> {
        self.done(|request| Event::SetStrategy { request, strategy }).await
    }

    /// Neither the directory nor the store knows it.
    fn unknown(&self, task: TaskId) -> Error {
        self.directory.missed();
        Error::not_found("task", task.to_string())
    }

    async fn done(&self, event: impl FnOnce(RequestId) -> Event) -> Result<(), Error> {
        match self.request(None, event).await? {
            Reply::Done(done) => done,
            other => Err(unexpected(&other)),
        }
    }

    async fn request(
        &self,
        results: Option<ResultSink>,
        event: impl FnOnce(RequestId) -> Event,
    ) -> Result<Reply, Error> {
        self.lifecycle.check_writable()?;
        let mut request = self.pending.open(results);
        self.intake.send(event(request.id))?;
        tokio::select! {
            reply = request.reply() => reply.ok_or_else(Lifecycle::restarting),
            () = self.lifecycle.stuck() => Err(Lifecycle::outcome_unknown()),
            () = self.lifecycle.closed() => Err(Lifecycle::restarting()),
        }
    }

    /// Why a live task is where it is; `None` if it is not live.
    ///
    /// # Errors
    /// If there is no room for the question, or the coordinator is gone.
    pub async fn explain(&self, task: TaskId, candidates_max: usize) -> Result<Option<Explanation>, Error> {
        let (answer, answered) = oneshot::channel();
        self.intake.explain(task, candidates_max, answer)?;
        tokio::select! {
            answer = answered => answer.map_err(|_| Lifecycle::restarting()),
            // The engine answers questions on a full disk too, unless so much is held already that it has to wait.
            () = self.lifecycle.stuck() => Err(Lifecycle::store_full()),
        }
    }

    /// Looks at the engine between two batches of events. `at` must be short: everything else waits for it.
    ///
    /// # Errors
    /// If there is no room for the question, or the coordinator is gone.
    pub async fn look_at<T: Send + 'static>(
        &self,
        at: impl FnOnce(&Engine, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.intake.look(Box::new(move |engine, now| {
            // Who asked may have gone.
            let _ = answer.send(at(engine, now));
        }))?;
        tokio::select! {
            answer = answered => answer.map_err(|_| Lifecycle::restarting()),
            () = self.lifecycle.stuck() => Err(Lifecycle::store_full()),
        }
    }

    /// Changes who may use how much. Answered once it is stored and in force.
    ///
    /// # Errors
    /// What is wrong with the command, or as for every request.
    pub async fn control(&self, command: ControlCommand, reason: String) -> Result<(), Error> {
        match self.command(command, reason).await? {
            Reply::Done(_) | Reply::Put(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Puts something in force, and answers with what `show` makes of it as it stands then.
    ///
    /// # Errors
    /// As for [`Self::control`].
    pub async fn put<T>(
        &self,
        command: ControlCommand,
        reason: String,
        show: impl FnOnce(&Put) -> Option<T>,
    ) -> Result<T, Error> {
        let reply = self.command(command, reason).await?;
        let shown = if let Reply::Put(put) = &reply { show(put) } else { None };
        shown.ok_or_else(|| unexpected(&reply))
    }

    async fn command(&self, command: ControlCommand, reason: String) -> Result<Reply, Error> {
        let command = Box::new(command);
        match self.request(None, |request| Event::Control { request, command, reason }).await? {
            Reply::Done(Err(error)) => Err(error),
            reply => Ok(reply),
        }
    }

    /// Stores what the resource manager wants kept, and says its notices.
    ///
    /// # Errors
    /// As for every request.
    pub async fn keep(&self, records: Vec<Record>, notices: Vec<Notice>) -> Result<(), Error> {
        self.done(|request| Event::Keep { request, records, notices }).await
    }

    /// Waits until all the tasks (or any of them) are over, or the time is up, or the outputs fill an answer. Answers with
    /// those that are over.
    ///
    /// # Errors
    /// NOT_FOUND if nobody knows one of them; UNAVAILABLE if the process stops.
    pub async fn wait(&self, tasks: &[TaskId], any: bool, until: Option<Instant>) -> Result<Ended, Error> {
        let (sink, mut results) = self.waiters.open(tasks.len(), WAIT_BYTES_MAX);
        let overflow = results.overflow();
        // First registered, then looked for: no end falls between the two.
        let _waiting = Waiting::register(&self.waiters, sink, tasks);
        let mut ended = self.look(tasks).await?;
        let mut bytes: usize = ended.values().map(|task| task.output.len()).sum();
        let enough = |ended: &Ended, bytes| {
            ended.len() == tasks.len() || (any && !ended.is_empty()) || bytes >= ANSWER_BYTES_MAX
        };
        while !enough(&ended, bytes) {
            tokio::select! {
                biased;
                finished = results.next() => {
                    let Some(finished) = finished else { break };
                    bytes += finished.output.len();
                    ended.insert(finished.id, finished);
                }
                () = overflow.cancelled() => break,
                () = sleep_until(until) => break,
                () = self.lifecycle.closed() => return Err(Lifecycle::restarting()),
            }
        }
        Ok(ended)
    }

    /// Waits until the one task that was submitted with this sink is over. `None`: the time was up before.
    ///
    /// # Errors
    /// As for [`Gateway::wait`].
    pub async fn wait_for_one(
        &self,
        submitted: Submitted,
        (sink, mut results): (ResultSink, Results),
        until: Option<Instant>,
    ) -> Result<Option<Arc<FinishedTask>>, Error> {
        let task = submitted.task;
        // The dispatcher has registered it before anybody heard of the task.
        let mut waiting = Waiting::register(&self.waiters, sink, &[]);
        waiting.adopt(task);
        if submitted.duplicate {
            // It may have been over before.
            return Ok(self.wait(&[task], false, until).await?.remove(&task));
        }
        tokio::select! {
            biased;
            finished = results.next() => Ok(finished),
            () = sleep_until(until) => Ok(None),
            () = self.lifecycle.closed() => Err(Lifecycle::restarting()),
        }
    }

    /// Those of the tasks that are over, as far as their outputs fit into an answer.
    ///
    /// # Errors
    /// NOT_FOUND if nobody knows one of them.
    pub async fn look(&self, tasks: &[TaskId]) -> Result<Ended, Error> {
        let mut ended = Ended::new();
        let mut stored = Vec::new();
        for task in tasks {
            match self.directory.get(*task) {
                Some(Known::Live(_)) => {}
                Some(Known::Over(finished)) => drop(ended.insert(*task, finished)),
                None => stored.push(*task),
            }
        }
        let mut bytes: usize = ended.values().map(|task| task.output.len()).sum();
        for chunk in stored.chunks(STORE_CHUNK) {
            if bytes >= ANSWER_BYTES_MAX {
                break;
            }
            let ids = chunk.to_vec();
            let found = self
                .reads
                .ask(move |store| ids.iter().map(|id| store.task(*id)).collect::<Result<Vec<_>, _>>())
                .await?;
            for (id, found) in chunk.iter().zip(found) {
                let task = found.ok_or_else(|| self.unknown(*id))?;
                if let Some(finished) = over(task) {
                    bytes += finished.output.len();
                    ended.insert(*id, Arc::new(finished));
                }
            }
        }
        Ok(ended)
    }
}

/// A stored task that is over, as those who wait see it.
#[must_use]
pub fn over(task: StoredTask) -> Option<FinishedTask> {
    let finished_at = task.finished_at.filter(|_| task.state.is_terminal())?;
    Some(FinishedTask {
        id: task.id,
        spec: task.spec,
        fingerprint: task.fingerprint,
        state: task.state,
        output: task.output,
        failure: task.failure,
        attempts_made: task.attempts_made,
        crashes: task.crashes,
        agent: task.agent,
        accepted_at: task.accepted_at,
        finished_at,
    })
}

/// So long from now; `None`: for ever.
#[must_use]
pub fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| Instant::now() + timeout)
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn unexpected(reply: &Reply) -> Error {
    tracing::error!(?reply, "a request got a reply of another sort");
    Error::new(Code::Internal, "the engine gave a reply of another sort; this is a defect")
}
