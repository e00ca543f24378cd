//! The part of random histories that is about what shuts and opens: quotas, breakers, slots that follow latency, failovers,
//! and many tasks of a kind that all end alike.

use evenkeel_shared::{AgentId, Failure, FailureClass, Kind, Outcome, QuotaKey, TaskId};
use proptest::prelude::*;

use super::{
    super::*,
    fixture::{Cluster, ms, task},
};
use crate::{
    admission::{
        BreakerId, BreakerOrder, DynamicAlgorithm, DynamicLimitSettings,
        breaker::{BreakerSettings, BreakerState},
    },
    model::ClusterEventKind,
};

/// Tasks of a burst: more than a round of the dynamic limits.
const BURST: usize = 20;

#[derive(Clone, Debug)]
pub enum GuardStep {
    /// An agent says that a quota is used up.
    UsedUp {
        agent: u8,
        key: u8,
        ms: u16,
    },
    /// An operator does.
    ByHand {
        key: u8,
        ms: u16,
    },
    Clear(u8),
    Breaker {
        n: u8,
        open_ms: Option<u16>,
    },
    Dynamic {
        enabled: bool,
        aimd: bool,
        slots_min: u8,
        headroom: u8,
    },
    /// Many of a kind, and all that is with agents of it ends alike.
    Burst {
        kind: u8,
        quota: Option<u8>,
        end: End,
    },
    /// An agent's process dies, and its tasks move on.
    Kill(u8),
    /// Time passes, and all who are connected are heard.
    Alive(u16),
}

#[derive(Clone, Copy, Debug)]
pub enum End {
    Succeed { run_ms: u16 },
    Fail(FailureClass),
    Cancel,
}

pub fn guard_step() -> impl Strategy<Value = GuardStep> {
    use FailureClass::{QuotaExhausted, Rejected, Retryable, Timeout};
    let class = prop_oneof![3 => Just(Retryable), 1 => Just(QuotaExhausted), 2 => Just(Timeout), 1 => Just(Rejected)];
    let end = prop_oneof![
        3 => (1..2_000u16).prop_map(|run_ms| End::Succeed { run_ms }),
        4 => class.prop_map(End::Fail),
        1 => Just(End::Cancel),
    ];
    let quota = prop::option::weighted(0.3, 0..3u8);
    prop_oneof![
        2 => (0..6u8, 0..3u8, 1..20_000u16).prop_map(|(agent, key, ms)| GuardStep::UsedUp { agent, key, ms }),
        1 => (0..3u8, 1..20_000u16).prop_map(|(key, ms)| GuardStep::ByHand { key, ms }),
        1 => (0..3u8).prop_map(GuardStep::Clear),
        2 => (0..9u8, prop::option::of(1..20_000u16)).prop_map(|(n, open_ms)| GuardStep::Breaker { n, open_ms }),
        1 => (prop::bool::weighted(0.8), any::<bool>(), 1..4u8, 0..10u8).prop_map(
            |(enabled, aimd, slots_min, headroom)| GuardStep::Dynamic { enabled, aimd, slots_min, headroom }
        ),
        4 => (0..3u8, quota, end).prop_map(|(kind, quota, end)| GuardStep::Burst { kind, quota, end }),
        1 => (0..6u8).prop_map(GuardStep::Kill),
        2 => (1..5_000u16).prop_map(GuardStep::Alive),
    ]
}

/// Breakers that a history of some dozens of steps can turn.
pub fn settings() -> Settings {
    let breakers = BreakerSettings {
        attempts_min: 4,
        window_attempts: 10,
        consecutive_failures: 6,
        agents_min: 1,
        trials: 2,
        ..BreakerSettings::default()
    };
    Settings { breakers, ..Settings::default() }
}

pub fn key(n: u8) -> QuotaKey {
    QuotaKey::new(&format!("q{n}")).unwrap()
}

fn kind(n: u8) -> Kind {
    Kind::new(["work", "k1", "k2"][usize::from(n)]).unwrap()
}

