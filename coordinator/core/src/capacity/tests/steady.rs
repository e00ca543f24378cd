//! What holds over time, for every template: bounds and rates are kept, nothing oscillates, a step is answered in time.

use proptest::prelude::*;

use super::*;
use crate::capacity::TEMPLATES;

/// A fleet under `template` in its own bounds.
fn fleet(template: usize, agents: u32) -> Fleet {
    Fleet::new(policy(TEMPLATES[template].name), agents)
}

/// Noise of up to `share` either way, from a seed, another each second.
fn noise(seed: u64, s: u64, share: f64) -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed ^ s.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    1.0 + share * (2.0 * rng.f64() - 1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Under load that does not change the fleet settles: at most one turn, and after the time that the slowest step needs
    /// nothing at all.
    #[test]
    fn constant_load_settles(template in 0_usize..6, agents in 1_u32..20, work in 0.0..60.0_f64) {
        let mut fleet = fleet(template, agents);
        fleet.run(0..12_600, |_| work);
        prop_assert!(fleet.turns(agents) <= 1, "{:?}", fleet.changes);
        let settled = fleet.changes.len();
        fleet.run(12_600..16_200, |_| work);
        prop_assert_eq!(fleet.changes.len(), settled, "{:?}", fleet.changes);
    }

    /// Nor does noise of a tenth make it turn back and forth.
    #[test]
    fn noise_is_no_load(template in 0_usize..6, work in 1.0..120.0_f64, seed in 0_u64..1_000) {
        let mut fleet = fleet(template, 10);
        fleet.run(0..7_200, |s| work * noise(seed, s, 0.1));
        prop_assert!(fleet.turns(10) <= 1, "{:?}", fleet.changes);
    }

    /// A slow wave is followed at most up and down: two turns a period.
    #[test]
    fn a_slow_wave_is_followed_once(template in 0_usize..6, mean in 20.0..80.0_f64, depth in 0.2..0.9_f64) {
        const PERIOD_S: u64 = 4 * 3_600;
        let mut fleet = fleet(template, 20);
        fleet.run(0..2 * PERIOD_S, |s| {
            mean * (1.0 + depth * (s as f64 / PERIOD_S as f64 * std::f64::consts::TAU).sin())
        });
        prop_assert!(fleet.turns(20) <= 5, "{:?}", fleet.changes);
    }

    /// Whatever the load does, sizes stay in the bounds, and no period sees more than its step.
    #[test]
    fn bounds_and_rates_are_kept(template in 0_usize..6, seed in 0_u64..10_000) {
        let mut fleet = fleet(template, 10);
        fleet.run(0..2_000, |s| 75.0 * (noise(seed, s / 50, 1.0)));
        let policy = policy(TEMPLATES[template].name);
        let mut before = 10_u32;
        let steps: Vec<(u64, i64, u32)> = fleet.changes.iter().map(|&(s, size)| {
            let step = (s, i64::from(size) - i64::from(before), before);
            before = size;
            step
        }).collect();
        for &(_, size) in &fleet.changes {
            prop_assert!((policy.agents_min..=policy.agents_max).contains(&size));
        }
        for (rules, sign) in [(policy.up, 1), (policy.down, -1)] {
            for &(end, ..) in &steps {
                let within = |s: u64| s <= end && (end - s) * 1_000 < rules.period_ms;
                let moved: i64 = steps.iter().filter(|(s, step, _)| within(*s) && step * sign > 0).map(|it| it.1 * sign).sum();
                let net: i64 = steps.iter().filter(|(s, ..)| within(*s)).map(|it| it.1 * sign).sum();
                let begin = steps.iter().find(|(s, ..)| within(*s)).map_or(10, |it| it.2);
                let by_percent = rules.step_percent_max.map(|it| (u64::from(begin) * u64::from(it)).div_ceil(100).max(1));
                let most = rules.step_agents_max.map(u64::from).into_iter().chain(by_percent).min();
                // What came back within the period is not held against it: the net of the period counts.
                prop_assert!(most.is_none_or(|most| net <= most as i64), "{moved} of {most:?} at {end}: {steps:?}");
            }
        }
    }
}

#[test]
fn a_step_of_the_load_is_answered_within_a_bound() {
    for (template, within_s) in [
        ("web-balanced", 200),
        ("web-aggressive", 61),
        ("api-performance", 61),
        ("batch-cost-optimised", 421),
        ("ml-gpu-optimised", 1_000),
        ("dev-minimal", 200),
    ] {
        let mut fleet = Fleet::new(policy(template), 4);
        fleet.run(0..900, |_| 8.0);
        let begun = fleet.agents;
        fleet.run(900..2_700, |_| 40.0);
        // 40 slots on agents of four, at the target and the tolerance.
        let enough = |size: u32| f64::from(size) * 4.0 * fleet.scaler.policy().target() * 1.1 >= 40.0;
        let answered = fleet.changes.iter().find(|(_, size)| enough(*size)).map(|(s, _)| s - 900);
        assert!(answered.is_some_and(|s| s <= within_s), "{template} from {begun}: {answered:?} {:?}", fleet.changes);
    }
}
