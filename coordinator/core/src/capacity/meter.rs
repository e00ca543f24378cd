//! From what is seen each second to the load that decisions are made from: rates and means over a window.
//!
//! All comes from numbers that the coordinator counts anyway, by Little's law (what is in a system = rate x time in it): the
//! mean run time is slots in use over attempts ended per second, the mean response time is tasks in the system over tasks
//! ended per second. Neither needs a histogram, and a change of the mix of kinds shows within a window. Where too few have
//! ended in it, run times are as measured by kind over a longer time.

use std::{collections::VecDeque, time::Duration};

use evenkeel_shared::{AdminState, Health, Timestamp};

use super::demand::{Foreseen, Load};
use crate::manager::FleetSample;

/// Rates and means are over so much: long enough to smooth random arrivals, short enough to see a step at once.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Slots in use are a mean over this: shorter, since it is what a spike shows in first.
const SLOTS_WINDOW: Duration = Duration::from_secs(15);
/// One observation a second, and one more as the window's begin. Also if they come faster.
const OBSERVATIONS_MAX: usize = 64;
/// Fewer ends in the window say little about a mean.
const ENDS_MIN: u64 = 20;

/// What is seen at one moment. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Agents that are connected and can be used.
    pub agents: u32,
    /// Agents that are drained.
    pub draining: u32,
    /// Slots of the agents that can be used.
    pub slots_total: u64,
    /// Slots in use.
    pub slots_used: u64,
    /// Tasks that wait for an agent.
    pub waiting: u64,
    /// Tasks that wait for a limit, a budget or a quota; not among those.
    pub held: u64,
    /// How long the longest of the waiting ones waits.
    pub oldest_wait: Duration,
    /// Tasks that are accepted and not over, without those that are held.
    pub in_system: u64,
    /// Processor in use, mean over agents, 0 to 1.
    pub cpu_share: f64,
    /// Memory in use, mean over agents, 0 to 1.
    pub memory_share: f64,
    /// Run time by kind, over a longer time.
    pub run_mean: Option<Duration>,
    /// Tasks accepted, and attempts made again.
    pub asked: u64,
    /// Tasks that ended.
    pub ended: u64,
    /// Attempts that ended.
    pub attempts_ended: u64,
    /// Of them in vain.
    pub attempts_failed: u64,
}

impl Observation {
    /// What `sample` shows. `held` tasks wait for something that more agents would not give them.
    #[must_use]
    pub fn of(sample: &FleetSample, held: u64) -> Self {
        let status = &sample.status;
        let counters = &status.counters;
        // Unhealthy ones count: they are there and paid for, and may be well in a moment. What they do not do waits, and
        // asks for more agents that way. Not to count them would start one more for each, without end on a busy machine.
        let usable =
            || sample.agents.iter().filter(|agent| agent.admin == AdminState::Active && agent.health != Health::Lost);
        let agents = usable().count();
        let mean = |sum: f64| if agents > 0 { sum / agents as f64 } else { 0.0 };
        let draining =
            |agent: &crate::model::AgentView| agent.admin == AdminState::Draining && agent.health != Health::Lost;
        let live = status.queued + status.assigned + status.running + status.retry_wait;
        let in_vain = counters.failed + counters.expired + counters.retries;
        Self {
            agents: count(agents),
            draining: count(sample.agents.iter().filter(|agent| draining(agent)).count()),
            slots_total: usable().map(|agent| u64::from(agent.spec.capacity.slots)).sum(),
            slots_used: u64::from(status.slots_used),
            waiting: status.queued.saturating_sub(held),
            held,
            oldest_wait: if status.queued > held { status.oldest_queued } else { Duration::ZERO },
            in_system: live.saturating_sub(held),
            cpu_share: mean(usable().map(|agent| agent.load.cpu_share).sum()),
            memory_share: mean(usable().map(|agent| agent.load.memory_share).sum()),
            run_mean: run_mean(sample),
            asked: counters.accepted + counters.retries,
            ended: counters.succeeded + counters.failed + counters.cancelled + counters.expired + counters.quarantined,
            attempts_ended: counters.succeeded + in_vain,
            attempts_failed: in_vain,
        }
    }
}

fn count(agents: usize) -> u32 {
    u32::try_from(agents).unwrap_or(u32::MAX)
}

