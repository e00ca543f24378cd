//! Runs the program that a task names, if the agent allows it.

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use evenkeel_shared::shown::without_value;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    ExecutorConfigError, check_output_limit, output_bytes_max,
    process::{self, Program, env_inherited},
};
use crate::task::{ExecutionError, Executor, TaskContext};

/// Stands for any program.
const ANY: &str = "*";

/// Which programs tasks may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramsConfig {
    /// Names on the PATH or absolute paths, which a task must give in the same words; `"*"` allows any, and with it the
    /// task's own environment.
    pub allowed_programs: Vec<String>,
    /// Variables of the agent that programs inherit. Default: PATH, HOME, LANG, TMPDIR.
    #[serde(default = "env_inherited")]
    pub env_inherited: Vec<String>,
    /// Longest output, 1 byte to 1 MiB. A program that writes more is killed and the task fails.
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: usize,
}

impl ProgramsConfig {
    /// Allows these programs, with every other setting at its default.
    pub fn new(allowed_programs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            allowed_programs: allowed_programs.into_iter().map(Into::into).collect(),
            env_inherited: env_inherited(),
            output_bytes_max: output_bytes_max(),
        }
    }
}

/// The payload of a task for [`ProgramsExecutor`], as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandPayload {
    /// The program, in the words of the agent's `allowed_programs`.
    pub program: String,
    /// Its arguments. No shell looks at them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its input; base64 in the JSON.
    #[serde(
        default,
        rename = "stdin_b64",
        serialize_with = "to_base64",
        deserialize_with = "from_base64",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub stdin: Vec<u8>,
    /// Directory it starts in. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Variables set for it. Only agents that allow any program take them: a `PATH` or an `LD_PRELOAD` makes another
    /// program of an allowed one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl CommandPayload {
    /// The payload as bytes.
    ///
    /// # Errors
    /// If the directory's name is not UTF-8, which JSON cannot say.
    pub fn to_bytes(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Runs the program that the task's payload, a [`CommandPayload`], names. What it prints is the output; an exit code other
/// than 0 fails the task for good, because the same command would most likely fail again.
#[derive(Clone, Debug)]
pub struct ProgramsExecutor {
    config: ProgramsConfig,
    any: bool,
}

impl ProgramsExecutor {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The setting at fault.
    pub fn new(config: ProgramsConfig) -> Result<Self, ExecutorConfigError> {
        if config.allowed_programs.is_empty() {
            return Err(ExecutorConfigError::NoProgramAllowed);
        }
        let any = config.allowed_programs.iter().any(|program| program == ANY);
        config.allowed_programs.iter().filter(|&program| program != ANY).try_for_each(|p| check_program(p))?;
        check_output_limit(config.output_bytes_max)?;
        Ok(Self { config, any })
    }

    fn check(&self, payload: &CommandPayload) -> Result<(), ExecutionError> {
        let program = &payload.program;
        if program.is_empty() {
            return Err(ExecutionError::non_retryable("the payload names no program"));
        }
        if self.any {
            return Ok(());
        }
        if !self.config.allowed_programs.contains(program) {
            let message = format!("the program `{program}` is not in this agent's allowed_programs");
            return Err(ExecutionError::non_retryable(message));
        }
        if !payload.env.is_empty() {
            let message = "the payload sets `env`, which this agent refuses because its allowed_programs is not \"*\"";
            return Err(ExecutionError::non_retryable(message));
        }
        Ok(())
    }
}

#[async_trait]
impl Executor for ProgramsExecutor {
    fn name(&self) -> &'static str {
        "programs"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let payload: CommandPayload = serde_json::from_slice(&task.payload)
            .map_err(|error| without_value(&error.to_string()))
            .map_err(|error| ExecutionError::non_retryable(format!("the payload is not a command in JSON: {error}")))?;
        self.check(&payload)?;
        let program = Program {
            program: &payload.program,
            args: &payload.args,
            directory: payload.cwd.as_deref(),
            env: &payload.env,
            env_inherited: &self.config.env_inherited,
            stdin: &payload.stdin,
            output_bytes_max: self.config.output_bytes_max,
        };
        process::run(&program, &task).await?.output(&payload.program, |_| false)
    }
}

