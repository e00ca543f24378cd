//! What a seed draws: the size of the cluster, its settings, its network, and which faults it meets how often.

use std::time::Duration;

use evenkeel_core::{
    engine::{Engine, Settings, limits::KEY_MEMORY},
    health::lease::LeaseSettings,
};
use evenkeel_shared::StrategyConfig;

use super::faults::Fault;

/// How large a simulated cluster is and how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Agents at most; a seed draws from half of it.
    pub agents: u32,
    /// Tasks at most, likewise.
    pub tasks: u32,
    /// Faults happen and clients submit for so long.
    pub chaos: Duration,
    /// Between two heartbeats of an agent at most.
    pub heartbeat: Duration,
}

impl Profile {
    /// For the test command: minutes of simulated time.
    #[must_use]
    pub const fn small() -> Self {
        Self { agents: 8, tasks: 240, chaos: Duration::from_secs(360), heartbeat: Duration::from_secs(1) }
    }

    /// For many seeds: an hour of simulated time.
    #[must_use]
    pub const fn medium() -> Self {
        Self { agents: 40, tasks: 2_000, chaos: Duration::from_secs(3_600), heartbeat: Duration::from_secs(2) }
    }

    /// Thousands of agents and days.
    #[must_use]
    pub const fn large() -> Self {
        Self {
            agents: 4_000,
            tasks: 60_000,
            chaos: Duration::from_secs(2 * 86_400),
            heartbeat: Duration::from_secs(60),
        }
    }
}

/// A defect of the shell or the engine, put in on purpose to see that it is found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sabotage {
    /// Messages go out before their changes are on disk.
    pub ack_before_commit: bool,
    /// The store is not asked for idempotency keys.
    pub no_key_look_up: bool,
    /// The store is not asked whether a task was driven again before.
    pub no_redrive_look_up: bool,
    /// Tasks are driven again whatever their state.
    pub redrives_anything: bool,
    /// Whatever is over is past its time.
    pub prunes_early: bool,
    /// Takes a rule out of each engine.
    pub engine: Option<fn(&mut Engine)>,
}

/// One seed's cluster and troubles.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub agents: usize,
    pub tasks: usize,
    /// What the tasks ask of what the fleet could do. Never all, so that it can catch up after faults.
    pub load: f64,
    /// Faults happen and clients submit until then, from the start.
    pub chaos: Duration,
    /// After that everything has to be well within this time.
    pub heal_within: Duration,
    pub engine: Settings,
    /// Between faults of each kind on average; a kind that is not here does not happen.
    pub faults: Vec<(Fault, Duration)>,
    pub network_delay: Delay,
    /// What is on its way for longer than this may cost an agent its lease, though nothing else is wrong with it.
    pub delay_excused: Duration,
    pub commit_time: Delay,
    /// Bytes on their way to an agent that has not read them, after which the coordinator's stream waits.
    pub window_bytes: usize,
    /// Messages for an agent that wait for its stream, after which it is cut off.
    pub session_queue_max: usize,
    /// Requests of clients that wait for the engine, after which they are refused.
    pub requests_max: usize,
    pub client_timeout: Duration,
    /// How likely a client has a task driven again that did not succeed.
    pub redrives: f64,
    /// Tasks are removed when they have been over for so long; `None`: they are kept.
    pub retention: Option<Duration>,
    /// Wall clocks differ by as much, once they were set.
    pub clock_step_max: Duration,
    /// Between two looks of the whole engine at its invariants, in events.
    pub check_every: u64,
    pub sabotage: Sabotage,
}

/// A random time: at least the floor, the rest exponential.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    pub floor: Duration,
    pub mean_extra: Duration,
}

impl Delay {
    pub fn draw(&self, draws: &mut fastrand::Rng) -> Duration {
        self.floor + exponential(self.mean_extra, draws)
    }
}

/// An exponential time, cut at twenty times its mean.
pub(super) fn exponential(mean: Duration, draws: &mut fastrand::Rng) -> Duration {
    let x = -(1.0 - draws.f64()).ln();
    mean.mul_f64(x.min(20.0))
}

/// Evenly between two times.
pub(super) fn between(from: Duration, to: Duration, draws: &mut fastrand::Rng) -> Duration {
    from + to.saturating_sub(from).mul_f64(draws.f64())
}

