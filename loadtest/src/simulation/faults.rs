//! The trouble that a simulation makes.
//!
//! Each seed draws its own mix: some kinds do not happen at all, others often, so that rare combinations come up that no
//! single rate would bring.

use std::time::Duration;

use evenkeel_core::engine::AdminCommand;
use evenkeel_shared::StrategyConfig;
use serde::Serialize;

use super::{
    coordinator::CrashPoint,
    network::{Packet, Way},
    plan::{between, exponential},
    trace::About,
    world::{What, World},
};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The coordinator dies, at any moment.
    CoordinatorCrash,
    /// It dies around a commit: before it, before or after its messages are let out.
    CoordinatorCrashAtCommit,
    /// It does nothing for a time.
    CoordinatorPause,
    /// The disk is slow for a time.
    DiskSlow,
    /// The disk is full for a time.
    DiskFull,
    /// A sync fails.
    SyncFails,
    /// An agent dies.
    AgentCrash,
    /// An agent does nothing for a time.
    AgentPause,
    /// An agent is told to go.
    AgentLeaves,
    /// Another process bears an agent's name for a time.
    Impostor,
    /// A connection breaks.
    Reset,
    /// All connections break.
    ResetAll,
    /// The ways to some agents are blocked, both ways or one.
    Partition,
    /// The ways to most of the fleet are.
    PartitionMost,
    /// What goes to and comes from an agent is late.
    SlowLink,
    /// The way to an agent passes few bytes.
    NarrowLink,
    /// Clients and the coordinator do not reach each other.
    ClientsCut,
    /// An agent's wall clock is set.
    AgentClock,
    /// The clients' wall clocks are set.
    ClientClock,
    /// The coordinator's wall clock is set.
    CoordinatorClock,
    /// The operator cordons, drains or resumes an agent.
    Operator,
    /// The operator changes the strategy.
    Strategy,
}

impl Fault {
    /// All kinds, each with how often it happens in an hour at most, of itself and for each ten agents.
    const RATES: [(Self, f64, f64); 22] = [
        (Self::CoordinatorCrash, 12.0, 0.0),
        (Self::CoordinatorCrashAtCommit, 20.0, 0.0),
        (Self::CoordinatorPause, 10.0, 0.0),
        (Self::DiskSlow, 10.0, 0.0),
        (Self::DiskFull, 8.0, 0.0),
        (Self::SyncFails, 6.0, 0.0),
        (Self::AgentCrash, 4.0, 20.0),
        (Self::AgentPause, 4.0, 15.0),
        (Self::AgentLeaves, 2.0, 8.0),
        (Self::Impostor, 6.0, 0.0),
        (Self::Reset, 10.0, 40.0),
        (Self::ResetAll, 6.0, 0.0),
        (Self::Partition, 10.0, 10.0),
        (Self::PartitionMost, 6.0, 0.0),
        (Self::SlowLink, 10.0, 10.0),
        (Self::NarrowLink, 6.0, 6.0),
        (Self::ClientsCut, 10.0, 0.0),
        (Self::AgentClock, 2.0, 4.0),
        (Self::ClientClock, 4.0, 0.0),
        (Self::CoordinatorClock, 4.0, 0.0),
        (Self::Operator, 12.0, 20.0),
        (Self::Strategy, 6.0, 0.0),
    ];

    /// Its name, as shown.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// Which kinds happen, and how long it is between two of a kind on average.
    pub(super) fn draw_mix(hours: f64, agents: usize, draws: &mut fastrand::Rng) -> Vec<(Self, Duration)> {
        let mut mix = Vec::new();
        // What happens in a tenth of an hour is what a short run sees; a run of days has no more than ten hours' worth.
        let stretch = if hours < 1.0 { 3.0 } else { (10.0 / hours).min(1.0) };
        for (fault, rate, rate_per_ten) in Self::RATES {
            let (happens, share) = (draws.bool(), draws.f64().max(0.05));
            if happens {
                let hourly = (rate + rate_per_ten * agents.min(100) as f64 / 10.0) * share * stretch;
                mix.push((fault, Duration::from_secs_f64(3_600.0 / hourly)));
            }
        }
        mix
    }
}

