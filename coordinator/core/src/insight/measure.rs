//! From counters and states to values.
//!
//! Counters are since the coordinator started, so a value is the difference between two samples over the time between them. A counter
//! that went back is another coordinator's, or another session's: there is no value for that second. Nothing to divide by
//! gives no value either, rather than a 0 that would look like a measurement.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_shared::{AgentId, Health, Kind, Tenant};

use super::{
    metric::{Metric, Subject},
    sample::GroupSample,
    series::Value,
};
use crate::{
    manager::FleetSample,
    model::{AgentView, view::Counters},
};

/// Who is lost counts as down for so long; after that it is taken for gone.
const DOWN_MAX: Duration = Duration::from_secs(600);

/// What a sample says.
#[derive(Debug)]
pub(super) struct Measured {
    /// In the order of [`Metric::ALL`].
    pub fleet: Vec<Value>,
    /// Tenants and kinds, in the order of their metrics; a tenant has one less.
    pub groups: Vec<(Subject, [Value; 4])>,
}

/// What this sample says beside the last one.
pub(super) fn measure(sample: &FleetSample, last: Option<&FleetSample>) -> Measured {
    let seconds = last.map_or(0.0, |last| sample.at.since(last.at).as_secs_f64());
    let tenants = groups(&sample.more.tenants, last.map(|last| &*last.more.tenants), seconds);
    let kinds = groups(&sample.more.kinds, last.map(|last| &*last.more.kinds), seconds);
    let tenants = tenants.filter_map(|(name, values)| Some((Subject::Tenant(Tenant::new(name).ok()?), values)));
    let kinds = kinds.filter_map(|(name, values)| Some((Subject::Kind(Kind::new(name).ok()?), values)));
    Measured { fleet: fleet(sample, last), groups: tenants.chain(kinds).collect() }
}

/// The groups by name, each with what there was of it before.
fn groups<'a>(
    now: &'a [GroupSample],
    then: Option<&'a [GroupSample]>,
    seconds: f64,
) -> impl Iterator<Item = (&'a str, [Value; 4])> {
    let pairs = paired(now, then.unwrap_or_default(), name_of);
    pairs.map(move |(group, before)| (name_of(group), of_group(group, before, seconds)))
}

/// What is now, each with what was of the same key before. Both are in the order of their keys.
fn paired<'a, T, K: Ord + ?Sized + 'a>(
    now: &'a [T],
    then: &'a [T],
    key: fn(&T) -> &K,
) -> impl Iterator<Item = (&'a T, Option<&'a T>)> {
    let mut then = then.iter().peekable();
    now.iter().map(move |one| {
        while then.next_if(|before| key(before) < key(one)).is_some() {}
        (one, then.peek().copied().filter(|before| key(before) == key(one)))
    })
}

fn name_of(group: &GroupSample) -> &str {
    &group.name
}

fn id_of(agent: &Arc<AgentView>) -> &AgentId {
    &agent.spec.id
}

/// Values of the fleet, in the order of [`Metric::ALL`]; at first there are none.
struct Fleet(Vec<Value>);

impl Fleet {
    fn set(&mut self, metric: Metric, value: Value) {
        self.0[metric as usize] = value;
    }
}

fn fleet(sample: &FleetSample, last: Option<&FleetSample>) -> Vec<Value> {
    let mut fleet = Fleet(vec![None; Metric::ALL.len()]);
    fleet.as_it_is(sample);
    if let Some(last) = last {
        fleet.since(sample, last);
    }
    fleet.0
}

impl Fleet {
    /// What one sample alone says.
    fn as_it_is(&mut self, sample: &FleetSample) {
        let status = &sample.status;
        let (mut connected, mut known, mut down, mut cpu, mut memory) = (0_u32, 0_u32, 0_u32, 0.0, 0.0);
        for agent in &sample.agents {
            let lost = agent.health == Health::Lost;
            if !lost {
                connected += 1;
                cpu += agent.load.cpu_share;
                memory += agent.load.memory_share;
            } else if sample.at.since(agent.last_heard_at) >= DOWN_MAX {
                continue;
            }
            known += 1;
            down += u32::from(lost || agent.health == Health::Unhealthy);
        }
        self.set(Metric::Utilisation, share(f64::from(status.slots_used), f64::from(status.slots_total)));
        self.set(Metric::Cpu, share(cpu, f64::from(connected)));
        self.set(Metric::Memory, share(memory, f64::from(connected)));
        self.set(Metric::SlotsTotal, Some(f64::from(status.slots_total)));
        self.set(Metric::Agents, Some(f64::from(connected)));
        self.set(Metric::AgentsDown, share(f64::from(down), f64::from(known)));
        self.set(Metric::Queued, Some(status.queued as f64));
        self.set(Metric::OldestWaitMs, Some(status.oldest_queued.as_secs_f64() * 1e3));
    }

