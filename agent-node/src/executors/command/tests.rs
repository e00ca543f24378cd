use std::{path::Path, sync::Arc, time::Duration};

use evenkeel_shared::{FailureClass, TaskBudget, Usage};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{executors::testing::task, meter::Meter};

/// Longest wait for anything; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> CommandConfig {
    CommandConfig { args: vec!["-c".into(), script.into()], ..CommandConfig::new("sh") }
}

async fn run(config: CommandConfig, payload: &'static str) -> Result<Bytes, ExecutionError> {
    let executor = CommandExecutor::new(config).unwrap();
    timeout(PATIENCE, executor.execute(task(payload).0)).await.expect("the program does not end")
}

async fn check_fails(config: CommandConfig, class: FailureClass, exit_code: Option<i32>, message: &str) {
    let error = run(config, "").await.unwrap_err();
    assert_eq!((error.failure().class, error.failure().exit_code), (class, exit_code), "{error}");
    assert!(error.to_string().contains(message), "{error}");
}

#[tokio::test]
async fn the_payload_is_the_input_and_what_is_printed_the_output() {
    assert_eq!(run(CommandConfig::new("cat"), "hello").await, Ok(Bytes::from("hello")));
}

#[tokio::test]
async fn a_program_need_not_read_a_large_input() {
    let executor = CommandExecutor::new(CommandConfig::new("true")).unwrap();
    assert_eq!(executor.execute(task(vec![0; 1 << 20]).0).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn a_program_sees_its_task_and_only_what_it_may_inherit() {
    let mut config = shell("env");
    config.env_inherited = vec!["PATH".into()];
    config.env = BTreeMap::from([("MODE".into(), "fast".into())]);
    let output = run(config, "").await.unwrap();
    let text = String::from_utf8(output.to_vec()).unwrap();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // Shells set some of their own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    names.sort_unstable();
    let expected = [
        "EVENKEEL_ASSIGNMENT_ID",
        "EVENKEEL_ATTEMPT",
        "EVENKEEL_KIND",
        "EVENKEEL_REPORT",
        "EVENKEEL_TASK_ID",
        "EVENKEEL_TENANT",
        "MODE",
        "PATH",
    ];
    assert_eq!(names, expected);
    assert!(text.contains("EVENKEEL_ASSIGNMENT_ID=70\n"));
}

#[tokio::test]
async fn exit_codes_decide_about_another_attempt() {
    check_fails(shell("exit 3"), FailureClass::Retryable, Some(3), "exited with code 3").await;
    let config = CommandConfig { non_retryable_exit_codes: vec![3], ..shell("echo bad input >&2; exit 3") };
    check_fails(config, FailureClass::NonRetryable, Some(3), "bad input").await;
}

#[tokio::test]
async fn of_a_long_error_output_the_end_is_kept() {
    check_fails(shell("seq 100000 >&2; exit 1"), FailureClass::Retryable, Some(1), "99999\n100000").await;
}

#[tokio::test]
async fn output_up_to_the_limit_is_taken_and_more_is_not() {
    let limited = |script| CommandConfig { output_bytes_max: 4, ..shell(script) };
    assert_eq!(run(limited("printf 1234"), "").await, Ok(Bytes::from("1234")));
    check_fails(limited("printf 12345; sleep 3600"), FailureClass::NonRetryable, None, "limit of 4 bytes").await;
}

fn make_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A script whose child writes its process number to a file and sleeps; and that file.
fn with_helper(directory: &Path, script: &str) -> (CommandConfig, PathBuf) {
    let file = directory.join("helper");
    make_fifo(&file);
    (shell(&script.replace("HELPER", &format!("sh -c 'echo $$ > {}; exec sleep 3600' & ", file.display()))), file)
}

/// Waits until the helper runs, and gives its process number.
async fn helper_pid(fifo: &Path) -> u32 {
    let mut lines = BufReader::new(tokio::fs::File::open(fifo).await.unwrap()).lines();
    lines.next_line().await.unwrap().unwrap().parse().unwrap()
}

/// Waits until the process is gone, or is a zombie that its new parent has not reaped.
async fn gone(pid: u32) {
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let wait = async {
        while alive() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the process outlived its group");
}

/// Starts a program that starts a helper; gives the execution and the token that cancels it.
fn start(config: CommandConfig) -> (JoinHandle<Result<Bytes, ExecutionError>>, CancellationToken) {
    let (task, token) = task("");
    let executor = CommandExecutor::new(config).unwrap();
    (tokio::spawn(async move { executor.execute(task).await }), token)
}

async fn ended(execution: JoinHandle<Result<Bytes, ExecutionError>>) -> Result<Bytes, ExecutionError> {
    timeout(PATIENCE, execution).await.expect("the execution does not end").unwrap()
}

#[tokio::test]
async fn cancelling_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let (config, fifo) = with_helper(directory.path(), "HELPER wait");
    let (execution, token) = start(config);
    let pid = helper_pid(&fifo).await;
    token.cancel();
    assert!(ended(execution).await.unwrap_err().to_string().contains("was stopped"));
    gone(pid).await;
}

#[tokio::test]
async fn a_program_deaf_to_sigterm_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (config, fifo) = with_helper(directory.path(), "trap '' TERM; HELPER wait; wait; sleep 3600");
    let (execution, token) = start(config);
    let pid = helper_pid(&fifo).await;
    token.cancel();
    assert!(ended(execution).await.is_err());
    gone(pid).await;
}

#[tokio::test]
async fn dropping_the_execution_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let (config, fifo) = with_helper(directory.path(), "HELPER wait");
    let (execution, _token) = start(config);
    let pid = helper_pid(&fifo).await;
    execution.abort();
    gone(pid).await;
}

