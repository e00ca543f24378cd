//! What clients ask of the coordinator, as the real gateway treats it: read off the wire, checked for room, its keys looked
//! up in the store before the engine sees it, and answered when the engine's answer is durable.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use evenkeel_coordinator::services::submission::read;
use evenkeel_core::engine::{
    AdminCommand, Event, FinishedTask, NewTask, Reply, RequestId, StoredKey, limits::RETRY_AFTER,
};
use evenkeel_proto::v1;
use evenkeel_shared::{AgentId, Delivery, Error, StrategyConfig, TaskId, TaskState};
use prost::Message as _;

use super::{
    coordinator::{Core, Mail},
    redrives::RedriveTry,
    world::{Answer, What, World},
};

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request {
    /// The orders that it is about, each with the number of its try.
    pub orders: Vec<(usize, u32)>,
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// To accept tasks, one for each order, encoded.
    Submit(Vec<Bytes>),
    /// The same, once they are read.
    Keyed(Vec<NewTask>),
    /// To call a task off.
    Cancel(TaskId),
    /// How a task stands, and to be told when it is over.
    State(TaskId),
    /// To drive a task again.
    Redrive(RedriveTry, TaskId),
}

/// A request that the engine has and nobody has been answered to.
#[derive(Debug)]
pub(super) enum Pending {
    Submission(Vec<(usize, u32)>),
    Cancellation(usize, TaskId),
    Redrive(RedriveTry, TaskId),
    Operator,
}

impl World {
    pub(super) fn request_arrives(&mut self, request: Request) {
        if !self.coordinator.is_up() {
            return self.break_orders(&request.orders);
        }
        match request.ask {
            Ask::Submit(specs) => self.submission_arrives(request.orders, specs),
            Ask::Keyed(tasks) => self.submit(request.orders, tasks),
            Ask::Redrive(asked, of) => self.redrive_arrives(asked, of),
            Ask::State(task) => self.state_asked(request.orders[0].0, task),
            Ask::Cancel(task) => {
                if self.has_room() {
                    let pending = Pending::Cancellation(request.orders[0].0, task);
                    self.request(pending, |request| Event::Cancel { request, task, reason: String::new() });
                }
            }
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let requests_max = self.plan.requests_max;
        !self.store_is_full() && self.coordinator.core.as_ref().is_some_and(|core| core.mailbox.len() < requests_max)
    }

    fn submission_arrives(&mut self, orders: Vec<(usize, u32)>, specs: Vec<Bytes>) {
        if !self.has_room() {
            let error = Error::exhausted("there is no room", RETRY_AFTER);
            return orders.iter().for_each(|&order| self.answer(order, Err(error.clone())));
        }
        let now = self.engine_time();
        let (mut kept, mut tasks) = (Vec::new(), Vec::new());
        for (order, spec) in orders.into_iter().zip(specs) {
            let task = v1::TaskSpec::decode(spec).map_err(|error| error.to_string());
            let task = task.map(|wire| read(wire, now));
            match task {
                Ok(Ok(task)) => {
                    kept.push(order);
                    tasks.push(task);
                }
                Ok(Err(violation)) => self.answer(order, Err(violation.into())),
                Err(error) => self.breach("frame-decodes", None, error),
            }
        }
        if tasks.is_empty() {
            return;
        }
        let mut keyed = false;
        for task in &mut tasks {
            let key = &task.spec.idempotency_key;
            if key.is_empty() || self.plan.sabotage.no_key_look_up {
                continue;
            }
            keyed = true;
            // The answer may be as old as the question.
            let kept = |core: &Core| core.ended_keys.get(&(task.spec.tenant.clone(), key.clone())).copied();
            let stored = self.disk.store.by_key(&task.spec.tenant, key);
            task.stored_key = match stored.or_else(|| self.coordinator.core.as_deref().and_then(kept)) {
                Some((task, fingerprint)) => StoredKey::Present { task, fingerprint },
                None => StoredKey::Absent { asked_at: now },
            };
        }
        if !keyed {
            return self.submit(kept, tasks);
        }
        let life = self.coordinator.life;
        let after = self.disk.read_time(self.now, &mut self.draws.coordinator);
        let request = Box::new(Request { orders: kept, ask: Ask::Keyed(tasks) });
        self.later(after, What::KeysLookedUp { life, request });
    }

    pub(super) fn keys_looked_up(&mut self, life: u64, request: Request) {
        if self.core(life).is_none() {
            return self.break_orders(&request.orders);
        }
        self.request_arrives(request);
    }

    fn submit(&mut self, orders: Vec<(usize, u32)>, tasks: Vec<NewTask>) {
        if !self.has_room() {
            let error = Error::exhausted("there is no room", RETRY_AFTER);
            return orders.iter().for_each(|&order| self.answer(order, Err(error.clone())));
        }
        self.request(Pending::Submission(orders), |request| Event::Submit { request, tasks });
    }

    pub(super) fn request(&mut self, pending: Pending, event: impl FnOnce(RequestId) -> Event) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        core.last_request += 1;
        let id = RequestId(core.last_request);
        core.requests.insert(id, pending);
        self.feed(Mail { events: vec![event(id)], from: None });
    }

