//! Clients that have tasks driven again which did not succeed, and the coordinator that does it.
//!
//! A redrive has no idempotency key, so a client that was not answered and asks again relies on two things: within one
//! process a task is driven again by one request at a time, and the store knows what was driven again before. Both are
//! here as the real service has them, and the decision itself is the service's own function.

use std::time::Duration;

use evenkeel_coordinator::services::redrive::again;
use evenkeel_core::engine::{Event, NewTask, Submitted, limits::RETRY_AFTER};
use evenkeel_shared::{Code, Delivery, Error, TaskId, TaskState, Timestamp};

use super::{
    clients::Order,
    coordinator::{Ask, Pending, Request},
    plan::exponential,
    trace::About,
    world::{Answer, What, World},
};
use crate::history::{Submission, SubmissionOutcome, hash};

/// Tries before a client gives up.
const TRIES_MAX: u32 = 6;

/// A task that a client wants driven again.
#[derive(Debug)]
pub(super) struct Redrive {
    pub of: TaskId,
    order: usize,
    tries: u32,
    asked_at: Timestamp,
    done: bool,
}

/// A try at a redrive, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedriveTry {
    redrive: usize,
    asked: u32,
}

impl World {
    /// A client has seen its task so. Most of those who have it driven again have a reason; a few ask for what they must not get.
    pub(super) fn perhaps_redrive(&mut self, order: usize, of: TaskId, state: TaskState) {
        let failed = state.is_terminal() && state != TaskState::Succeeded;
        let chance = if failed { self.plan.redrives } else { self.plan.redrives / 16.0 };
        if self.calm || self.draws.redrives.f64() >= chance {
            return;
        }
        let redrive = self.clients.redrives.len();
        self.clients.redrives.push(Redrive { of, order, tries: 0, asked_at: self.now, done: false });
        let after = exponential(Duration::from_secs(5), &mut self.draws.redrives);
        self.later(after, What::Redrive(redrive));
    }

    /// The client asks, now and then twice at once.
    pub(super) fn ask_redrive(&mut self, redrive: usize) {
        let row = &mut self.clients.redrives[redrive];
        if self.calm || row.done {
            return;
        }
        row.tries += 1;
        row.asked_at = self.now;
        let (of, asked) = (row.of, RedriveTry { redrive, asked: row.tries });
        self.note(About::Task(of), || format!("client has {of} driven again, try {}", asked.asked));
        let times = if self.draws.redrives.u8(0..4) == 0 { 2 } else { 1 };
        for _ in 0..times {
            self.send(Request { orders: Vec::new(), ask: Ask::Redrive(asked, of) });
        }
        self.later(self.plan.client_timeout, What::RedriveTimesOut(asked));
    }

    pub(super) fn redrive_times_out(&mut self, asked: RedriveTry) {
        let row = &mut self.clients.redrives[asked.redrive];
        if !row.done && row.tries == asked.asked {
            self.redrive_again_later(asked.redrive);
        }
    }

    fn redrive_again_later(&mut self, redrive: usize) {
        let row = &mut self.clients.redrives[redrive];
        row.done = row.tries >= TRIES_MAX;
        let after = exponential(Duration::from_secs(2), &mut self.draws.redrives);
        self.later(after, What::Redrive(redrive));
    }

    /// The coordinator is asked.
    pub(super) fn redrive_arrives(&mut self, asked: RedriveTry, of: TaskId) {
        if !self.has_room() {
            return self.answer_redrive(asked, Err(no_room()));
        }
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if !core.redrives.insert(of) {
            let error = Error::new(Code::Aborted, "the task is being driven again at this moment");
            return self.answer_redrive(asked, Err(error));
        }
        match self.prepare_redrive(of) {
            Err(error) => {
                self.end_redrive(of);
                self.answer_redrive(asked, Err(error));
            }
            Ok(task) => {
                // The answer may be as old as the question.
                let life = self.coordinator.life;
                let after = self.disk.read_time(self.now, &mut self.draws.redrives);
                self.later(after, What::RedriveRead { life, asked, of, task: Box::new(task) });
            }
        }
    }

