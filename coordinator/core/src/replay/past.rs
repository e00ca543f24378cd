//! What a trace says of the fleet that had its tasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel_shared::{
    AgentId, Kind, TaskSpec,
    limits::{KINDS_MAX, SLOTS_MAX},
};

use super::{AGENTS_MAX, AgentPlan, Job, Micros, Recorded, ReplayError};

/// Times of a trace may be rounded to a millisecond, and overlaps shorter than that are none.
const RESOLUTION_US: Micros = 1_000;
/// Passes over the estimates of speeds; they settle within a few.
const SPEED_PASSES: usize = 20;
/// An agent's speed counts as if so many tasks had shown none: few tasks say little.
const TASKS_ASSUMED: f64 = 16.0;
/// A task that finds less than this share of all slots taken waits for nobody.
const QUIET_SHARE: f64 = 0.9;
/// Differences in speed of less than so many standard errors are taken for chance, and for none.
const ERRORS_TO_COUNT: f64 = 3.0;
/// Sorts of task: kinds, tenants and priorities that occur together. A bound on memory.
const SORTS_MAX: usize = 100_000;

/// The recorded tasks, and the fleet that had them.
pub(super) struct Past {
    pub tasks: Vec<Recorded>,
    /// Of each task, by its agent's place.
    pub agent_of: Vec<u32>,
    pub agents: Vec<AgentPlan>,
    pub sorts: Vec<TaskSpec>,
    pub jobs: Vec<Job>,
    /// Tasks that no agent is known to have had.
    pub left_out: u64,
    /// What a task waited that had not to wait for others: networks, disks, the coordinator. Replays have none of it.
    pub overhead_us: Micros,
}

impl Past {
    pub fn of(tasks: Vec<Recorded>, slots: Option<u32>, equal_speeds: bool) -> Result<Self, ReplayError> {
        let all = tasks.len();
        let tasks: Vec<Recorded> = tasks.into_iter().filter(|task| task.agent.is_some()).collect();
        if tasks.is_empty() {
            return Err(ReplayError::NoAgents);
        }
        let known: BTreeSet<AgentId> = tasks.iter().filter_map(|task| task.agent.clone()).collect();
        bounded("agents", known.len(), AGENTS_MAX)?;
        let places: BTreeMap<&AgentId, u32> = known.iter().zip(0..).collect();
        let place = |task: &Recorded| task.agent.as_ref().and_then(|agent| places.get(agent)).copied().unwrap_or(0);
        let agent_of: Vec<u32> = tasks.iter().map(place).collect();
        let mut kinds = vec![BTreeSet::<Kind>::new(); known.len()];
        for (task, &agent) in tasks.iter().zip(&agent_of) {
            kinds[agent as usize].insert(task.kind.clone());
        }
        bounded("kinds on one agent", kinds.iter().map(BTreeSet::len).max().unwrap_or(0), KINDS_MAX)?;
        let slots = match slots {
            Some(slots) => vec![slots; known.len()],
            None => slots_seen(&tasks, &agent_of, known.len()),
        };
        let overhead_us = overhead(&tasks, slots.iter().map(|&slots| u64::from(slots)).sum());
        let slowness = if equal_speeds { vec![1.0; known.len()] } else { slownesses(&tasks, &agent_of, known.len()) };
        let (sorts, jobs) = work(&tasks, &agent_of, &slowness)?;
        let agents = known.into_iter().zip(kinds).zip(slots).zip(&slowness);
        let agents = agents.map(|(((id, kinds), slots), &slowness)| AgentPlan {
            id,
            kinds: kinds.into_iter().collect(),
            slots,
            slowness,
        });
        let left_out = (all - tasks.len()) as u64;
        Ok(Self { agents: agents.collect(), left_out, overhead_us, tasks, agent_of, sorts, jobs })
    }
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), ReplayError> {
    if count > max { Err(ReplayError::TooMany { what, count, max }) } else { Ok(()) }
}

pub(super) fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}

/// The most tasks that each agent had at once; 1 where waits are not known.
fn slots_seen(tasks: &[Recorded], agent_of: &[u32], agents: usize) -> Vec<u32> {
    let mut changes = Vec::with_capacity(2 * tasks.len());
    for (task, &agent) in tasks.iter().zip(agent_of) {
        let Some(queued) = task.queued else { continue };
        let began = micros(task.submitted_at + queued);
        let ended = began + micros(task.service).saturating_sub(RESOLUTION_US);
        if ended > began {
            // Ends before beginnings, where both are at one time.
            changes.extend([(agent, began, 1), (agent, ended, -1)]);
        }
    }
    changes.sort_unstable_by_key(|&(agent, at, change)| (agent, at, change));
    let (mut seen, mut busy) = (vec![1; agents], vec![0_i64; agents]);
    for (agent, _, change) in changes {
        let at = agent as usize;
        busy[at] += change;
        seen[at] = u32::try_from(busy[at]).unwrap_or(0).clamp(seen[at], SLOTS_MAX);
    }
    seen
}

