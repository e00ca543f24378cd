//! What the steps of a sweep mean.

use serde::Serialize;

use super::{Step, fit, search::bracket};

/// A share of the processors beyond which they are what bounds.
const BUSY_SHARE: f64 = 0.8;
/// A share of the slots beyond which agents are what bounds: in a small fleet with uneven tasks, some wait long before all
/// slots work, and specialists, who are counted as all others, wait for work of their own.
const SLOTS_BUSY_SHARE: f64 = 0.7;
/// Agents are not planned to be busier than this, however smooth the sweep was: the rest is for the loss of some.
const UTILISATION_MAX: f64 = 0.9;

/// How much is carried, what bounds it, and what more would need.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacityPlan {
    /// Of the scenario.
    pub scenario: String,
    /// The largest rate that is sustained; none if not even the lowest is.
    pub knee_per_s: Option<f64>,
    /// The smallest rate that is not; none if the sweep did not reach it.
    pub broken_at_per_s: Option<f64>,
    /// What bounds it.
    pub bound: Bound,
    /// Each service level.
    pub levels: Vec<LevelLimit>,
    /// For the target, if there is one.
    pub needed: Option<AgentsNeeded>,
    /// What agents and tasks cost the coordinator.
    pub cost: PerThousand,
    /// All steps, by rate.
    pub steps: Vec<Step>,
}

/// What bounds the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The agents' slots are busy.
    Agents,
    /// The coordinator takes most of the processors.
    Coordinator,
    /// Coordinator and harness together take the machine: elsewhere, or with the harness on another machine, more may be possible.
    Machine,
    /// Neither: latency grew, or tasks failed, for another reason, such as the disk.
    Other,
    /// The sweep found no rate that is not sustained.
    NotReached,
}

impl Bound {
    /// In a few words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Agents => "the agents: their slots are busy",
            Self::Coordinator => "the coordinator: it takes most of the processors",
            Self::Machine => "this machine: coordinator and harness together take most of its processors",
            Self::Other => "neither agents nor processors; look at the disk and at the tasks that failed",
            Self::NotReached => "not reached: all rates were sustained",
        }
    }
}

/// Where a service level holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelLimit {
    /// Its name.
    pub name: String,
    /// The largest rate below the first break.
    pub kept_to_per_s: Option<f64>,
    /// The smallest rate at which it is broken.
    pub broken_at_per_s: Option<f64>,
}

/// What a target rate needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentsNeeded {
    /// The target.
    pub target_per_s: f64,
    /// Agents like those of the sweep.
    pub agents: u32,
    /// How busy they would be.
    pub utilisation: f64,
    /// Processors that the coordinator would take, by what it took here.
    pub coordinator_cores: Option<f64>,
    /// Whether this machine's processors are enough for such a coordinator, alone on it.
    pub coordinator_fits: Option<bool>,
}

/// What agents and tasks cost the coordinator, by least squares over the steps; none where the steps cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PerThousand {
    /// Processors for 1,000 agents that are idle.
    pub cpu_cores_per_1000_agents: Option<f64>,
    /// Processors for 1,000 tasks a second.
    pub cpu_cores_per_1000_tasks_per_s: Option<f64>,
    /// Memory for 1,000 agents.
    pub memory_mib_per_1000_agents: Option<f64>,
    /// Memory for 1,000 tasks a second, as long as a step of the sweep took.
    pub memory_mib_per_1000_tasks_per_s: Option<f64>,
}

/// Analyses a sweep: steps with rising rates of the same fleet in the order in which they were run, and steps of smaller
/// fleets, which only tell what an agent costs.
#[must_use]
pub fn analyse(scenario: &str, steps: &[Step], other_fleets: &[Step], target_per_s: Option<f64>) -> CapacityPlan {
    let p99_low_ms = steps.first().map_or(0.0, |step| step.p99_ms);
    let (knee_per_s, broken_at_per_s) = bracket(steps, p99_low_ms);
    let cost = cost(steps, other_fleets, p99_low_ms);
    let mut sorted = steps.to_vec();
    sorted.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
    let at = |rate: f64| steps.iter().find(|step| step.rate_per_s.total_cmp(&rate).is_eq());
    CapacityPlan {
        scenario: scenario.to_owned(),
        knee_per_s,
        broken_at_per_s,
        bound: broken_at_per_s.and_then(at).map_or(Bound::NotReached, bound),
        levels: levels(&sorted),
        needed: target_per_s.and_then(|target| needed(target, knee_per_s.and_then(at)?, &cost)),
        cost,
        steps: sorted,
    }
}