#[tokio::test]
async fn a_program_that_ends_takes_its_helpers_along_and_does_not_wait_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let (config, fifo) = with_helper(directory.path(), "HELPER read go < CONTINUE; echo done");
    let go = directory.path().join("go");
    make_fifo(&go);
    let script = config.args[1].replace("CONTINUE", &go.display().to_string());
    let (execution, _token) = start(shell(&script));
    let pid = helper_pid(&fifo).await;
    tokio::fs::write(&go, "go\n").await.unwrap();
    assert_eq!(ended(execution).await, Ok(Bytes::from("done\n")));
    gone(pid).await;
}

#[test]
fn useless_configurations_are_refused() {
    let new = |config| CommandExecutor::new(config).map(drop);
    assert_eq!(new(CommandConfig::new("")), Err(ExecutorConfigError::ProgramMissing));
    assert_eq!(new(CommandConfig { output_bytes_max: 0, ..shell("") }), Err(ExecutorConfigError::OutputLimit(0)));
}

/// Runs a script with this budget; what came of it, and what was measured.
async fn run_within(budget: TaskBudget, script: &str) -> (Result<Bytes, ExecutionError>, Usage) {
    run_while(budget, script, async |_| {}).await
}

/// The same beside something that looks at what is measured.
async fn run_while(
    budget: TaskBudget,
    script: &str,
    beside: impl AsyncFnOnce(&Meter),
) -> (Result<Bytes, ExecutionError>, Usage) {
    let mut task = task("").0;
    task.budget = Some(Box::new(budget));
    let meter = Arc::clone(task.meter());
    let executor = CommandExecutor::new(shell(script)).unwrap();
    let both = async { tokio::join!(executor.execute(task), beside(&meter)) };
    let (result, ()) = timeout(PATIENCE, both).await.expect("the program does not end");
    (result, meter.usage().map(|usage| *usage).unwrap_or_default())
}