/// The median wait of the tasks that came when there was room; 0 if none did.
fn overhead(tasks: &[Recorded], slots: u64) -> Micros {
    let ends = tasks.iter().filter_map(|task| Some(micros(task.submitted_at + task.queued? + task.service)));
    let mut ends: Vec<Micros> = ends.collect();
    ends.sort_unstable();
    let (mut ended, mut waits) = (0, Vec::new());
    for (before, task) in tasks.iter().filter(|task| task.queued.is_some()).enumerate() {
        while ends.get(ended).is_some_and(|&end| end <= micros(task.submitted_at)) {
            ended += 1;
        }
        if (before.saturating_sub(ended) as f64) < QUIET_SHARE * slots as f64 {
            waits.extend(task.queued.map(micros));
        }
    }
    let middle = waits.len() / 2;
    if waits.is_empty() { 0 } else { *waits.select_nth_unstable(middle).1 }
}

/// How many times as long as the others each agent took. As in [`crate::health::pace`], a run time is taken for what
/// its kind takes times what its agent does to it, and the logarithms are averaged; here over the whole history. What may be
/// chance counts as none.
fn slownesses(tasks: &[Recorded], agent_of: &[u32], agents: usize) -> Vec<f64> {
    let mut kinds: BTreeMap<&Kind, usize> = BTreeMap::new();
    let mut samples = Vec::with_capacity(tasks.len());
    for (task, &agent) in tasks.iter().zip(agent_of) {
        let next = kinds.len();
        let kind = *kinds.entry(&task.kind).or_insert(next);
        samples.push((kind, agent as usize, (micros(task.service).max(1) as f64).ln()));
    }
    let mut by_agent = vec![0.0; agents];
    let mut by_kind = vec![0.0; kinds.len()];
    for _ in 0..SPEED_PASSES {
        by_kind = averages(samples.iter().map(|&(kind, agent, log)| (kind, log - by_agent[agent])), kinds.len(), 0.0);
        let of_agents = samples.iter().map(|&(kind, agent, log)| (agent, log - by_kind[kind]));
        by_agent = averages(of_agents, agents, TASKS_ASSUMED);
    }
    let mut tasks_of = vec![0.0; agents];
    let mut squares = 0.0;
    for &(kind, agent, log) in &samples {
        tasks_of[agent] += 1.0;
        squares += (log - by_kind[kind] - by_agent[agent]).powi(2);
    }
    let deviation = (squares / samples.len().max(1) as f64).sqrt();
    let counts = |log: f64, tasks: f64| log.abs() * tasks.sqrt() > ERRORS_TO_COUNT * deviation;
    let logs = by_agent.into_iter().zip(tasks_of);
    logs.map(|(log, tasks)| if counts(log, tasks) { log.exp() } else { 1.0 }).collect()
}

/// The average of the values of each place, as if there were so many zeros more.
fn averages(values: impl Iterator<Item = (usize, f64)>, places: usize, zeros: f64) -> Vec<f64> {
    let mut sums = vec![(0.0, zeros); places];
    for (at, value) in values {
        sums[at].0 += value;
        sums[at].1 += 1.0;
    }
    sums.into_iter().map(|(sum, count)| if count > 0.0 { sum / count } else { 0.0 }).collect()
}

/// The tasks as the simulation wants them.
fn work(tasks: &[Recorded], agent_of: &[u32], slowness: &[f64]) -> Result<(Vec<TaskSpec>, Vec<Job>), ReplayError> {
    let mut known = BTreeMap::new();
    let mut sorts = Vec::new();
    let mut jobs = Vec::with_capacity(tasks.len());
    for (task, &agent) in tasks.iter().zip(agent_of) {
        let sort = *known.entry((&task.kind, &task.tenant, task.priority)).or_insert_with(|| {
            let spec = TaskSpec::of_kind(task.kind.clone());
            sorts.push(TaskSpec { tenant: task.tenant.clone(), priority: task.priority, ..spec });
            sorts.len() - 1
        });
        bounded("sorts of task", sorts.len(), SORTS_MAX)?;
        let demand_us = task.service.as_secs_f64() * 1e6 / slowness[agent as usize];
        jobs.push(Job { at: micros(task.submitted_at), demand_us, sort: sort as u32 });
    }
    Ok((sorts, jobs))
}
