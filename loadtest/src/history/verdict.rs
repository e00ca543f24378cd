//! The rules, what a run was to come to, and what the judge says.

use std::{collections::BTreeMap, fmt, time::Duration};

use evenkeel_shared::{TaskId, Timestamp};
use serde::Serialize;

/// Violations of one rule that are kept in full. All are counted. The bound is one for each rule, so that a rule that is
/// broken by every task does not hide another one.
pub(super) const VIOLATIONS_OF_A_RULE_MAX: u64 = 20;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What must hold. For every rule there is a history that breaks it alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Rule {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, as shown and serialised.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

rules! {
    /// A task that a client was told of is not recorded.
    AcceptedTaskLost = "accepted-task-lost",
    /// A submission was answered with the task of another one.
    AnsweredWithAnotherTask = "answered-with-another-task",
    /// The end of a task, or a success at it, was recorded more than once.
    RecordedTwice = "recorded-twice",
    /// A result was accepted from an attempt that was not the task's current one.
    SupersededResultAccepted = "superseded-result-accepted",
    /// An agent was told that a result is stale which is recorded as its own.
    RecordedResultCalledStale = "recorded-result-called-stale",
    /// A task has more attempts than it may have.
    TooManyAttempts = "too-many-attempts",
    /// The attempts recorded of a task are not those that were counted.
    AttemptsMiscounted = "attempts-miscounted",
    /// Two attempts of a task were live at one time, or one of a task that is over.
    TwoLiveAssignments = "two-live-assignments",
    /// A task was assigned after its deadline.
    DispatchAfterDeadline = "dispatch-after-deadline",
    /// A task that was over is now over in another way, or went on.
    TerminalStateChanged = "terminal-state-changed",
    /// One idempotency key has two tasks.
    KeyGaveTwoTasks = "key-gave-two-tasks",
    /// One idempotency key was answered with one task for two different contents.
    KeyTookOtherContent = "key-took-other-content",
    /// A task was driven again as two tasks.
    DrivenAgainTwice = "driven-again-twice",
    /// A task was driven again that succeeded, or was not over.
    DrivenAgainNeedlessly = "driven-again-needlessly",
    /// A refused submission has a task.
    RefusedSubmissionMadeTask = "refused-submission-made-task",
    /// There are more tasks than submissions that may have made them.
    TaskNobodyAskedFor = "task-nobody-asked-for",
    /// An agent ran an attempt that is not recorded as assigned to it.
    UnassignedExecution = "unassigned-execution",
    /// Clients were shown different outputs, or another one than is recorded.
    OutputDiffers = "output-differs",
    /// A task is not over although all should be.
    NotOver = "not-over",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a run was to come to, beyond the promises that always hold. The default is the strictest but for `all_over`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Every recorded task is over: the faults have stopped, and there was time to heal.
    pub all_over: bool,
    /// The coordinator died, and may have lost ephemeral tasks with its memory.
    pub ephemeral_may_be_lost: bool,
    /// There are submissions that the history has not: tasks that nobody of the history asked for are then no fault.
    pub others_submit: bool,
    /// How much two times of the coordinator may disagree: zero, unless its clock went back between two of its lives.
    pub clock_tolerance: Duration,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// Of which task, where there is one.
    pub task: Option<TaskId>,
    /// The facts, in one sentence. Times are seconds since the first time that the coordinator recorded.
    pub facts: String,
}

/// What the judge says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Submissions answered with a task.
    pub acknowledged: u64,
    /// Submissions refused.
    pub refused: u64,
    /// Submissions whose outcome nobody told.
    pub unknown: u64,
    /// Tasks recorded.
    pub tasks: u64,
    /// Attempts recorded.
    pub attempts: u64,
    /// Executions that agents wrote down.
    pub executions: u64,
    /// Executions beyond the first of a task.
    pub executions_extra: u64,
    /// Results answered as recorded; one that was sent twice counts twice.
    pub recorded_answers: u64,
    /// Results answered as stale.
    pub stale_answers: u64,
    /// How often each rule was broken, all counted.
    pub broken: BTreeMap<Rule, u64>,
    /// Broken promises by rule and task, the first ones of each rule in full.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// The rules that were broken, in order.
    #[must_use]
    pub fn rules_broken(&self) -> Vec<Rule> {
        self.broken.keys().copied().collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violations: u64 = self.broken.values().sum();
        match violations {
            0 => writeln!(f, "clean: no promise was broken")?,
            1 => writeln!(f, "1 violation")?,
            _ => writeln!(f, "{violations} violations")?,
        }
        let Self { acknowledged, refused, unknown, tasks, attempts, executions, executions_extra, .. } = self;
        writeln!(f, "  submissions  {acknowledged} acknowledged, {refused} refused, {unknown} unknown")?;
        writeln!(f, "  tasks        {tasks} recorded, with {attempts} attempts")?;
        writeln!(f, "  executions   {executions}, {executions_extra} of them beyond a task's first")?;
        writeln!(f, "  results      {} answered recorded, {} stale", self.recorded_answers, self.stale_answers)?;
        let mut shown = self.violations.as_slice();
        for (rule, count) in &self.broken {
            writeln!(f, "{rule}: {count}")?;
            let (of_rule, others) = shown.split_at(shown.partition_point(|violation| violation.rule <= *rule));
            for violation in of_rule {
                writeln!(f, "  {}", violation.facts)?;
            }
            shown = others;
        }
        Ok(())
    }
}

