//! What happened, in words: nothing in a long run, everything in a test of determinism, and what concerns the tasks at
//! fault when a failing seed is run again.

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use evenkeel_shared::TaskId;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The trouble that was made.
    Fault,
    /// The cluster as a whole.
    Cluster,
    /// An agent.
    Agent,
    /// What a client wants.
    Order(usize),
    /// A task.
    Task(TaskId),
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub(super) enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// Everything.
    All,
    /// Nothing: every line goes to stderr at once, so that a run that does not come to its end shows its last ones.
    Print,
    /// Faults, and what concerns these.
    Focus { tasks: BTreeSet<TaskId>, orders: BTreeSet<usize> },
}

/// A line, and when.
#[derive(Clone, Debug)]
struct Line {
    at: Duration,
    is_fault: bool,
    words: String,
}

/// The lines that are kept. See the module.
#[derive(Debug, Default)]
pub(super) struct Trace {
    keep: Keep,
    lines: Vec<Line>,
}

/// Faults shown that came before the first line about a task at fault.
const FAULTS_BEFORE: Duration = Duration::from_secs(30);
/// Lines of a short trace: two screens.
const SHORT_LINES_MAX: usize = 100;

impl Trace {
    pub fn new(keep: Keep) -> Self {
        Self { keep, lines: Vec::new() }
    }

    /// Writes a line down, if it is wanted; `words` are only made then.
    pub fn note(&mut self, at: Duration, about: About, words: impl FnOnce() -> String) {
        let wanted = match &self.keep {
            Keep::Nothing => false,
            Keep::All | Keep::Print => true,
            Keep::Focus { tasks, orders } => match about {
                About::Fault => true,
                About::Order(order) => orders.contains(&order),
                About::Task(task) => tasks.contains(&task),
                About::Cluster | About::Agent => false,
            },
        };
        if !wanted {
            return;
        }
        let line = Line { at, is_fault: about == About::Fault, words: words() };
        if matches!(self.keep, Keep::Print) {
            // Who does not read any more misses nothing.
            let _ = writeln!(std::io::stderr(), "{}", line.shown());
        } else {
            self.lines.push(line);
        }
    }

    /// All lines.
    pub fn all(&self) -> Vec<String> {
        self.lines.iter().map(Line::shown).collect()
    }

    /// The lines about what was focused on and the faults around them; the first and the last ones where they are many.
    pub fn short(&self) -> Vec<String> {
        let mut others = self.lines.iter().filter(|line| !line.is_fault).map(|line| line.at);
        let (from, to) = match others.next() {
            Some(first) => (first.saturating_sub(FAULTS_BEFORE), others.next_back().unwrap_or(first)),
            None => (Duration::ZERO, Duration::MAX),
        };
        let kept: Vec<_> = self.lines.iter().filter(|line| (from..=to).contains(&line.at)).map(Line::shown).collect();
        let left_out = kept.len().saturating_sub(SHORT_LINES_MAX);
        if left_out == 0 {
            return kept;
        }
        let (head, tail) = (SHORT_LINES_MAX / 2, kept.len() - SHORT_LINES_MAX / 2);
        let mut short = kept[..head].to_vec();
        short.push(format!("... {left_out} lines left out ..."));
        short.extend_from_slice(&kept[tail..]);
        short
    }
}

impl Line {
    fn shown(&self) -> String {
        format!("{:>12.6} {}{}", self.at.as_secs_f64(), if self.is_fault { "!! " } else { "" }, self.words)
    }
}
