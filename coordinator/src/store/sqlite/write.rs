//! From changes to rows.

use std::time::Duration;

use evenkeel_core::{
    engine::{AcceptedTask, Change},
    model::{BudgetShare, ClusterEvent, Record, TaskEvent},
};
use evenkeel_shared::{
    AdminState, AgentId, AttemptEnd, AttemptRef, Decision, Failure, StrategyConfig, TaskId, TaskState, Timestamp, Usage,
};
use rusqlite::{Params, Transaction, params};

use super::{
    super::StoreError,
    codes::{self, Coded},
    declared, records, reserved,
    row::{self, encode_spec},
    series,
    sums::{self, Accepted},
};

/// Makes one change.
pub fn apply(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    let writer = Writer { transaction };
    match change {
        Change::Accept(task) => writer.accept(task),
        Change::Assign { attempt, agent, at, decision, reserved } => {
            writer.assign(*attempt, agent, *at, decision, reserved)
        }
        Change::EndAttempt { attempt, at, started_at, end, failure, run, usage } => {
            let usage = usage.as_deref();
            let (at, started_at, end, run) = (*at, *started_at, *end, *run);
            writer.end_attempt(*attempt, &Ended { at, started_at, end, failure, run, usage })
        }
        Change::Requeue { task, at, not_before, crashes } => writer.requeue(*task, *at, *not_before, *crashes),
        Change::Finish { task, at, state, output, failure, crashes } => {
            writer.finish(*task, *at, (*state, output), failure.as_ref(), *crashes)?;
            writer.output(*task, output)
        }
        Change::TaskEvent(event) => writer.task_event(event),
        Change::ClusterEvent(event) => writer.cluster_event(event),
        Change::Admin { agent, state, drain_deadline, reason } => writer.admin(agent, *state, *drain_deadline, reason),
        Change::Strategy(config) => writer.strategy(config),
        Change::Record(record) => self::record(transaction, record),
    }
}

struct Ended<'a> {
    at: Timestamp,
    started_at: Option<Timestamp>,
    end: AttemptEnd,
    failure: &'a Option<Failure>,
    run: Duration,
    usage: Option<&'a Usage>,
}

struct Writer<'a> {
    transaction: &'a Transaction<'a>,
}

