//! What can be found in recorded history: what tasks requested beside what they used.
//!
//! The shell reads the newest tasks that succeeded and their last attempts from the store now and then; nothing is counted while tasks run.
//! The measure is the 95th percentile over a kind and a quarter more: the mean would take memory away from every second task, the
//! most is what one broken task used.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, Resources, Timestamp};

use super::{
    Action, AdviceKind, Finding,
    findings::{quantile, sureness},
};

/// Attempts of a kind that must tell what they used.
pub const ATTEMPTS_MIN: usize = 50;
/// Kinds looked at, at most.
const KINDS_MAX: usize = 256;
/// What is advised is so many times the 95th percentile.
const MARGIN: f64 = 1.25;
/// A request is too large if what is advised is less than this share of it.
const TOO_LARGE: f64 = 0.6;
/// Memory is advised in such steps.
const MEMORY_STEP: f64 = (16 << 20) as f64;
/// Processor is advised in such steps, in thousandths of a core.
const CPU_STEP: f64 = 50.0;

/// A task that succeeded, as far as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct PastTask {
    /// Its kind.
    pub kind: Kind,
    /// What it had requested for an attempt.
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
    kinds.into_iter().flat_map(|(kind, tasks)| [memory(kind, &tasks), cpu(kind, &tasks)]).flatten().collect()
}

fn memory(kind: &Kind, tasks: &[&PastTask]) -> Option<Finding> {
    let told = tasks.iter().filter(|task| task.requested.memory_bytes > 0);
    let told = told.filter_map(|task| Some((task.requested.memory_bytes as f64, task.memory_max_bytes? as f64)));
    let (requested, used): (Vec<f64>, Vec<f64>) = told.filter(|(_, used)| *used > 0.0).unzip();
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
    advise(kind, "memory", "memory_bytes", &requested, &used, MEMORY_STEP, mib)
}

fn cpu(kind: &Kind, tasks: &[&PastTask]) -> Option<Finding> {
    let told = tasks.iter().filter(|task| task.requested.cpu_millis > 0 && !task.run.is_zero());
    let told = told.filter_map(|task| {
        let cores = task.cpu?.as_secs_f64() / task.run.as_secs_f64();
        Some((task.requested.cpu_millis as f64, 1_000.0 * cores))
    });
    let (requested, used): (Vec<f64>, Vec<f64>) = told.filter(|(_, used)| *used > 0.0).unzip();
    advise(kind, "cpu", "cpu_millis", &requested, &used, CPU_STEP, |millis| format!("{:.2} cores", millis / 1e3))
}

fn advise(
    kind: &Kind,
    what: &str,
    field: &str,
    requested: &[f64],
    used: &[f64],
    step: f64,
    shown: impl Fn(f64) -> String,
) -> Option<Finding> {
    if used.len() < ATTEMPTS_MIN {
        return None;
    }
    // The most usual request, if not all are the same.
    let requested = quantile(requested.to_vec(), 0.5);
    let p95 = quantile(used.to_vec(), 0.95);
    let enough = (p95 * MARGIN / step).ceil() * step;
    let (title, effect) = if enough <= TOO_LARGE * requested {
        let more = requested / enough;
        (
            format!("tasks of kind {kind} request {:.1} times the {what} that they need", requested / p95.max(1e-9)),
            format!(
                "{} less held by each; where {what} is what agents run out of, {more:.1} times as many at once",
                shown(requested - enough)
            ),
        )
    } else if p95 > requested {
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
            format!("requested: {} (median of {} attempts that succeeded)", shown(requested), used.len()),
            format!("used: {} at the 95th percentile, {} at the most", shown(p95), shown(quantile(used.to_vec(), 1.0))),
        ],
        expected_effect: effect,
        confidence: sureness(used.len(), 10 * ATTEMPTS_MIN),
        action: Action::Tell(format!(
            "where tasks of kind {kind} are submitted, request {field} = {enough:.0} ({}): requests are the client's to make",
            shown(enough)
        )),
    })
}