impl World {
    pub(super) fn schedule_faults(&mut self) {
        for (fault, mean) in self.plan.faults.clone() {
            let after = exponential(mean, &mut self.draws.faults);
            self.later(after, What::Fault(fault));
        }
    }

    /// Makes trouble, and sees to the next of its kind.
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.calm {
            return;
        }
        if let Some(&(_, mean)) = self.plan.faults.iter().find(|(kind, _)| *kind == fault) {
            let after = exponential(mean, &mut self.draws.faults);
            self.later(after, What::Fault(fault));
        }
        *self.fault_counts.entry(fault).or_default() += 1;
        match fault {
            Fault::CoordinatorCrash => self.crash_coordinator("killed"),
            Fault::CoordinatorCrashAtCommit => {
                let points = [CrashPoint::BeforeCommit, CrashPoint::BeforeRelease, CrashPoint::AfterRelease];
                self.coordinator.crash_at = Some(points[self.draws.faults.usize(0..3)]);
            }
            Fault::CoordinatorPause => self.pause_coordinator(),
            Fault::DiskSlow | Fault::DiskFull | Fault::SyncFails => self.trouble_disk(fault),
            Fault::Reset
            | Fault::ResetAll
            | Fault::Partition
            | Fault::PartitionMost
            | Fault::SlowLink
            | Fault::NarrowLink
            | Fault::ClientsCut => self.trouble_network(fault),
            Fault::AgentClock | Fault::ClientClock | Fault::CoordinatorClock => self.set_clock(fault),
            Fault::AgentCrash | Fault::AgentPause | Fault::AgentLeaves | Fault::Impostor => self.trouble_agent(fault),
            Fault::Operator => self.operate(),
            Fault::Strategy => {
                let name = StrategyConfig::NAMES[self.draws.faults.usize(0..StrategyConfig::NAMES.len())];
                if let Ok(strategy) = StrategyConfig::named(name) {
                    self.note(About::Fault, || format!("the operator wants the strategy {name}"));
                    self.set_strategy(strategy);
                }
            }
        }
    }

    fn pause_coordinator(&mut self) {
        let time = between(Duration::from_millis(100), Duration::from_secs(30), &mut self.draws.faults);
        if !self.coordinator.is_up() {
            return;
        }
        let until = self.now.plus(time);
        self.coordinator.paused_since = Some(self.now);
        self.coordinator.paused_until = until;
        self.troubles.all(self.now, until);
        self.note(About::Fault, || format!("coordinator is paused for {time:?}"));
        self.expect_agents_keepalives();
    }

    fn trouble_disk(&mut self, fault: Fault) {
        let time = exponential(Duration::from_secs(10), &mut self.draws.faults);
        let until = self.now.plus(time);
        match fault {
            Fault::DiskSlow => self.disk.slow_down(until),
            Fault::DiskFull => self.disk.fill(until),
            _ => self.disk.sync_fails = true,
        }
        self.note(About::Fault, || match fault {
            Fault::DiskSlow => format!("disk is slow for {time:?}"),
            Fault::DiskFull => format!("disk is full for {time:?}"),
            _ => "the next sync fails".to_owned(),
        });
    }

    fn some_agent(&mut self) -> usize {
        self.draws.faults.usize(0..self.plan.agents)
    }

    fn trouble_network(&mut self, fault: Fault) {
        let time = exponential(Duration::from_secs(15), &mut self.draws.faults);
        let until = self.now.plus(time);
        let agent = self.some_agent();
        match fault {
            Fault::Reset => self.reset(agent),
            Fault::ResetAll => (0..self.plan.agents).for_each(|agent| self.reset(agent)),
            Fault::Partition => {
                let count = 1 + self.draws.faults.usize(0..3.min(self.plan.agents));
                self.partition(agent, count, time);
            }
            Fault::PartitionMost => {
                let least = self.plan.agents * 3 / 5;
                let count = self.draws.faults.usize(least..=self.plan.agents);
                self.partition(agent, count, time);
            }
            Fault::SlowLink => {
                let by = between(Duration::from_millis(50), Duration::from_millis(500), &mut self.draws.faults);
                self.slow_link(agent, by, until);
                self.note(About::Fault, || format!("link of agent {agent} is slower by {by:?} for {time:?}"));
            }
            Fault::NarrowLink => {
                self.narrow_link(agent, until);
                self.note(About::Fault, || format!("link of agent {agent} is narrow for {time:?}"));
            }
            _ => {
                self.clients.cut_until = until;
                self.note(About::Fault, || format!("clients are cut off for {time:?}"));
            }
        }
    }

    fn reset(&mut self, agent: usize) {
        self.note(About::Fault, || format!("connections of agent {agent} are reset"));
        self.troubles.agent(agent, self.now, self.now);
        for conn in self.conns_of(agent) {
            self.server_side_broken(conn, "reset");
            self.transmit(conn, Way::Down, Packet::Reset);
        }
    }

    fn partition(&mut self, first: usize, count: usize, time: Duration) {
        let (up, down) = [(true, true), (true, true), (true, false), (false, true)][self.draws.faults.usize(0..4)];
        let until = self.now.plus(time);
        let way = if up && down {
            "both ways"
        } else if up {
            "to the coordinator"
        } else {
            "from the coordinator"
        };
        self.note(About::Fault, || format!("{count} agents from {first} on are cut off {way} for {time:?}"));
        for n in 0..count {
            self.block((first + n) % self.plan.agents, up, down, until);
        }
    }

    fn set_clock(&mut self, fault: Fault) {
        let step = i64::try_from(self.plan.clock_step_max.as_micros()).unwrap_or(i64::MAX);
        let ahead = self.draws.faults.i64(-step..=step);
        let agent = self.some_agent();
        match fault {
            Fault::AgentClock => self.agents[agent].clock_ahead_us = ahead,
            Fault::ClientClock => self.clients.clock_ahead_us = ahead,
            _ => self.coordinator.clock_ahead_us = ahead,
        }
        let seconds = ahead / 1_000_000;
        self.note(About::Fault, || format!("{fault:?} (agent {agent}) is set to {seconds} s from the true time"));
    }

    fn trouble_agent(&mut self, fault: Fault) {
        let agent = self.some_agent();
        let time = exponential(Duration::from_secs(10), &mut self.draws.faults);
        match fault {
            Fault::AgentCrash => {
                self.note(About::Fault, || format!("agent {agent} is killed"));
                self.end_process(agent);
            }
            Fault::AgentPause if self.agents[agent].process.is_some() => {
                let until = self.now.plus(time);
                self.agents[agent].paused_since = Some(self.now);
                self.agents[agent].paused_until = until;
                self.troubles.agent(agent, self.now, until);
                self.note(About::Fault, || format!("agent {agent} is paused for {time:?}"));
                self.expect_keepalives(agent);
            }
            Fault::AgentLeaves => self.tell_to_leave(agent),
            Fault::Impostor => {
                let impostors = self.agents.len() - self.plan.agents;
                let impostor = self.plan.agents + self.draws.faults.usize(0..impostors);
                let id = self.agents[impostor].spec.id.clone();
                self.note(About::Fault, || format!("another process bears the name of {id} for {time:?}"));
                self.boot(impostor);
                self.later(time, What::FaultEnds(fault, impostor));
            }
            _ => {}
        }
    }

    fn tell_to_leave(&mut self, agent: usize) {
        let now = self.now;
        self.troubles.agent(agent, now, now.plus(Duration::from_secs(40)));
        let Some(process) = &mut self.agents[agent].process else { return };
        if process.machine.is_leaving() {
            return;
        }
        process.machine.leave(now.since(process.began()));
        self.note(About::Fault, || format!("agent {agent} is told to go"));
        self.settle(agent);
    }

    pub(super) fn fault_ends(&mut self, _fault: Fault, whom: usize) {
        self.end_process(whom);
    }

    fn operate(&mut self) {
        let agent = self.some_agent();
        let command = match self.draws.faults.u8(0..6) {
            0 => AdminCommand::Cordon,
            // Often before what runs is done, so that results meet the word that they are not wanted any more.
            1..=3 => AdminCommand::Drain(Some(exponential(Duration::from_secs(2), &mut self.draws.faults))),
            _ => AdminCommand::Resume,
        };
        self.note(About::Fault, || format!("the operator wants {command:?} of agent {agent}"));
        let id = self.agents[agent].spec.id.clone();
        self.command(id, command);
    }
}