    /// What has changed since the last one.
    fn since(&mut self, sample: &FleetSample, last: &FleetSample) {
        let seconds = sample.at.since(last.at).as_secs_f64();
        let (now, then) = (&sample.status.counters, &last.status.counters);
        let ended = |c: &Counters| c.succeeded + c.failed + c.cancelled + c.expired + c.quarantined;
        let bad = |c: &Counters| c.failed + c.expired + c.quarantined;
        let (ended, bad) = (grown(ended(now), ended(then)), grown(bad(now), bad(then)));
        self.set(Metric::RequestRate, rate(grown(now.accepted, then.accepted), seconds));
        self.set(Metric::CompletionRate, rate(ended, seconds));
        self.set(Metric::ErrorRate, ended.zip(bad).and_then(|(ended, bad)| share(bad, ended)));
        let (now, then) = (&sample.more.shell, &last.more.shell);
        let (time, tasks) =
            (grown_time(now.response_time, then.response_time), grown(now.tasks_ended, then.tasks_ended));
        self.set(Metric::ResponseTimeMs, mean_ms(time, tasks));
        let (time, commits) = (grown_time(now.commit_time, then.commit_time), grown(now.commits, then.commits));
        self.set(Metric::CommitMs, mean_ms(time, commits));
        let busy = grown_time(now.engine_busy, then.engine_busy).filter(|_| !now.engine_busy.is_zero());
        self.set(Metric::EngineBusy, busy.and_then(|busy| share(busy, seconds)).map(|busy| busy.min(1.0)));
        self.set(Metric::RunTimeMs, run_time_ms(&sample.more.kinds, &last.more.kinds));
    }
}

/// How long attempts ran on average that ended meanwhile, over all kinds.
fn run_time_ms(now: &[GroupSample], then: &[GroupSample]) -> Value {
    let ended = paired(now, then, name_of).filter_map(|(kind, before)| {
        let before = before?;
        grown_time(kind.run_time, before.run_time).zip(grown(kind.released, before.released))
    });
    let (run, released) = ended.fold((0.0, 0.0), |(run, released), (time, count)| (run + time, released + count));
    mean_ms(Some(run), Some(released))
}

/// Waiting, requested and released per second, and mean run time.
fn of_group(now: &GroupSample, then: Option<&GroupSample>, seconds: f64) -> [Value; 4] {
    let waiting = Some(now.waiting as f64);
    let Some(then) = then else { return [waiting, None, None, None] };
    let released = grown(now.released, then.released);
    [
        waiting,
        rate(grown(now.requested, then.requested), seconds),
        rate(released, seconds),
        mean_ms(grown_time(now.run_time, then.run_time), released),
    ]
}

/// What is measured of connected agents, in the order of their metrics.
pub(super) fn of_agents<'a>(
    sample: &'a FleetSample,
    last: Option<&'a FleetSample>,
) -> impl Iterator<Item = (&'a AgentId, [Value; 4])> {
    let pairs = paired(&sample.agents, last.map_or(&[][..], |last| &last.agents), id_of);
    pairs.filter(|(agent, _)| agent.health != Health::Lost).map(|(agent, then)| {
        let errors = then.and_then(|then| {
            let (bad, good) = (grown(agent.failed, then.failed)?, grown(agent.succeeded, then.succeeded)?);
            share(bad, good + bad)
        });
        let used = share(f64::from(agent.reserved.slots), f64::from(agent.spec.capacity.slots));
        (&agent.spec.id, [used, Some(agent.load.cpu_share), Some(agent.load.memory_share), errors])
    })
}

/// Kinds that are waited for and that no connected agent takes. Most often nobody waits, and no agent is looked at.
pub(super) fn untaken(sample: &FleetSample) -> Vec<&GroupSample> {
    let mut untaken: BTreeSet<&str> =
        sample.more.kinds.iter().filter(|kind| kind.waiting > 0).map(|kind| kind.name.as_str()).collect();
    for agent in sample.agents.iter().filter(|agent| agent.health != Health::Lost) {
        if untaken.is_empty() {
            break;
        }
        for kind in &agent.spec.kinds {
            untaken.remove(kind.as_str());
        }
    }
    sample.more.kinds.iter().filter(|kind| untaken.contains(kind.name.as_str())).collect()
}

fn grown(now: u64, then: u64) -> Option<f64> {
    now.checked_sub(then).map(|more| more as f64)
}

/// In seconds.
fn grown_time(now: Duration, then: Duration) -> Option<f64> {
    now.checked_sub(then).map(|more| more.as_secs_f64())
}

fn share(part: f64, whole: f64) -> Value {
    (whole > 0.0).then(|| part / whole)
}

fn rate(count: Option<f64>, seconds: f64) -> Value {
    count.and_then(|count| share(count, seconds))
}

fn mean_ms(seconds: Option<f64>, count: Option<f64>) -> Value {
    seconds.zip(count).and_then(|(seconds, count)| share(seconds * 1e3, count))
}
