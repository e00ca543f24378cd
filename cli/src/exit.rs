//! How the program ends: its exit codes, and the error that leads to each.
//!
//! Scripts rely on the codes, so they are documented in `--help` and never change their meaning. An error says what
//! happened, why, and what to do about it; `-o json` gives the same as one JSON line on stderr.

use std::{fmt, io};

use evenkeel_shared::{Code, Error, TaskState, Violation, dial::explain, wire};
use serde::Serialize;
use tonic::Status;

use crate::{arguments, output::Format};

/// What a service answered, or what the error means to the user who was `doing` something.
///
/// # Errors
/// The status, as an error of the command line.
pub fn answer<T>(doing: &str, answer: Result<tonic::Response<T>, Status>) -> Result<T, CliError> {
    answer.map(tonic::Response::into_inner).map_err(|status| CliError::status(doing, &status))
}

/// Why the program ends as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// Something went wrong that has no code of its own.
    Error,
    /// The command or one of its values is wrong.
    Usage,
    /// No coordinator answers.
    Unreachable,
    /// The thing named does not exist.
    NotFound,
    /// A task failed, was cancelled or quarantined.
    TaskFailed,
    /// The time was up, of the command or of a task.
    TimedOut,
    /// The coordinator refused: a limit is reached, or the state does not allow it.
    Refused,
    /// A load test ended with no-go: a service level was broken.
    NoGo,
    /// Runs of a load test became worse than those they were compared with, beyond noise.
    Regression,
    /// The reader of stdout has gone, as `head` does: what SIGPIPE would have made of it.
    BrokenPipe,
    /// Interrupted (SIGINT).
    Interrupted,
}

/// The codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  ok
    1  error
    2  usage: the command or one of its values is wrong
    3  unreachable: no coordinator answers
    4  not found
    5  task failed (or was cancelled or quarantined)
    6  timed out
    7  refused: a limit is reached, or the state does not allow it
    8  no-go: a load test broke a service level
    9  regression: runs of a load test are worse than those they were compared with
   70  a part of the coordinator broke down; start it again
   72  the coordinator's engine was stuck, and its watchdog ended it; start it again
   74  the coordinator could not write its store; see its log
  130  interrupted, or forced to end by a second SIGINT
  141  the reader of stdout went away
  143  forced to end by a second SIGTERM";