/// Of the step that was not sustained.
fn bound(step: &Step) -> Bound {
    let processors = f64::from(step.cpus.max(1)) * BUSY_SHARE;
    let coordinator = step.cpu_cores.unwrap_or(0.0);
    if step.utilisation >= SLOTS_BUSY_SHARE {
        Bound::Agents
    } else if coordinator >= processors {
        Bound::Coordinator
    } else if coordinator + step.harness_cpu_cores.unwrap_or(0.0) >= processors {
        Bound::Machine
    } else {
        Bound::Other
    }
}

fn levels(sorted: &[Step]) -> Vec<LevelLimit> {
    let names = sorted.first().map(|step| step.levels.as_slice()).unwrap_or_default();
    let of_level = |name: &str| {
        let is = |step: &Step, kept: bool| step.levels.iter().any(|level| level.name == name && level.kept == kept);
        let broken = sorted.iter().find(|step| is(step, false)).map(|step| step.rate_per_s);
        let below = |step: &&Step| is(step, true) && broken.is_none_or(|broken| step.rate_per_s < broken);
        let kept = sorted.iter().rev().find(below).map(|step| step.rate_per_s);
        LevelLimit { name: name.to_owned(), kept_to_per_s: kept, broken_at_per_s: broken }
    };
    names.iter().map(|level| of_level(&level.name)).collect()
}

/// Little's law: slots that work are rate times execution time; they may be as busy as at the knee. A larger fleet can be
/// busier at the same latency, so this is a little more than is needed.
fn needed(target_per_s: f64, knee: &Step, cost: &PerThousand) -> Option<AgentsNeeded> {
    let utilisation = knee.utilisation.min(UTILISATION_MAX);
    if knee.agents == 0 || knee.slots == 0 || utilisation <= 0.0 || knee.rate_per_s <= 0.0 {
        return None;
    }
    // Follow-up tasks are offered beyond the rate, so what counts is what a rate made of the slots here.
    let busy_slots = target_per_s * knee.utilisation * f64::from(knee.slots) / knee.rate_per_s;
    let slots_of_agent = f64::from(knee.slots) / f64::from(knee.agents);
    let agents = (busy_slots / utilisation / slots_of_agent).ceil();
    let of_tasks = cost.cpu_cores_per_1000_tasks_per_s.map(|cores| cores * target_per_s / 1e3);
    let of_agents = cost.cpu_cores_per_1000_agents.map_or(0.0, |cores| cores.max(0.0) * agents / 1e3);
    let coordinator_cores = of_tasks.map(|of_tasks| of_tasks + of_agents);
    Some(AgentsNeeded {
        target_per_s,
        agents: agents.min(f64::from(u32::MAX)) as u32,
        utilisation,
        coordinator_cores,
        coordinator_fits: coordinator_cores.map(|cores| cores <= BUSY_SHARE * f64::from(knee.cpus)),
    })
}

fn cost(steps: &[Step], other_fleets: &[Step], p99_low_ms: f64) -> PerThousand {
    // A coordinator that cannot keep up costs more for each task; that is not what is planned with.
    let sustained = steps.iter().filter(|step| step.is_sustained(p99_low_ms)).chain(other_fleets);
    let sustained: Vec<&Step> = sustained.collect();
    let fitted = |value: fn(&Step) -> Option<f64>| {
        let row = |step: &&Step| Some(([1.0, f64::from(step.agents) / 1e3, step.completed_per_s / 1e3], value(step)?));
        let rows: Vec<([f64; 3], f64)> = sustained.iter().filter_map(row).collect();
        if let Some([_, agents, tasks]) = fit::least_squares(&rows) {
            return (Some(agents), Some(tasks));
        }
        // One fleet cannot tell what an agent costs.
        let rows: Vec<([f64; 2], f64)> =
            rows.into_iter().map(|([one, _, tasks], value)| ([one, tasks], value)).collect();
        (None, fit::least_squares(&rows).map(|[_, tasks]| tasks))
    };
    let (cpu_agents, cpu_tasks) = fitted(|step| step.cpu_cores);
    let (memory_agents, memory_tasks) = fitted(|step| step.memory_mib);
    PerThousand {
        cpu_cores_per_1000_agents: cpu_agents,
        cpu_cores_per_1000_tasks_per_s: cpu_tasks,
        memory_mib_per_1000_agents: memory_agents,
        memory_mib_per_1000_tasks_per_s: memory_tasks,
    }
}