pub fn apply(c: &mut Cluster, step: GuardStep) {
    match step {
        GuardStep::UsedUp { agent, key: n, ms: after } => {
            if let Some(&session) = c.sessions.get(&format!("a{agent}")) {
                let (key, retry_after) = (key(n), ms(after.into()));
                c.handle(Event::QuotaExhausted { session, key, retry_after, reason: "429".into() });
            }
        }
        GuardStep::ByHand { key: n, ms: after } => {
            c.control(ControlCommand::ReportQuota(key(n), ms(after.into()))).unwrap();
        }
        GuardStep::Clear(n) => drop(c.control(ControlCommand::ClearQuota(key(n)))),
        GuardStep::Breaker { n, open_ms } => {
            let id = match n {
                0..3 => BreakerId::Kind(kind(n)),
                3..6 => BreakerId::Quota(key(n - 3)),
                _ => BreakerId::Agent(AgentId::new(&format!("a{}", n - 6)).unwrap()),
            };
            let order = open_ms.map_or(BreakerOrder::Close, |open_ms| BreakerOrder::Open(ms(open_ms.into())));
            // An agent that is not there has none.
            drop(c.control(ControlCommand::SetBreaker(id, order)));
        }
        GuardStep::Dynamic { enabled, aimd, slots_min, headroom } => {
            let algorithm = if aimd { DynamicAlgorithm::Aimd } else { DynamicAlgorithm::Gradient };
            let settings = DynamicLimitSettings {
                enabled,
                algorithm,
                slots_min: slots_min.into(),
                tolerance: 1.2,
                headroom_priority: headroom,
            };
            c.control(ControlCommand::SetDynamicLimits(settings)).unwrap();
        }
        GuardStep::Burst { kind: n, quota, end } => burst(c, &kind(n), quota, end),
        GuardStep::Kill(n) if c.sessions.contains_key(&format!("a{n}")) => c.kill(&format!("a{n}")),
        GuardStep::Kill(_) => {}
        GuardStep::Alive(by) => c.advance_alive(ms(by.into())),
    }
}

fn burst(c: &mut Cluster, kind: &Kind, quota: Option<u8>, end: End) {
    for _ in 0..BURST {
        let mut task = task(kind.as_str()).attempts(3);
        std::sync::Arc::make_mut(&mut task.0.spec).requirements.quota_keys = quota.map(key).into_iter().collect();
        // A budget may refuse it.
        drop(c.try_submit(task));
    }
    for _ in 0..2 * BURST {
        let Some(task) = placed(c, kind) else { break };
        match end {
            End::Succeed { run_ms } => c.succeed_in(task, ms(run_ms.into())),
            End::Fail(class) => {
                let (agent, attempt) = c.assignment(task);
                c.report(&agent, attempt, Outcome::Failed(Failure::new(class, "no")));
            }
            End::Cancel => {
                c.cancel(task).unwrap();
                c.stop_what_was_cancelled();
            }
        }
    }
}

/// A task of this kind that is with an agent that is connected.
fn placed(c: &Cluster, kind: &Kind) -> Option<TaskId> {
    let mut there = c.placements().into_iter().filter(|(_, agent)| c.sessions.contains_key(agent));
    there.find(|(task, _)| c.accepted.get(task).is_some_and(|task| task.spec.kind == *kind)).map(|(task, _)| task)
}

/// Nothing is shut any more, and what was learned of latency does not count.
pub fn heal(c: &mut Cluster) {
    for n in 0..3 {
        apply(c, GuardStep::Clear(n));
    }
    for n in 0..9 {
        apply(c, GuardStep::Breaker { n, open_ms: None });
    }
}

/// What histories are to reach, so that they are about something: how often each was seen.
#[derive(Debug, Default)]
pub struct Reached {
    pub quotas_shut: u64,
    pub breakers_open: u64,
    pub breakers_half_open: u64,
    pub slots_taken: u64,
    pub failovers: u64,
}

impl Reached {
    pub fn look(&mut self, c: &Cluster) {
        let open = |state: &BreakerState| matches!(state, BreakerState::Open { .. });
        let breakers = c.engine.breaker_views(c.now);
        let ofs = breakers.iter().filter(|view| !matches!(view.id, BreakerId::Agent(_))).map(|view| &view.state);
        self.breakers_open += u64::from(ofs.clone().any(open));
        self.breakers_half_open += u64::from(ofs.clone().any(|state| *state == BreakerState::HalfOpen));
        self.quotas_shut += u64::from(c.engine.quotas_used_up() > 0);
        self.slots_taken += u64::from(c.engine.dynamic_limit_views().iter().any(|view| view.limit < view.slots));
        self.failovers += c.events_of(ClusterEventKind::Failover) as u64;
    }
}
