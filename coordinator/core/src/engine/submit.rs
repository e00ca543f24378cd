//! Acceptance of tasks: keys, bounds, deadlines. What is refused here leaves no trace.

use std::sync::Arc;

use evenkeel_shared::{Code, Error, TaskId, TaskState, Violation};

use super::{
    Engine,
    effects::{AcceptedTask, Change, Effects, Message, Reply, Submitted},
    event::{NewTask, RequestId, StoredKey},
    limits,
    tables::{Keyed, Task},
};
use crate::{ix::TaskIx, model::TaskEventKind, routing};

impl Engine {
    pub(super) fn submit(&mut self, request: RequestId, tasks: Vec<NewTask>, out: &mut Effects) {
        let mut accepted = Vec::with_capacity(tasks.len());
        let answers = tasks
            .into_iter()
            .map(|task| {
                let spec = task.spec.clone();
                let answer = self.accept(task, &mut accepted, out);
                match &answer {
                    Ok(submitted) if submitted.duplicate => self.counters.duplicates += 1,
                    Ok(_) => self.counters.accepted += 1,
                    Err(_) => {
                        self.counters.refused += 1;
                        self.count_refusal(&spec);
                    }
                }
                answer
            })
            .collect();
        // The answer goes before what follows from it: a client knows its task before it sees the task's first event.
        out.messages.push(Message::Reply { request, reply: Reply::Submitted(answers) });
        for task in accepted {
            self.tell(task, TaskEventKind::Accepted, super::Told::default(), out);
            self.dispatch(task, out);
        }
    }

    fn accept(&mut self, new: NewTask, accepted: &mut Vec<TaskIx>, out: &mut Effects) -> Result<Submitted, Error> {
        if let Some(submitted) = self.known_key(&new)? {
            return Ok(submitted);
        }
        if new.spec.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Err(Violation::new("deadline_unix_ms", "is in the past").into());
        }
        self.check_room(&new)?;
        self.check_budgets(&new.spec)?;
        let spec = self.allocation.sizes.sized(new.spec);
        let class = self
            .router
            .class(&spec.kind, &spec.requirements)
            .map_err(|limit| Error::exhausted(limit.to_string(), limits::RETRY_AFTER))?;
        let id = TaskId::new(self.now, self.id_draws.u128(..));
        let task = Arc::new(AcceptedTask {
            id,
            spec,
            payload: new.payload,
            fingerprint: new.fingerprint,
            order: self.numbers.order(),
            at: self.now,
            redrive_of: new.redrive_of,
        });
        let rows = self.enter_rows(&task.spec);
        self.count_request(rows);
        self.keys.insert(&task.spec, Keyed { task: id, fingerprint: task.fingerprint });
        let ix = self.tasks.insert(Task {
            id,
            spec: task.spec.clone(),
            payload: task.payload.clone(),
            order: task.order,
            accepted_at: self.now,
            class,
            affinity: routing::affinity(&task.spec.affinity_key),
            state: TaskState::Queued,
            attempts_made: 0,
            crashes: 0,
            since: self.now,
            not_before: self.now,
            current: None,
            last_agent: None,
            timer: None,
            spending: None,
            used: None,
            reported: false,
            rows,
        });
        if self.tasks[ix].is_durable() {
            out.changes.push(Change::Accept(task.clone()));
        }
        out.messages.push(Message::Accepted(task));
        accepted.push(ix);
        Ok(Submitted { task: id, duplicate: false })
    }

    /// The task that already has the key.
    fn known_key(&self, new: &NewTask) -> Result<Option<Submitted>, Error> {
        if new.spec.idempotency_key.is_empty() {
            return Ok(None);
        }
        let known = self.keys.find(&new.spec).or(match new.stored_key {
            StoredKey::Present { task, fingerprint } => Some(Keyed { task, fingerprint }),
            StoredKey::None | StoredKey::Absent { .. } => None,
        });
        let Some(known) = known else {
            return self.check_absence(new).map(|()| None);
        };
        if known.fingerprint != new.fingerprint {
            let message = format!(
                "the idempotency key `{}` belongs to task {} with another content; use another key for other work",
                new.spec.idempotency_key, known.task
            );
            return Err(Error::new(Code::AlreadyExists, message).about("task", known.task.to_string()));
        }
        Ok(Some(Submitted { task: known.task, duplicate: true }))
    }

    /// Whether it can be relied on that the store knows of no task under this key either.
    fn check_absence(&self, new: &NewTask) -> Result<(), Error> {
        let StoredKey::Absent { asked_at } = new.stored_key else {
            return Ok(());
        };
        if self.now.since(asked_at) > limits::KEY_ANSWER_AGE_MAX || self.keys.is_full() {
            let message = "the coordinator could not make sure that the idempotency key is new; submit again";
            return Err(Error::exhausted(message, limits::RETRY_AFTER));
        }
        Ok(())
    }

    fn check_room(&self, new: &NewTask) -> Result<(), Error> {
        let (tasks_max, bytes_max) = (self.settings.tasks_max, self.settings.payload_bytes_max);
        let urgent = new.spec.priority.level() >= limits::URGENT_FROM;
        let kept = |all: u64| if urgent { 0 } else { all / 100 * limits::URGENT_SHARE_PERCENT };
        let refuse = |what: String| {
            let rest = if urgent { "" } else { "; what is left is for urgent tasks" };
            Err(Error::exhausted(format!("the queue is full: {what}{rest}"), limits::RETRY_AFTER))
        };
        let tasks = self.tasks.len() as u64;
        if tasks >= tasks_max as u64 - kept(tasks_max as u64) {
            return refuse(format!("{tasks} tasks of at most {tasks_max} are live"));
        }
        let bytes = self.tasks.payload_bytes;
        if bytes + new.payload.len() as u64 > bytes_max - kept(bytes_max) {
            return refuse(format!("the payloads of live tasks take {bytes} bytes of at most {bytes_max}"));
        }
        Ok(())
    }
}