fn check_exceeded(result: &Result<Bytes, ExecutionError>, what: &str) {
    let error = result.as_ref().unwrap_err();
    assert_eq!(error.failure().class, FailureClass::BudgetExceeded, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

/// Uses the processor for ever.
const SPIN: &str = "while :; do :; done";

#[tokio::test]
async fn a_program_that_uses_too_much_processor_time_is_ended() {
    let budget = TaskBudget { cpu_max: Some(Duration::from_millis(300)), ..TaskBudget::default() };
    let (result, usage) = run_within(budget.clone(), SPIN).await;
    check_exceeded(&result, "processor time, and its budget allows 300 ms");
    assert!(usage.cpu > Duration::from_millis(300), "{usage:?}");
    // And so is one that leaves the work to others.
    let (result, _) = run_within(budget, &format!("({SPIN}) & ({SPIN}) & wait")).await;
    check_exceeded(&result, "its budget allows 300 ms");
}

#[tokio::test]
async fn the_kernel_keeps_a_limit_of_whole_seconds_too() {
    let budget = TaskBudget { cpu_max: Some(Duration::from_secs(1)), ..TaskBudget::default() };
    let (result, _) = run_within(budget, "while [ $(ulimit -t) = unlimited ]; do :; done; ulimit -t; ulimit -Ht").await;
    assert_eq!(result, Ok(Bytes::from("1\n2\n")), "RLIMIT_CPU, in seconds");
}

#[tokio::test]
async fn a_program_that_has_too_much_memory_is_ended() {
    let budget = TaskBudget { memory_max_bytes: Some(32 << 20), ..TaskBudget::default() };
    // `tail` keeps a line that does not end, for as long as there may be more of it.
    let script = "(head -c 100000000 /dev/zero; exec sleep 3600) | tail";
    let (result, usage) = run_within(budget.clone(), script).await;
    check_exceeded(&result, "bytes of memory, and its budget allows 33554432");
    assert!(usage.memory_max_bytes > 32 << 20, "{usage:?}");
    // One within its budget that runs until it has been looked at.
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    make_fifo(&go);
    let (result, usage) = run_while(budget, &format!("read go < {}", go.display()), async |meter| {
        while meter.usage().is_none_or(|usage| usage.memory_max_bytes == 0) {
            tokio::task::yield_now().await;
        }
        tokio::fs::write(&go, "go\n").await.unwrap();
    })
    .await;
    assert_eq!(result, Ok(Bytes::new()));
    assert!((1..32 << 20).contains(&usage.memory_max_bytes), "{usage:?}");
}

#[tokio::test]
async fn what_a_short_program_used_is_measured_when_it_ends() {
    // It ends once it has used some, by the count that the measurement reads: utime and stime, in hundredths of a second.
    let script =
        "until [ ${ticks:-0} -ge 3 ]; do read -r stat < /proc/$$/stat; set -- $stat; ticks=$((${14} + ${15})); done";
    let (result, usage) = run_within(TaskBudget::default(), script).await;
    assert_eq!(result, Ok(Bytes::new()));
    assert!(usage.cpu >= Duration::from_millis(30), "{usage:?}");
}

#[tokio::test]
async fn a_program_reports_what_it_costs_whether_it_succeeds_or_not() {
    let costs = "echo cost usd 0.25 >> $EVENKEEL_REPORT; printf 'cost usd 0.5\\ncost tokens 12' >> $EVENKEEL_REPORT";
    for (end, succeeds) in [("", true), ("; exit 3", false)] {
        let (result, usage) = run_within(TaskBudget::default(), &format!("{costs}{end}")).await;
        assert_eq!(result.is_ok(), succeeds);
        let cost: Vec<String> = usage.cost.iter().map(|(unit, amount)| format!("{unit}={amount}")).collect();
        assert_eq!(cost, ["tokens=12", "usd=0.75"]);
    }
}

#[tokio::test]
async fn a_program_that_failed_for_want_of_a_quota_says_so() {
    let said = "echo 'quota openai/a 30s too many requests' > $EVENKEEL_REPORT";
    check_fails(shell(&format!("{said}; exit 1")), FailureClass::QuotaExhausted, None, "openai/a").await;
    assert!(run(shell(said), "").await.is_ok(), "it managed without");
}