impl Plan {
    /// What this seed draws.
    pub fn draw(seed: u64, profile: Profile) -> Self {
        let mut draws = fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let d = &mut draws;
        let mut others = fastrand::Rng::with_seed(seed ^ 0x5851_f42d_4c95_7f2d);
        let up_to = |max: u32, d: &mut fastrand::Rng| d.u32(max.div_ceil(2)..=max) as usize;
        let (agents, tasks) = (up_to(profile.agents, d).max(4), up_to(profile.tasks, d));
        let scale = profile.chaos.as_secs_f64() / 3_600.0;
        let load = [0.2, 0.5, 0.8][d.usize(0..3)];
        let engine = engine_settings(seed, profile, d);
        Self {
            seed,
            agents,
            tasks,
            load,
            chaos: profile.chaos,
            heal_within: HEAL_WITHIN,
            delay_excused: delay_excused(&engine.lease),
            engine,
            faults: Fault::draw_mix(scale, agents, d),
            network_delay: network_delay(d),
            commit_time: Delay {
                floor: Duration::from_micros(d.u64(100..5_000)),
                mean_extra: Duration::from_micros(d.u64(50..10_000)),
            },
            window_bytes: [4 << 10, 64 << 10, 1 << 20][d.usize(0..3)],
            session_queue_max: [64, 512, 16_384][d.usize(0..3)],
            requests_max: [64, 2_048][d.usize(0..2)],
            client_timeout: Duration::from_millis(d.u64(300..10_000)),
            redrives: [0.0, 0.25, 0.5][others.usize(0..3)],
            retention: others.bool().then(|| retention(profile, &mut others)),
            clock_step_max: Duration::from_secs(if d.bool() { 3_600 } else { 60 }),
            check_every: if agents * tasks > 100_000 { 20_000 } else { 50 },
            sabotage: Sabotage::default(),
        }
    }
}

/// The bound on healing. A task may have its whole life before it: six attempts, each with its longest timeout of 30 s, its
/// margin and its longest backoff of 10 s, make 252 s; before that the queue that the faults left is worked off, which is at
/// most what the last minutes brought; agents that were ejected are back after 300 s.
pub(super) const HEAL_WITHIN: Duration = Duration::from_secs(900);

/// An agent writes within each of its longest intervals. So one whose lease runs out has written in time, and what it wrote
/// was on its way for all of the lease but one of them.
fn delay_excused(lease: &LeaseSettings) -> Duration {
    let timeout = lease.session_timeout();
    timeout - timeout / lease.missed_max.max(1)
}

/// Within a room, across a country, or across the world on a bad day.
fn network_delay(d: &mut fastrand::Rng) -> Delay {
    let scale_us = [200, 20_000, 200_000][d.usize(0..3)];
    Delay { floor: Duration::from_micros(d.u64(20..scale_us)), mean_extra: Duration::from_micros(d.u64(10..scale_us)) }
}

/// Longer than keys are remembered, or a key could go with its task while its submission is under way; and short enough
/// that it comes to pass.
fn retention(profile: Profile, d: &mut fastrand::Rng) -> Duration {
    between(KEY_MEMORY.mul_f64(1.5), (profile.chaos / 4).max(KEY_MEMORY * 2), d)
}

fn engine_settings(seed: u64, profile: Profile, d: &mut fastrand::Rng) -> Settings {
    let name = StrategyConfig::NAMES[d.usize(0..StrategyConfig::NAMES.len())];
    let mut settings = Settings { seed, ..Settings::default() };
    settings.strategy = StrategyConfig::named(name).unwrap_or_default();
    let heartbeat_ms = u64::try_from(profile.heartbeat.as_millis()).unwrap_or(1_000);
    settings.lease.heartbeat_interval_ms = d.u64(heartbeat_ms.div_ceil(2)..=heartbeat_ms);
    settings.reconnect_grace = Duration::from_millis([150, 150, 1_000, 10_000][d.usize(0..4)]);
    settings.adoption_grace = Duration::from_secs([2, 15, 15][d.usize(0..3)]);
    settings.prefetch_below = Duration::from_millis([5, 5, 5_000][d.usize(0..3)]);
    settings.tasks_max = if d.u8(0..5) == 0 { 100 } else { 1_000_000 };
    settings.hold_after = Duration::from_secs(d.u64(1..10));
    settings.attempt_timeout = Duration::from_secs(30);
    settings
}