impl Writer<'_> {
    fn execute(&self, sql: &str, values: impl Params) -> Result<usize, StoreError> {
        Ok(self.transaction.prepare_cached(sql)?.execute(values)?)
    }

    /// Changes exactly one row: a change to what is not there, or is over, must not pass unnoticed.
    fn update(&self, what: impl FnOnce() -> String, sql: &str, values: impl Params) -> Result<(), StoreError> {
        match self.execute(sql, values)? {
            1 => Ok(()),
            _ => Err(StoreError::Mismatch { what: what() }),
        }
    }

    fn accept(&self, task: &AcceptedTask) -> Result<(), StoreError> {
        let (spec, place, at) = (&task.spec, codes::int(task.order), codes::micros(task.at));
        let key = (!spec.idempotency_key.is_empty()).then_some(spec.idempotency_key.as_str());
        let redrive_of = task.redrive_of.map(codes::id);
        self.execute(
            "INSERT INTO tasks (place, id, state, state_at, accepted_at, attempts, crashes, tenant, kind, fingerprint, key,
                                redrive_of)
             VALUES (?1, ?2, ?3, ?4, ?4, 0, 0, ?5, ?6, ?7, ?8, ?9)",
            params![
                place,
                codes::id(task.id),
                TaskState::Queued.code(),
                at,
                spec.tenant.as_str(),
                spec.kind.as_str(),
                task.fingerprint.to_be_bytes(),
                key,
                redrive_of,
            ],
        )?;
        let encoded = encode_spec(spec);
        let accepted = Accepted {
            place,
            id: &codes::id(task.id),
            accepted_at: at,
            tenant: spec.tenant.as_str(),
            kind: spec.kind.as_str(),
            fingerprint: &task.fingerprint.to_be_bytes(),
            key,
            redrive_of: redrive_of.as_ref().map(<[u8; 16]>::as_slice),
            spec: &encoded,
        };
        let sums = (accepted.sum(), sums::of_bytes(&task.payload));
        let sql = "INSERT INTO inputs (place, spec, payload, task_sum, payload_sum) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.execute(sql, params![place, encoded, task.payload.as_ref(), sums.0, sums.1])?;
        Ok(())
    }

    fn assign(
        &self,
        attempt: AttemptRef,
        agent: &AgentId,
        at: Timestamp,
        decision: &Decision,
        reserved: &[BudgetShare],
    ) -> Result<(), StoreError> {
        let (task, number, assignment) = (codes::id(attempt.task), attempt.attempt.0, codes::int(attempt.assignment.0));
        let at = codes::micros(at);
        let reserved = reserved::encode(attempt.assignment, reserved)?;
        self.update(
            || format!("an assignment of task {}", attempt.task),
            "UPDATE tasks SET state = ?2, state_at = ?3, attempts = ?4, agent = ?5, assignment = ?6
             WHERE id = ?1 AND state < 4",
            params![task, TaskState::Assigned.code(), at, number, agent.as_str(), assignment],
        )?;
        self.execute(
            "INSERT INTO attempts (task, attempt, assignment, agent, assigned_at, strategy, score, with_room, prefetched,
                                   given_up, queued_us, reserved)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                task,
                number,
                assignment,
                agent.as_str(),
                at,
                decision.strategy,
                decision.score,
                decision.agents_with_room,
                decision.prefetched,
                decision.preferences_given_up,
                codes::duration_us(decision.queued),
                reserved,
            ],
        )?;
        Ok(())
    }

    fn end_attempt(&self, attempt: AttemptRef, ended: &Ended<'_>) -> Result<(), StoreError> {
        let (class, message, exit_code) = failure_columns(ended.failure.as_ref());
        let usage = ended.usage;
        let cost =
            usage.filter(|usage| !usage.cost.is_empty()).map(|usage| row::encode_cost(&usage.cost)).transpose()?;
        self.update(
            || format!("the end of attempt {} at task {}", attempt.attempt, attempt.task),
            "UPDATE attempts SET started_at = ?4, ended_at = ?5, ended_how = ?6, run_us = ?7, failure_class = ?8,
                                 failure = ?9, exit_code = ?10, cpu_us = ?11, memory_max_bytes = ?12, cost = ?13
             WHERE task = ?1 AND attempt = ?2 AND assignment = ?3 AND ended_at IS NULL",
            params![
                codes::id(attempt.task),
                attempt.attempt.0,
                codes::int(attempt.assignment.0),
                ended.started_at.map(codes::micros),
                codes::micros(ended.at),
                ended.end.code(),
                codes::duration_us(ended.run),
                class,
                message,
                exit_code,
                usage.map(|usage| codes::duration_us(usage.cpu)),
                usage.map(|usage| codes::int(usage.memory_max_bytes)),
                cost,
            ],
        )
    }

    fn requeue(
        &self,
        task: TaskId,
        at: Timestamp,
        not_before: Option<Timestamp>,
        crashes: u32,
    ) -> Result<(), StoreError> {
        let (state, state_at) = match not_before {
            Some(not_before) => (TaskState::RetryWait, not_before),
            None => (TaskState::Queued, at),
        };
        self.update(
            || format!("the return of task {task} to the queue"),
            "UPDATE tasks SET state = ?2, state_at = ?3, crashes = ?4, assignment = NULL WHERE id = ?1 AND state < 4",
            params![codes::id(task), state.code(), codes::micros(state_at), crashes],
        )
    }

    fn finish(
        &self,
        task: TaskId,
        at: Timestamp,
        (state, output): (TaskState, &[u8]),
        failure: Option<&Failure>,
        crashes: u32,
    ) -> Result<(), StoreError> {
        let (class, message, exit_code) = failure_columns(failure);
        let output_sum = (!output.is_empty()).then(|| sums::of_bytes(output));
        self.update(
            || format!("the end of task {task}"),
            "UPDATE tasks SET state = ?2, state_at = ?3, crashes = ?4, assignment = NULL, failure_class = ?5, failure = ?6,
                              exit_code = ?7, output_sum = ?8
             WHERE id = ?1 AND state < 4",
            params![codes::id(task), state.code(), codes::micros(at), crashes, class, message, exit_code, output_sum],
        )
    }

    fn output(&self, task: TaskId, output: &[u8]) -> Result<(), StoreError> {
        if !output.is_empty() {
            let sql = "INSERT INTO outputs (place, output) SELECT place, ?2 FROM tasks WHERE id = ?1";
            self.execute(sql, params![codes::id(task), output])?;
        }
        Ok(())
    }

    fn task_event(&self, event: &TaskEvent) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO task_events (position, at, task, kind, state, attempt, agent, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                codes::position(event.position),
                codes::micros(event.at),
                codes::id(event.task),
                event.kind.code(),
                event.state.code(),
                event.attempt.0,
                event.agent.as_ref().map(AgentId::as_str),
                event.message,
            ],
        )?;
        Ok(())
    }

    fn cluster_event(&self, event: &ClusterEvent) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO cluster_events (position, at, kind, agent, task, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                codes::position(event.position),
                codes::micros(event.at),
                event.kind.code(),
                event.agent.as_ref().map(AgentId::as_str),
                event.task.map(codes::id),
                event.message,
            ],
        )?;
        Ok(())
    }

    /// An agent of which nothing special is wanted has no row.
    fn admin(
        &self,
        agent: &AgentId,
        state: AdminState,
        drain_deadline: Option<Timestamp>,
        reason: &str,
    ) -> Result<(), StoreError> {
        if state == AdminState::Active {
            self.execute("DELETE FROM admin WHERE agent = ?1", params![agent.as_str()])?;
        } else {
            self.execute(
                "INSERT OR REPLACE INTO admin (agent, state, drain_deadline, reason) VALUES (?1, ?2, ?3, ?4)",
                params![agent.as_str(), state.name(), drain_deadline.map(codes::micros), reason],
            )?;
        }
        Ok(())
    }

    fn strategy(&self, config: &StrategyConfig) -> Result<(), StoreError> {
        let json = serde_json::to_string(config)
            .map_err(|error| StoreError::Mismatch { what: format!("the strategy {config:?} ({error})") })?;
        self.execute("UPDATE meta SET strategy = ?1", params![json])?;
        Ok(())
    }
}

/// Keeps something about resources.
fn record(transaction: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    match record {
        Record::Declared(declaration) => declared::declare(transaction, declaration),
        Record::Spent(spent) => declared::spend(transaction, spent),
        Record::Usage(sample) => series::add_usage(transaction, sample),
        Record::Cost(entry) => series::add_cost(transaction, entry),
        Record::Scaling(record) => records::scale(transaction, record),
        Record::Allocation(record) => records::allocate(transaction, record),
    }
}

fn failure_columns(failure: Option<&Failure>) -> (Option<i64>, Option<&str>, Option<i32>) {
    match failure {
        Some(failure) => (Some(failure.class.code()), Some(&failure.message), failure.exit_code),
        None => (None, None, None),
    }
}
