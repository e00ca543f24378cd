//! From counters and states to values.
//!
//! Counters are since the coordinator started, so a value is the difference between two samples over the time between them. A counter
//! that went back is another coordinator's, or another session's: there is no value for that second. Nothing to divide by
//! gives no value either, rather than a 0 that would look like a measurement.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_shared::{AgentId, Health, Kind, Tenant};

use super::{
    metric::{Metric, Subject},
    sample::GroupSample,
    series::Value,
};
use crate::manager::FleetSample;

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

/// The groups, each with what there was of it before. Both lists are by name.
fn groups<'a>(
    now: &'a [GroupSample],
    then: Option<&'a [GroupSample]>,
    seconds: f64,
) -> impl Iterator<Item = (&'a str, [Value; 4])> {
    let mut then = then.unwrap_or_default().iter().peekable();
    now.iter().map(move |group| {
        while then.next_if(|before| before.name < group.name).is_some() {}
        let before = then.peek().copied().filter(|before| before.name == group.name);
        (group.name.as_str(), of_group(group, before, seconds))
    })
}

fn fleet(sample: &FleetSample, last: Option<&FleetSample>) -> Vec<Value> {
    let mut values = vec![None; Metric::ALL.len()];
    let mut set = |metric: Metric, value: Value| values[metric as usize] = value;
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
    set(Metric::Utilisation, share(f64::from(status.slots_used), f64::from(status.slots_total)));
    set(Metric::Cpu, share(cpu, f64::from(connected)));
    set(Metric::Memory, share(memory, f64::from(connected)));
    set(Metric::SlotsTotal, Some(f64::from(status.slots_total)));
    set(Metric::Agents, Some(f64::from(connected)));
    set(Metric::AgentsDown, share(f64::from(down), f64::from(known)));
    set(Metric::Queued, Some(status.queued as f64));
    set(Metric::OldestWaitMs, Some(status.oldest_queued.as_secs_f64() * 1e3));
    let Some(last) = last else { return values };
    let seconds = sample.at.since(last.at).as_secs_f64();
    let (now, then) = (&status.counters, &last.status.counters);
    let ended = |c: &crate::model::view::Counters| c.succeeded + c.failed + c.cancelled + c.expired + c.quarantined;
    let bad = |c: &crate::model::view::Counters| c.failed + c.expired + c.quarantined;
    let (ended, bad) = (grown(ended(now), ended(then)), grown(bad(now), bad(then)));
    set(Metric::RequestRate, rate(grown(now.accepted, then.accepted), seconds));
    set(Metric::CompletionRate, rate(ended, seconds));
    set(Metric::ErrorRate, ended.zip(bad).and_then(|(ended, bad)| share(bad, ended)));
    let shell = &sample.more.shell;
    set(
        Metric::ResponseTimeMs,
        mean_ms(
            grown_time(shell.response_time, last.more.shell.response_time),
            grown(shell.tasks_ended, last.more.shell.tasks_ended),
        ),
    );
    set(
        Metric::CommitMs,
        mean_ms(
            grown_time(shell.commit_time, last.more.shell.commit_time),
            grown(shell.commits, last.more.shell.commits),
        ),
    );
    let busy = grown_time(shell.engine_busy, last.more.shell.engine_busy).filter(|_| !shell.engine_busy.is_zero());
    set(Metric::EngineBusy, busy.and_then(|busy| share(busy, seconds)).map(|busy| busy.min(1.0)));
    let (mut run, mut released, mut before) = (0.0, 0.0, last.more.kinds.iter().peekable());
    for kind in &sample.more.kinds {
        while before.next_if(|then| then.name < kind.name).is_some() {}
        let Some(then) = before.peek().filter(|then| then.name == kind.name) else { continue };
        if let (Some(time), Some(count)) =
            (grown_time(kind.run_time, then.run_time), grown(kind.released, then.released))
        {
            run += time;
            released += count;
        }
    }
    set(Metric::RunTimeMs, mean_ms(Some(run), Some(released)));
    values
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
    let mut before = last.map_or(&[][..], |last| &last.agents).iter().peekable();
    sample.agents.iter().filter(|agent| agent.health != Health::Lost).map(move |agent| {
        while before.peek().is_some_and(|before| before.spec.id < agent.spec.id) {
            before.next();
        }
        let then = before.peek().filter(|before| before.spec.id == agent.spec.id);
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