impl Exit {
    /// The code that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::TaskFailed => 5,
            Self::TimedOut => 6,
            Self::Refused => 7,
            Self::NoGo => 8,
            Self::Regression => 9,
            Self::Interrupted => 130,
            Self::BrokenPipe => 141,
        }
    }

    /// What an error of a service means for the caller.
    #[must_use]
    pub const fn of(code: Code) -> Self {
        match code {
            Code::InvalidArgument => Self::Usage,
            Code::NotFound => Self::NotFound,
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Unavailable => Self::Unreachable,
            Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unauthenticated => Self::Refused,
            Code::Cancelled | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Error,
        }
    }

    /// What the end of a task means for the caller; `None` while it is not over.
    #[must_use]
    pub const fn of_task(state: Option<TaskState>) -> Self {
        match state {
            Some(TaskState::Succeeded) => Self::Ok,
            Some(TaskState::Failed | TaskState::Cancelled | TaskState::Quarantined) => Self::TaskFailed,
            _ => Self::TimedOut,
        }
    }

    /// Of many ends the gravest: a failed task outweighs one that timed out, which outweighs success.
    #[must_use]
    pub fn of_tasks(states: impl Iterator<Item = Option<TaskState>>) -> Self {
        states.map(Self::of_task).fold(Self::Ok, |worst, exit| match (worst, exit) {
            (Self::TaskFailed, _) | (_, Self::TaskFailed) => Self::TaskFailed,
            (Self::TimedOut, _) | (_, Self::TimedOut) => Self::TimedOut,
            _ => Self::Ok,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    what: String,
    why: Option<String>,
    hint: Option<String>,
    code: Option<Code>,
    violations: Vec<Wrong>,
}

/// A field that is wrong.
#[derive(Debug)]
struct Wrong {
    violation: Violation,
    /// What was typed for it.
    argument: Option<&'static str>,
}

impl From<Violation> for Wrong {
    fn from(violation: Violation) -> Self {
        Self { violation, argument: None }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.argument.unwrap_or(&self.violation.field);
        write!(f, "{field}: {}", self.violation.description)
    }
}

/// What commands return: how the program ends, or why they could not do their work.
pub type Outcome = Result<Exit, CliError>;

impl CliError {
    /// An error that says what happened, to what.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, hint: None, code: None, violations: Vec::new() }
    }

    /// A wrong command or value.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Because of this.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// And this can be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, if it is that something does not exist.
    #[must_use]
    pub fn hint_if_missing(self, hint: impl Into<String>) -> Self {
        if self.exit == Exit::NotFound { self.hint(hint) } else { self }
    }

    /// An error that a service answered; `doing` says what was asked, such as "submit the task".
    pub fn answered(doing: &str, error: Error) -> Self {
        let hint = match (error.code, error.retry_after) {
            (_, Some(delay)) => Some(format!("try again in {}", humantime::format_duration(delay))),
            (Code::Unavailable, None) => Some(UNREACHABLE_HINT.to_owned()),
            (Code::Unauthenticated, None) => Some(CREDENTIALS_HINT.to_owned()),
            (Code::PermissionDenied, None) => Some("see `evenkeel whoami`: it says what this caller may do".to_owned()),
            _ => None,
        };
        Self {
            exit: Exit::of(error.code),
            what: format!("could not {doing}"),
            why: Some(error.message),
            hint,
            code: Some(error.code),
            violations: error.violations.into_iter().map(Wrong::from).collect(),
        }
    }

    /// An error that a call ended with.
    pub fn status(doing: &str, status: &Status) -> Self {
        let error = wire::status::from_status(status);
        let words = explain(status);
        // A connection that never came about ends calls with codes of its own.
        if words.is_some() || lost_connection(status) {
            return Self::new(Exit::Unreachable, format!("could not {doing}: the connection to the coordinator broke"))
                .because(status.message())
                .hint(words.unwrap_or_else(|| UNREACHABLE_HINT.to_owned()));
        }
        Self::answered(doing, error)
    }

    /// The same, with the arguments of this command in the place of the fields that they fill.
    #[must_use]
    pub fn of_command(mut self, words: &str) -> Self {
        for wrong in &mut self.violations {
            let before = wrong.to_string();
            wrong.argument = arguments::filling(words, &wrong.violation.field);
            wrong.violation.description = arguments::in_words_of(words, &wrong.violation.description);
            self.why = self.why.map(|why| why.replacen(&before, &wrong.to_string(), 1));
        }
        self
    }

    /// What happened and why, in one line, and what can be done about it.
    #[must_use]
    pub fn in_one_line(&self) -> (String, Option<&str>) {
        let why = self.why.as_deref().map(|why| format!(": {}", why.trim().replace('\n', "; ")));
        (format!("{}{}", self.what, why.unwrap_or_default()), self.hint.as_deref())
    }

    /// The error for stderr: a block for people, or one line of JSON.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.to_string(),
            Format::Json | Format::Jsonl => {
                let error = ErrorJson {
                    exit_code: self.exit.code(),
                    code: self.code.map(Code::name),
                    message: &self.what,
                    cause: self.why.as_deref(),
                    hint: self.hint.as_deref(),
                    violations: self.violations.iter().map(ViolationJson::from).collect(),
                };
                serde_json::json!({ "error": error }).to_string()
            }
        }
    }
}

/// What to do when no coordinator answers.
pub const UNREACHABLE_HINT: &str =
    "start a coordinator with `evenkeel dev`, or give its address with --coordinator or EVENKEEL_COORDINATOR";

/// What to do when the coordinator wants to know who calls.
const CREDENTIALS_HINT: &str = "give a token with --token-file (EVENKEEL_TOKEN_FILE, or the token itself in EVENKEEL_TOKEN), or a \
                                certificate with --cert-file and --key-file";

/// Whether a call ended because the connection did, and not by the coordinator's answer.
pub fn lost_connection(status: &Status) -> bool {
    let source = std::error::Error::source(status);
    matches!(status.code(), tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled) && source.is_some()
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        // What is wrong with fields is the message itself: a single one is said in it, several in a list.
        match (self.violations.as_slice(), &self.why) {
            ([_, _, ..], _) => {
                write!(f, "\n  because: {} values are wrong", self.violations.len())?;
                for wrong in &self.violations {
                    write!(f, "\n  - {wrong}")?;
                }
            }
            (_, Some(why)) => write!(f, "\n  because: {why}")?,
            (_, None) => {}
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

impl From<io::Error> for CliError {
    /// An error of writing to stdout; every other I/O error is given its context where it happens.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::BrokenPipe, "the reader of stdout went away"),
            _ => Self::new(Exit::Error, "could not write to stdout").because(error),
        }
    }
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<ViolationJson<'a>>,
}

