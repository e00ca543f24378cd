//! What runs in an agent's process.

use std::time::Duration;

use evenkeel_agent::machine::{Ended, STOP_GRACE};
use evenkeel_shared::{AttemptRef, Failure, FailureClass, Kind, Outcome, Timestamp, wire::agent::Assignment};

use super::super::{
    plan::between,
    trace::About,
    work::{Then, Work},
    world::{What, World},
};
use super::on_clock;
use crate::history::Execution;

/// An attempt that runs.
pub(super) struct Running {
    run: u64,
    kind: Kind,
    begun: Timestamp,
    /// Its place in the history.
    pub entry: usize,
    stopping: bool,
}

impl World {
    pub(super) fn execute(&mut self, agent: usize, work: Assignment) {
        let (attempt, id, life) = (work.attempt, self.agents[agent].spec.id.clone(), self.agents[agent].life);
        self.note(About::Task(attempt.task), || {
            format!("agent {agent} runs attempt {} of {}", attempt.attempt, attempt.task)
        });
        let Some(does) = Work::of_payload(&work.payload) else {
            return self.breach("payload-arrives", Some(attempt.task), format!("{:?}", work.payload));
        };
        let entry = self.history.executions.len();
        // The agent writes down what its clock says; nothing else that it does depends on that.
        let begun_at = on_clock(self.now, self.agents[agent].clock_ahead_us);
        self.history.executions.push(Execution { agent: id, attempt, begun_at, ended_at: None });
        let Some(process) = &mut self.agents[agent].process else { return };
        process.runs += 1;
        let run = process.runs;
        let running = Running { run, kind: work.kind.clone(), begun: self.now, entry, stopping: false };
        if process.running.insert(attempt, running).is_some() {
            let facts = format!("agent {agent} was to run attempt {} twice at once", attempt.attempt);
            self.breach("one-execution-at-a-time", Some(attempt.task), facts);
        }
        let limit = work.timeout;
        if does.then == Then::Kills && does.run < limit {
            self.later(does.run, What::Poisoned { agent, life, attempt, run });
        } else if does.then != Then::Overruns && does.run < limit {
            self.later(does.run, What::ExecutionEnds { agent, life, attempt, run, outcome: does.outcome(attempt) });
        } else {
            let stop = between(Duration::ZERO, STOP_GRACE, &mut self.draws.agents);
            let outcome = Outcome::Failed(Failure::new(FailureClass::Timeout, "its time passed"));
            self.later(limit + stop, What::ExecutionEnds { agent, life, attempt, run, outcome });
        }
    }

    pub(super) fn stop_execution(&mut self, agent: usize, attempt: AttemptRef) {
        let stop = between(Duration::ZERO, STOP_GRACE, &mut self.draws.agents);
        let life = self.agents[agent].life;
        let Some(process) = &mut self.agents[agent].process else { return };
        let Some(running) = process.running.get_mut(&attempt).filter(|running| !running.stopping) else { return };
        running.stopping = true;
        let run = running.run;
        self.later(stop, What::ExecutionEnds { agent, life, attempt, run, outcome: Outcome::Cancelled });
    }

    pub(in crate::simulation) fn execution_ends(
        &mut self,
        agent: usize,
        life: u32,
        attempt: AttemptRef,
        run: u64,
        outcome: Outcome,
    ) {
        let now = self.now;
        let Some(process) = self.process(agent, life) else { return };
        if process.running.get(&attempt).is_none_or(|running| running.run != run) {
            return;
        }
        let Some(running) = process.running.remove(&attempt) else { return };
        let success = matches!(outcome, Outcome::Succeeded(_)) && !running.stopping;
        // What was told to stop counts as called off, whatever it came to.
        let outcome = if running.stopping { Outcome::Cancelled } else { outcome };
        process.said_success.insert(attempt, success);
        let ran = now.since(running.begun);
        process.machine.ended(Ended {
            attempt,
            kind: running.kind,
            outcome,
            run: ran,
            usage: None,
            quotas: Vec::new(),
        });
        let ended_at = on_clock(now, self.agents[agent].clock_ahead_us);
        self.history.executions[running.entry].ended_at = Some(ended_at);
        self.note(About::Task(attempt.task), || {
            let word = if success { "succeeds" } else { "ends without success" };
            format!("attempt {} of {} on agent {agent} {word}", attempt.attempt, attempt.task)
        });
        self.settle(agent);
    }

    pub(in crate::simulation) fn poisoned(&mut self, agent: usize, life: u32, attempt: AttemptRef, run: u64) {
        let Some(process) = self.process(agent, life) else { return };
        if process.running.get(&attempt).is_some_and(|running| running.run == run) {
            self.note(About::Task(attempt.task), || format!("{} kills agent {agent}", attempt.task));
            self.end_process(agent);
        }
    }
}