/// Refuses a program whose meaning depends on the directory the agent happens to be in.
pub(super) fn check_program(program: &str) -> Result<(), ExecutorConfigError> {
    match program {
        "" => Err(ExecutorConfigError::ProgramMissing),
        relative if relative.contains('/') && !relative.starts_with('/') => {
            Err(ExecutorConfigError::ProgramRelative(relative.to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::FailureClass;

    use super::*;
    use crate::executors::testing::task;

    async fn run(allowed: &[&str], payload: &CommandPayload) -> Result<Bytes, ExecutionError> {
        let executor = ProgramsExecutor::new(ProgramsConfig::new(allowed.iter().copied())).unwrap();
        executor.execute(task(payload.to_bytes().unwrap()).0).await
    }

    fn command(program: &str, args: &[&str]) -> CommandPayload {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        CommandPayload { program: program.into(), args, ..CommandPayload::default() }
    }

    async fn check_refused(allowed: &[&str], payload: &CommandPayload, because: &str) {
        let error = run(allowed, payload).await.unwrap_err();
        assert_eq!(error.failure().class, FailureClass::NonRetryable);
        assert!(error.to_string().contains(because), "{error}");
    }

    #[tokio::test]
    async fn an_allowed_program_runs_with_its_input() {
        let payload = CommandPayload { stdin: b"\x00\xff".to_vec(), ..command("cat", &[]) };
        assert_eq!(run(&["cat"], &payload).await, Ok(Bytes::from_static(b"\x00\xff")));
    }

    #[tokio::test]
    async fn other_programs_and_disguised_ones_are_refused() {
        check_refused(&["cat"], &command("/bin/cat", &[]), "allowed_programs").await;
        check_refused(&["cat"], &command("", &[]), "names no program").await;
        let env = BTreeMap::from([("PATH".to_owned(), "/tmp".to_owned())]);
        check_refused(&["cat"], &CommandPayload { env, ..command("cat", &[]) }, "env").await;
    }

    #[tokio::test]
    async fn any_program_may_set_its_environment_and_directory() {
        let env = BTreeMap::from([("WORD".to_owned(), "hi".to_owned())]);
        let payload = CommandPayload { env, cwd: Some("/".into()), ..command("sh", &["-c", "echo $WORD; pwd"]) };
        assert_eq!(run(&["*"], &payload).await, Ok(Bytes::from("hi\n/\n")));
    }

    #[tokio::test]
    async fn an_exit_code_fails_the_task_and_a_signal_only_the_attempt() {
        let error = run(&["*"], &command("sh", &["-c", "echo no >&2; exit 4"])).await.unwrap_err();
        assert_eq!((error.failure().class, error.failure().exit_code), (FailureClass::NonRetryable, Some(4)));
        assert_eq!(error.to_string(), "`sh` exited with code 4: no");
        let error = run(&["*"], &command("sh", &["-c", "kill -9 $$"])).await.unwrap_err();
        assert_eq!((error.failure().class, error.failure().exit_code), (FailureClass::Retryable, None));
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        check_refused(&["*"], &command("no-such-program", &[]), "no-such-program").await;
        check_refused(&["*"], &CommandPayload { cwd: Some("/no/such".into()), ..command("cat", &[]) }, "/no/such")
            .await;
    }

    #[test]
    fn the_payload_is_plain_json() {
        let payload = CommandPayload { stdin: b"hi".to_vec(), ..command("cat", &["-n"]) };
        let json = payload.to_bytes().unwrap();
        assert_eq!(json, r#"{"program":"cat","args":["-n"],"stdin_b64":"aGk="}"#);
        assert_eq!(serde_json::from_slice::<CommandPayload>(&json).unwrap(), payload);
    }

    #[test]
    fn useless_configurations_are_refused() {
        let new = |programs: &[&str]| ProgramsExecutor::new(ProgramsConfig::new(programs.iter().copied())).map(drop);
        assert_eq!(new(&[]), Err(ExecutorConfigError::NoProgramAllowed));
        assert_eq!(new(&["bin/x"]), Err(ExecutorConfigError::ProgramRelative("bin/x".into())));
        assert_eq!(new(&["*", "/bin/x", "x"]), Ok(()));
    }
}