#[derive(Serialize)]
struct ViolationJson<'a> {
    field: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<&'static str>,
    description: &'a str,
}

impl<'a> From<&'a Wrong> for ViolationJson<'a> {
    fn from(Wrong { violation, argument }: &'a Wrong) -> Self {
        Self { field: &violation.field, argument: *argument, description: &violation.description }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_exit_has_its_own_code_and_help_names_it() {
        let exits = [
            Exit::Ok,
            Exit::Error,
            Exit::Usage,
            Exit::Unreachable,
            Exit::NotFound,
            Exit::TaskFailed,
            Exit::TimedOut,
            Exit::Refused,
            Exit::NoGo,
            Exit::Regression,
            Exit::Interrupted,
            Exit::BrokenPipe,
        ];
        let codes: BTreeSet<u8> = exits.map(Exit::code).into();
        assert_eq!(codes.len(), exits.len());
        for code in codes {
            assert!(EXIT_CODES.contains(&format!("{code:>5}  ")), "{code} is not in the help");
        }
    }

    #[test]
    fn no_error_of_a_service_counts_as_success() {
        for code in Code::ALL {
            assert_ne!(Exit::of(code), Exit::Ok, "{code}");
        }
    }

    #[test]
    fn the_gravest_end_of_many_tasks_decides() {
        use TaskState as S;
        let check = |states: &[Option<S>], expected| assert_eq!(Exit::of_tasks(states.iter().copied()), expected);
        check(&[], Exit::Ok);
        check(&[Some(S::Succeeded)], Exit::Ok);
        check(&[Some(S::Succeeded), None], Exit::TimedOut);
        check(&[Some(S::Failed), Some(S::Expired), Some(S::Succeeded)], Exit::TaskFailed);
        check(&[Some(S::Expired), Some(S::Quarantined)], Exit::TaskFailed);
    }

    #[test]
    fn an_error_says_what_why_and_what_to_do_in_both_forms() {
        let error = CliError::answered("get the task", Error::not_found("task", "0190")).hint("look at `task list`");
        let text = error.render(Format::Table);
        assert_eq!(
            text,
            "error: could not get the task\n  because: there is no task `0190`, or it is no longer kept\n  \
             try: look at `task list`"
        );
        let json: serde_json::Value = serde_json::from_str(&error.render(Format::Json)).unwrap();
        assert_eq!(json["error"]["exit_code"], 4);
        assert_eq!(json["error"]["code"], "NOT_FOUND");
    }

    /// An error of a request in which these fields are wrong, to someone who called `task submit`.
    fn wrong(fields: &[(&str, &str)]) -> CliError {
        let mut violations = evenkeel_shared::Violations::default();
        fields.iter().for_each(|(field, description)| violations.push(Violation::new(*field, *description)));
        CliError::answered("submit the task", violations.into()).of_command("task submit")
    }

    #[test]
    fn what_was_typed_is_named_and_not_the_field_that_it_fills() {
        let one = wrong(&[("tasks[0].attempt_timeout_ms", "is too long")]);
        assert_eq!(one.to_string(), "error: could not submit the task\n  because: --timeout: is too long");
        let json: serde_json::Value = serde_json::from_str(&one.render(Format::Json)).unwrap();
        let expected = serde_json::json!([
            { "field": "tasks[0].attempt_timeout_ms", "argument": "--timeout", "description": "is too long" }
        ]);
        assert_eq!(json["error"]["violations"], expected);

        let two = wrong(&[("tasks[0].kind", "is empty"), ("tasks[0].trace", "is none")]);
        let told = "error: could not submit the task\n  because: 2 values are wrong\n  - --kind: is empty\n  - \
                    tasks[0].trace: is none";
        assert_eq!(two.to_string(), told);
        assert_eq!(two.in_one_line().0, "could not submit the task: --kind: is empty; tasks[0].trace: is none");
    }
}