    fn prepare_redrive(&self, of: TaskId) -> Result<NewTask, Error> {
        let sabotage = self.plan.sabotage;
        let in_memory = |core: &super::coordinator::Core| core.engine.task_is_live(of) || core.ended.contains_key(&of);
        if self.coordinator.core.as_deref().is_some_and(in_memory) && !sabotage.redrives_anything {
            return Err(Error::new(Code::FailedPrecondition, "the task is live, or was ephemeral"));
        }
        let row = self.disk.store.task(of).ok_or_else(|| Error::not_found("task", of.to_string()))?;
        let state = if sabotage.redrives_anything { TaskState::Failed } else { row.state() };
        let redriven_as = self.disk.redriven_as(of).filter(|_| !sabotage.no_redrive_look_up);
        again(of, state, &row.task.spec, row.task.payload.clone(), redriven_as)
    }

    pub(super) fn redrive_read(&mut self, life: u64, asked: RedriveTry, of: TaskId, task: NewTask) {
        if self.core(life).is_none() {
            return;
        }
        if !self.has_room() {
            self.end_redrive(of);
            return self.answer_redrive(asked, Err(no_room()));
        }
        let tasks = vec![task];
        self.request(Pending::Redrive(asked, of), |request| Event::Submit { request, tasks });
    }

    /// What the engine answered is durable.
    pub(super) fn redrive_submitted(&mut self, asked: RedriveTry, of: TaskId, answer: Result<Submitted, Error>) {
        self.end_redrive(of);
        self.answer_redrive(asked, answer.map(|submitted| submitted.task));
    }

    /// The next request may drive it again.
    fn end_redrive(&mut self, of: TaskId) {
        if let Some(core) = self.coordinator.core.as_mut() {
            core.redrives.remove(&of);
        }
    }

    fn answer_redrive(&mut self, asked: RedriveTry, answer: Result<TaskId, Error>) {
        let order = self.clients.redrives[asked.redrive].order;
        self.tell_client(order, Answer::Redriven { asked, answer });
    }

    /// The client hears what came of it.
    pub(super) fn redriven(&mut self, asked: RedriveTry, answer: Result<TaskId, Error>) {
        let row = &mut self.clients.redrives[asked.redrive];
        let (of, current) = (row.of, !row.done && row.tries == asked.asked);
        let words = match &answer {
            Ok(task) => format!("it is {task}"),
            Err(error) => format!("refused: {error}"),
        };
        self.note(About::Task(of), || format!("client hears of driving {of} again, try {}: {words}", asked.asked));
        match answer {
            // An answer that comes after the client's patience is one all the same.
            Ok(task) => self.follow(asked.redrive, task),
            Err(error) if !current || !matches!(error.code, Code::ResourceExhausted | Code::Aborted) => {
                self.clients.redrives[asked.redrive].done |= current;
            }
            Err(_) => self.redrive_again_later(asked.redrive),
        }
    }

    /// The client was told of a new task: it has to be there, and the client wants to see its end.
    fn follow(&mut self, redrive: usize, task: TaskId) {
        let row = &mut self.clients.redrives[redrive];
        row.done = true;
        let (asked_at, followed) = (row.asked_at, Order::following(&self.clients.orders[row.order], task, self.now));
        self.history.submissions.push(Submission {
            key: String::new(),
            content: hash(task.to_string().as_bytes()),
            delivery: Delivery::Durable,
            asked_at,
            outcome: SubmissionOutcome::Acknowledged { task, duplicate: false },
        });
        let order = self.clients.orders.len();
        self.clients.orders.push(followed);
        let after = exponential(Duration::from_secs(1), &mut self.draws.redrives);
        self.later(after, What::Look(order));
    }
}

fn no_room() -> Error {
    Error::exhausted("there is no room", RETRY_AFTER)
}
