//! What a run is to do.

use std::{path::PathBuf, time::Duration};

use evenkeel_shared::{
    StrategyConfig,
    dial::Security,
    limits::{MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, SLOTS_MAX, SUBMIT_TASKS_MAX},
    task::Delivery,
};

use crate::{error::LoadtestError, task_time::TaskTime};

/// The kind of the run's tasks.
pub(crate) const KIND: &str = "loadtest";
/// The kind of follow-up tasks, which only specialists take.
pub(crate) const SPECIALIST_KIND: &str = "loadtest-specialist";
/// The built-in kind of agents that waits for as many milliseconds as its payload says.
pub(crate) const SLEEP_KIND: &str = "sleep";
/// The tenant of the run's tasks: on a fleet in use they get one tenant's fair share and no more.
pub(crate) const TENANT: &str = "loadtest";
/// The label that ties the run's tasks to its agents; its value is the run's id.
pub(crate) const RUN_LABEL: &str = "loadtest_run";

/// The label with the region of an agent.
pub(crate) const REGION_LABEL: &str = "region";

/// Agents in one run: more need more ports than one address has, or more memory than one machine.
pub(crate) const AGENTS_MAX: u32 = 20_000;
/// Tasks in one run: the books of ten million take a gigabyte and a half.
pub(crate) const TASKS_MAX: u32 = 10_000_000;
/// What a task's description takes on the wire beside its payload, at most.
pub(crate) const SPEC_BYTES: usize = 512;

/// Where the coordinator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that runs already.
    Running {
        /// Its gRPC address, such as `http://127.0.0.1:7400`.
        url: String,
        /// What is shown to it.
        security: Security,
    },
    /// One for this run alone, on free ports, ended with it.
    Own {
        /// The `evenkeel` program.
        program: PathBuf,
        /// Where it keeps its store; it has to be empty and stays. Without one: a temporary directory, removed.
        data_dir: Option<PathBuf>,
    },
}

/// What a run is to do. Start from [`RunPlan::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// Where the coordinator is.
    pub target: Target,
    /// Simulated agents. 1 to 20,000.
    pub agents: u32,
    /// Tasks to submit. 1 to 10,000,000.
    pub tasks: u32,
    /// Slots of each agent. 1 to 4096.
    pub slots: u32,
    /// Tasks submitted and not over, at most. Without a number: two for each slot of the fleet, so that no slot waits for
    /// the client, and at least two batches.
    pub in_flight: Option<u32>,
    /// Tasks in one message. 1 to 1000.
    pub batch: u32,
    /// How long tasks take.
    pub task_time: TaskTime,
    /// Bytes of each payload, at most 1 MiB.
    pub payload_bytes: u32,
    /// What accepted tasks survive.
    pub delivery: Delivery,
    /// The strategy of the run; the one before it is put back afterwards. Without one: the coordinator's.
    pub strategy: Option<StrategyConfig>,
    /// Agents that share a connection. At least 1.
    pub agents_per_connection: u32,
    /// Task times, payloads and jitter are drawn from it.
    pub seed: u64,
    /// The run gives up when nothing was accepted and nothing came to its end for this long.
    pub stall_timeout: Duration,
}

impl RunPlan {
    /// A run of `tasks` tasks on `agents` agents, everything else as by default.
    #[must_use]
    pub const fn new(target: Target, agents: u32, tasks: u32) -> Self {
        Self {
            target,
            agents,
            tasks,
            slots: 1,
            in_flight: None,
            batch: 100,
            task_time: TaskTime::Exponential(Duration::from_millis(5)),
            payload_bytes: 64,
            delivery: Delivery::Durable,
            strategy: None,
            agents_per_connection: 1,
            seed: 1,
            // Longer than a coordinator takes to restart and its agents to come back.
            stall_timeout: Duration::from_secs(60),
        }
    }

    /// Tasks submitted and not over, at most.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.unwrap_or_else(|| (self.agents.saturating_mul(self.slots)).max(self.batch).saturating_mul(2))
    }

    /// Connections of the fleet.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.agents.div_ceil(self.agents_per_connection)
    }

    /// Checks all numbers.
    ///
    /// # Errors
    /// The first one that is out of its range.
    pub fn validate(&self) -> Result<(), LoadtestError> {
        let within = |name: &str, value: u32, max: u32| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(LoadtestError::Plan { what: format!("{name} is {value}; it must be 1 to {max}") })
        };
        let batch_max = u32::try_from(SUBMIT_TASKS_MAX).unwrap_or(u32::MAX);
        within("agents", self.agents, AGENTS_MAX)?;
        within("tasks", self.tasks, TASKS_MAX)?;
        within("slots", self.slots, SLOTS_MAX)?;
        within("batch", self.batch, batch_max)?;
        within("in-flight", self.in_flight(), u32::MAX)?;
        within("agents-per-connection", self.agents_per_connection, AGENTS_MAX)?;
        let payload_bytes = self.payload_bytes as usize;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            let what = format!("payload-bytes is {payload_bytes}; at most {PAYLOAD_BYTES_MAX} are allowed");
            return Err(LoadtestError::Plan { what });
        }
        let message_bytes = self.batch as usize * (payload_bytes + SPEC_BYTES);
        if message_bytes > MESSAGE_BYTES_MAX {
            let fitting = MESSAGE_BYTES_MAX / (payload_bytes + SPEC_BYTES);
            let what =
                format!("{} payloads of {payload_bytes} bytes do not fit into one message; {fitting} do", self.batch);
            return Err(LoadtestError::Plan { what });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RunPlan {
        RunPlan::new(
            Target::Running { url: "http://127.0.0.1:7400".into(), security: Security::default() },
            1_000,
            50_000,
        )
    }

    fn check(plan: &RunPlan, complaint: &str) {
        let error = plan.validate().unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }

    #[test]
    fn the_default_keeps_every_slot_busy() {
        assert!(plan().validate().is_ok());
        assert_eq!(plan().in_flight(), 2_000);
        assert_eq!(RunPlan { agents: 1, ..plan() }.in_flight(), 200);
        assert_eq!(plan().connections(), 1_000);
        assert_eq!(RunPlan { agents_per_connection: 300, ..plan() }.connections(), 4);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        check(&RunPlan { agents: 0, ..plan() }, "agents is 0; it must be 1 to 20000");
        check(&RunPlan { tasks: 0, ..plan() }, "tasks is 0");
        check(&RunPlan { slots: 5_000, ..plan() }, "slots is 5000");
        check(&RunPlan { batch: 1_001, ..plan() }, "batch is 1001");
        check(&RunPlan { in_flight: Some(0), ..plan() }, "in-flight is 0");
        check(&RunPlan { payload_bytes: 2 << 20, ..plan() }, "payload-bytes is 2097152");
        check(&RunPlan { payload_bytes: 1 << 20, ..plan() }, "do not fit into one message; 7 do");
    }
}
