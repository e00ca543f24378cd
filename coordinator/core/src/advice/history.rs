//! What can be found in recorded history: what tasks reserved beside what they used.
//!
//! The shell reads the newest tasks that succeeded and their last attempts from the store now and then; nothing is counted while tasks run.
//! The measure is the 95th percentile over a kind and a quarter more: the mean would take memory away from every second task, the
//! most is what one broken task used.
//!
//! Where nearly all tasks of a kind ask for the same, one size is right for all of them, and can be applied as the size of the kind
//! ([`crate::sizing`]). Where they ask for different amounts, their clients know something about each of them that is not
//! measured here: one size would be too small for some, so it is said and not applied.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, Resources, Timestamp};

use super::{
    Action, AdviceKind, Finding,
    findings::{quantile, sureness},
};
use crate::sizing::SizedResource;

/// Attempts of a kind that must tell what they used.
pub const ATTEMPTS_MIN: usize = 50;
/// Kinds looked at, at most.
const KINDS_MAX: usize = 256;
/// What is advised is so many times the 95th percentile.
const MARGIN: f64 = 1.25;
/// A request is too large if what is advised is less than this share of it.
const TOO_LARGE: f64 = 0.6;
/// One size fits all tasks of a kind if so many per cent of them request the same.
const ALIKE_PERCENT: usize = 90;
/// Memory is advised in such steps.
const MEMORY_STEP: f64 = (16 << 20) as f64;
/// Processor is advised in such steps, in thousandths of a core.
const CPU_STEP: f64 = 50.0;

/// A task that succeeded, as far as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct PastTask {
    /// Its kind.
    pub kind: Kind,
    /// What it reserved for an attempt: what it requested, or the size of its kind.
    pub requested: Resources,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How long its last attempt ran.
    pub run: Duration,
    /// Processor time that it used; `None`: its agent did not say.
    pub cpu: Option<Duration>,
    /// The most memory that it had; `None`: its agent did not say.
    pub memory_max_bytes: Option<u64>,
}

/// What requests are too large or too small, by kind.
#[must_use]
pub fn findings(tasks: &[PastTask]) -> Vec<Finding> {
    let mut kinds: BTreeMap<&Kind, Vec<&PastTask>> = BTreeMap::new();
    for task in tasks {
        if kinds.len() < KINDS_MAX || kinds.contains_key(&task.kind) {
            kinds.entry(&task.kind).or_default().push(task);
        }
    }
    kinds
        .into_iter()
        .flat_map(|(kind, tasks)| [&MEMORY, &CPU].map(|measure| measure.finding(kind, &tasks)))
        .flatten()
        .collect()
}

/// A resource as findings speak of it.
struct Measure {
    resource: SizedResource,
    name: &'static str,
    /// The field of a request that asks for it.
    field: &'static str,
    /// It is advised in such steps.
    step: f64,
    /// What a task reserved of it.
    requested: fn(&Resources) -> u64,
    /// What an attempt used of it. `None`: its agent did not say.
    used: fn(&PastTask) -> Option<f64>,
    shown: fn(f64) -> String,
}

const MEMORY: Measure = Measure {
    resource: SizedResource::MemoryBytes,
    name: "memory",
    field: "memory_bytes",
    step: MEMORY_STEP,
    requested: |resources| resources.memory_bytes,
    used: |task| task.memory_max_bytes.map(|bytes| bytes as f64),
    shown: |bytes| format!("{:.0} MiB", bytes / f64::from(1 << 20)),
};

const CPU: Measure = Measure {
    resource: SizedResource::CpuMillis,
    name: "cpu",
    field: "cpu_millis",
    step: CPU_STEP,
    requested: |resources| resources.cpu_millis,
    used: |task| {
        let cores = task.cpu?.as_secs_f64() / task.run.as_secs_f64();
        cores.is_finite().then_some(1_000.0 * cores)
    },
    shown: |millis| format!("{:.2} cores", millis / 1e3),
};

impl Measure {
    fn finding(&self, kind: &Kind, tasks: &[&PastTask]) -> Option<Finding> {
        let Self { name: what, shown, .. } = self;
        let asked = |task: &PastTask| (self.requested)(&task.requested);
        let told = tasks.iter().filter(|task| asked(task) > 0);
        let told = told.filter_map(|task| Some((asked(task) as f64, (self.used)(task)?)));
        let (requested, used): (Vec<f64>, Vec<f64>) = told.filter(|(_, used)| *used > 0.0).unzip();
        let attempts = used.len();
        if attempts < ATTEMPTS_MIN {
            return None;
        }
        // The most usual request, if not all are the same.
        let usual = quantile(requested, 0.5);
        let p95 = quantile(used.clone(), 0.95);
        let enough = (p95 * MARGIN / self.step).ceil() * self.step;
        let (title, effect) = if enough <= TOO_LARGE * usual {
            let more = usual / enough;
            (
                format!("tasks of kind {kind} request {:.1} times the {what} that they need", usual / p95.max(1e-9)),
                format!(
                    "{} less held by each; where {what} is what agents run out of, {more:.1} times as many at once",
                    shown(usual - enough)
                ),
            )
        } else if p95 > usual {
            (
                format!("tasks of kind {kind} use more {what} than they request"),
                format!("agents would no longer be given more than their {what} can take"),
            )
        } else {
            return None;
        };
        Some(Finding {
            id: format!("right-size:{what}:{kind}"),
            kind: AdviceKind::RightSize,
            title,
            evidence: vec![
                format!("requested: {} (median of {attempts} attempts that succeeded)", shown(usual)),
                format!("used: {} at the 95th percentile, {} at the most", shown(p95), shown(quantile(used, 1.0))),
            ],
            expected_effect: effect,
            confidence: sureness(attempts, 10 * ATTEMPTS_MIN),
            action: self.action(kind, tasks, usual, enough),
        })
    }

    /// A size for all tasks of the kind, if nearly all of them request what is usual.
    fn action(&self, kind: &Kind, tasks: &[&PastTask], usual: f64, enough: f64) -> Action {
        let alike = tasks.iter().filter(|task| (self.requested)(&task.requested) == usual as u64).count();
        if alike * 100 >= tasks.len() * ALIKE_PERCENT {
            return Action::Size { kind: kind.clone(), resource: self.resource, amount: enough as u64 };
        }
        let Self { field, shown, .. } = self;
        Action::Tell(format!(
            "where tasks of kind {kind} are submitted, request {field} = {enough:.0} ({}) at the most: they request different \
             amounts, so no one size is right for all of them",
            shown(enough)
        ))
    }
}