/// The judge's notes while it reads.
pub(super) struct Findings {
    pub expect: Expect,
    origin: Timestamp,
    verdict: Verdict,
}

impl Findings {
    /// No findings yet; times are told from `origin` on.
    pub(super) fn new(expect: Expect, origin: Timestamp, counts: Verdict) -> Self {
        Self { expect, origin, verdict: counts }
    }

    /// A rule is broken. The facts are put into words only where they are kept.
    #[cfg_attr(test, track_caller)]
    pub(super) fn add(&mut self, rule: Rule, task: impl Into<Option<TaskId>>, facts: impl FnOnce(&Clock) -> String) {
        #[cfg(test)]
        if places::is_taken_out() {
            return;
        }
        let count = self.verdict.broken.entry(rule).or_default();
        *count += 1;
        if *count <= VIOLATIONS_OF_A_RULE_MAX {
            let facts = facts(&Clock { origin: self.origin });
            self.verdict.violations.push(Violation { rule, task: task.into(), facts });
        }
    }

    /// Closes the notes.
    pub(super) fn close(mut self) -> Verdict {
        self.verdict.violations.sort();
        self.verdict
    }
}

/// Writes times relative to where the record begins.
pub(super) struct Clock {
    origin: Timestamp,
}

impl Clock {
    /// The time, as in `+1.250 s`.
    pub(super) fn at(&self, time: Timestamp) -> String {
        let (sign, distance) =
            if time >= self.origin { ('+', time.since(self.origin)) } else { ('-', self.origin.since(time)) };
        format!("{sign}{:.3} s", distance.as_secs_f64())
    }
}

/// The places of the judge where violations are found, for tests: which ones this thread came to, and one that is taken out.
#[cfg(test)]
pub(super) mod places {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeSet,
        panic::Location,
    };

    /// A place in the source.
    pub(in crate::history) type Place = (&'static str, u32);

    thread_local! {
        static REACHED: RefCell<BTreeSet<Place>> = const { RefCell::new(BTreeSet::new()) };
        static TAKEN_OUT: Cell<Option<Place>> = const { Cell::new(None) };
    }

    /// Whether the caller's caller is taken out.
    #[track_caller]
    pub(super) fn is_taken_out() -> bool {
        let caller = Location::caller();
        let place = (caller.file(), caller.line());
        REACHED.with_borrow_mut(|reached| reached.insert(place));
        TAKEN_OUT.get() == Some(place)
    }

    /// All places so far.
    pub(in crate::history) fn reached() -> BTreeSet<Place> {
        REACHED.with_borrow(Clone::clone)
    }

    /// The judge overlooks what it finds in this place.
    pub(in crate::history) fn take_out(place: Option<Place>) {
        TAKEN_OUT.set(place);
    }
}