    /// The operator wants something of an agent.
    pub(super) fn command(&mut self, agent: AgentId, command: AdminCommand) {
        let reason = "the operator wants it so".to_owned();
        self.request(Pending::Operator, |request| Event::Admin { request, agent, command, reason });
    }

    /// The operator wants another strategy.
    pub(super) fn set_strategy(&mut self, strategy: StrategyConfig) {
        self.request(Pending::Operator, |request| Event::SetStrategy { request, strategy });
    }

    /// What the engine answered is durable.
    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        let pending = self.coordinator.core.as_mut().and_then(|core| core.requests.remove(&request));
        match (pending, reply) {
            (Some(Pending::Submission(orders)), Reply::Submitted(answers)) => {
                for (order, answer) in orders.into_iter().zip(answers) {
                    self.answer(order, answer);
                }
            }
            (Some(Pending::Redrive(asked, of)), Reply::Submitted(answers)) => {
                if let Some(answer) = answers.into_iter().next() {
                    self.redrive_submitted(asked, of, answer);
                }
            }
            (Some(Pending::Cancellation(order, task)), Reply::Cancelled(Ok(state))) => {
                self.tell_client(order, Answer::State { task, state, output: None });
            }
            _ => {}
        }
    }

    fn answer(&mut self, (order, asked): (usize, u32), answer: Result<evenkeel_core::engine::Submitted, Error>) {
        self.tell_client(order, Answer::Submitted { asked, answer });
    }

    /// Sends something to a client, which gets it unless its network is cut.
    pub(super) fn tell_client(&mut self, order: usize, answer: Answer) {
        if self.clients.cut_until > self.now {
            return;
        }
        let after = self.plan.network_delay.draw(&mut self.draws.network);
        self.later(after, What::Answer { order, answer });
    }

    fn state_asked(&mut self, order: usize, task: TaskId) {
        let stored = self.disk.store.task(task);
        let end = stored.and_then(|row| row.end.as_ref()).map(|end| (end.state, end.output.clone()));
        let stored_state = stored.map(evenkeel_core::testing::StoredTask::state);
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let end = end.or_else(|| core.ended.get(&task).map(|ended| (ended.state, ended.output.clone())));
        let live = core.engine.task_is_live(task);
        let answer = match (end, stored_state) {
            (Some((state, output)), _) => {
                Answer::State { task, state, output: (state == TaskState::Succeeded).then_some(output) }
            }
            (None, Some(state)) => {
                core.waiters.entry(task).or_default().push(order);
                Answer::State { task, state, output: None }
            }
            (None, None) if live => {
                core.waiters.entry(task).or_default().push(order);
                Answer::State { task, state: TaskState::Queued, output: None }
            }
            (None, None) => Answer::NoSuchTask,
        };
        self.tell_client(order, answer);
    }

    /// A task is over, and that is durable.
    pub(super) fn finished(&mut self, task: &Arc<FinishedTask>) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if task.spec.delivery == Delivery::Ephemeral {
            core.ended.insert(task.id, Arc::clone(task));
            let key = (task.spec.tenant.clone(), task.spec.idempotency_key.clone());
            core.ended_keys.insert(key, (task.id, task.fingerprint));
        }
        let waiters = core.waiters.remove(&task.id).unwrap_or_default();
        for order in waiters {
            let output = (task.state == TaskState::Succeeded).then(|| task.output.clone());
            self.tell_client(order, Answer::State { task: task.id, state: task.state, output });
        }
    }

    /// The process is gone: who waited for an answer hears that the connection broke.
    pub(super) fn break_requests(&mut self, requests: BTreeMap<RequestId, Pending>) {
        for pending in requests.into_values() {
            if let Pending::Submission(orders) = pending {
                self.break_orders(&orders);
            }
        }
    }

    /// Whoever tried to submit is told that the connection broke; a look is made again anyway.
    fn break_orders(&mut self, orders: &[(usize, u32)]) {
        for &(order, asked) in orders.iter().filter(|(_, asked)| *asked > 0) {
            self.tell_client(order, Answer::Broken { asked });
        }
    }
}
