//! Runs a configured program for every task of a kind.

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ExecutorConfigError, check_output_limit, output_bytes_max,
    process::{self, Program, env_inherited},
    programs::check_program,
};
use crate::task::{ExecutionError, Executor, TaskContext};

/// A program that does the work of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program: a name on the PATH, or an absolute path.
    pub program: String,
    /// Its arguments. No shell looks at them.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables set for it, besides `EVENKEEL_TASK_ID`, `EVENKEEL_ATTEMPT`, `EVENKEEL_ASSIGNMENT_ID`, `EVENKEEL_KIND`,
    /// `EVENKEEL_TENANT` and `EVENKEEL_REPORT`, and, if the task is traced, `TRACEPARENT` and `TRACESTATE`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables of the agent that it inherits. Default: PATH, HOME, LANG, TMPDIR.
    #[serde(default = "env_inherited")]
    pub env_inherited: Vec<String>,
    /// Directory it starts in. Default: the agent's.
    #[serde(default)]
    pub working_directory: Option<PathBuf>,
    /// Longest output, 1 byte to 1 MiB. A program that writes more is killed and the task fails.
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: usize,
    /// Exit codes after which another attempt is of no use.
    #[serde(default)]
    pub non_retryable_exit_codes: Vec<i32>,
}

impl CommandConfig {
    /// This program, with every other setting at its default.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            env_inherited: env_inherited(),
            working_directory: None,
            output_bytes_max: output_bytes_max(),
            non_retryable_exit_codes: Vec::new(),
        }
    }
}

/// Runs a configured program: the payload is its input, what it prints is the output.
#[derive(Clone, Debug)]
pub struct CommandExecutor {
    config: CommandConfig,
}

impl CommandExecutor {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The setting at fault. Whether the program exists is seen when it runs.
    pub fn new(config: CommandConfig) -> Result<Self, ExecutorConfigError> {
        check_program(&config.program)?;
        check_output_limit(config.output_bytes_max)?;
        Ok(Self { config })
    }
}

#[async_trait]
impl Executor for CommandExecutor {
    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let config = &self.config;
        let program = Program {
            program: &config.program,
            args: &config.args,
            directory: config.working_directory.as_deref(),
            env: &config.env,
            env_inherited: &config.env_inherited,
            stdin: &task.payload,
            output_bytes_max: config.output_bytes_max,
        };
        let exited = process::run(&program, &task).await?;
        exited.output(&config.program, |code| !config.non_retryable_exit_codes.contains(&code))
    }

    fn name(&self) -> &'static str {
        "command"
    }
}

#[cfg(test)]
mod tests;