/// Over all agents and kinds, by attempts completed.
fn run_mean(sample: &FleetSample) -> Option<Duration> {
    let seen = sample.agents.iter().flat_map(|agent| &agent.kinds_seen);
    let (count, sum_s) = seen.fold((0.0, 0.0), |(count, sum_s), seen| {
        let completed = seen.completed as f64;
        (count + completed, sum_s + completed * seen.mean.as_secs_f64())
    });
    (count > 0.0).then(|| Duration::try_from_secs_f64(sum_s / count).unwrap_or_default())
}

/// Keeps the window.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    seen: VecDeque<(Timestamp, Observation)>,
    /// The last that there were: an empty fleet still has to know what an agent would give.
    slots_per_agent: f64,
}

impl Meter {
    /// Takes in what is seen now, and answers with the load. `starting` agents were asked for and have not come yet.
    pub fn observe(
        &mut self,
        now: Timestamp,
        observation: Observation,
        starting: u32,
        foreseen: Option<Foreseen>,
    ) -> Load {
        if self.seen.len() == OBSERVATIONS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((now, observation));
        while self.seen.len() > 1 && self.seen.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.seen.pop_front();
        }
        if observation.agents > 0 {
            self.slots_per_agent = observation.slots_total as f64 / f64::from(observation.agents);
        }
        let service_mean = self.service_mean(&observation);
        Load {
            agents: observation.agents,
            starting,
            draining: observation.draining,
            slots_per_agent: self.slots_per_agent,
            slots_used: self.mean(now, SLOTS_WINDOW, |seen| seen.slots_used),
            waiting: observation.waiting,
            oldest_wait: observation.oldest_wait,
            arrivals_per_s: self.arrivals_per_s(&observation),
            service_mean,
            cpu_share: observation.cpu_share,
            memory_share: observation.memory_share,
            response_mean: self.response_mean(&observation).or(service_mean).unwrap_or_default(),
            error_share: self.error_share(&observation),
            foreseen,
        }
    }

    /// The window's first observation, and how long ago that was, in seconds.
    fn first(&self) -> Option<(&Observation, f64)> {
        let ((first_at, first), (last_at, _)) = (self.seen.front()?, self.seen.back()?);
        let length_s = last_at.since(*first_at).as_secs_f64();
        (length_s > 0.0).then_some((first, length_s))
    }

    fn mean(&self, now: Timestamp, over: Duration, value: impl Fn(&Observation) -> u64) -> f64 {
        let recent = self.seen.iter().rev().take_while(|(at, _)| now.since(*at) < over);
        let (count, sum) = recent.fold((0.0, 0.0), |(count, sum), (_, seen)| (count + 1.0, sum + value(seen) as f64));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// Without those that joined the held ones: they do not ask for agents.
    fn arrivals_per_s(&self, last: &Observation) -> f64 {
        self.first().map_or(0.0, |(first, length_s)| {
            let asked = last.asked.saturating_sub(first.asked) as f64;
            let held = last.held as f64 - first.held as f64;
            (asked - held).max(0.0) / length_s
        })
    }

    fn service_mean(&self, last: &Observation) -> Option<Duration> {
        let per_s = |(first, length_s): (&Observation, f64)| {
            let ended = last.attempts_ended.saturating_sub(first.attempts_ended);
            (ended >= ENDS_MIN).then(|| ended as f64 / length_s)
        };
        let (at, _) = self.seen.back()?;
        let by_law = self.first().and_then(per_s).map(|per_s| self.mean(*at, WINDOW, |seen| seen.slots_used) / per_s);
        by_law.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or(last.run_mean)
    }

    fn response_mean(&self, last: &Observation) -> Option<Duration> {
        let (first, length_s) = self.first()?;
        let ended = last.ended.saturating_sub(first.ended);
        let (at, _) = self.seen.back()?;
        let in_system = self.mean(*at, WINDOW, |seen| seen.in_system);
        (ended >= ENDS_MIN).then(|| Duration::try_from_secs_f64(in_system * length_s / ended as f64).ok())?
    }

    fn error_share(&self, last: &Observation) -> f64 {
        self.first().map_or(0.0, |(first, _)| {
            let ended = last.attempts_ended.saturating_sub(first.attempts_ended);
            let failed = last.attempts_failed.saturating_sub(first.attempts_failed);
            if ended > 0 { (failed as f64 / ended as f64).min(1.0) } else { 0.0 }
        })
    }
}
