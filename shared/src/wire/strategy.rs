//! Strategies and their settings.

use evenkeel_proto::v1::{self, strategy_config::Strategy};

use crate::{error::Violation, strategy::StrategyConfig};

/// Reads a strategy; settings that are not set stand for their defaults.
///
/// # Errors
/// No strategy (none known to this build), or a setting out of its range.
pub fn strategy(wire: v1::StrategyConfig) -> Result<StrategyConfig, Violation> {
    let known = || format!("must be one of {}", StrategyConfig::NAMES.join(", "));
    let wire = wire.strategy.ok_or_else(|| Violation::new("strategy", known()))?;
    let mut config = StrategyConfig::named(name(&wire))?;
    match (&mut config, wire) {
        (StrategyConfig::Weighted { task_capacity, cpu, memory }, Strategy::Weighted(wire)) => {
            *task_capacity = wire.task_capacity.unwrap_or(*task_capacity);
            *cpu = wire.cpu.unwrap_or(*cpu);
            *memory = wire.memory.unwrap_or(*memory);
        }
        (StrategyConfig::Priority { held_back_percent, urgent_priority }, Strategy::Priority(wire)) => {
            if let Some(percent) = wire.held_back_percent {
                *held_back_percent = saturated(percent);
            }
            if wire.urgent_priority != 0 {
                *urgent_priority = saturated(wire.urgent_priority);
            }
        }
        (StrategyConfig::ConsistentHash { load_bound_percent }, Strategy::ConsistentHash(wire))
            if wire.load_bound_percent != 0 =>
        {
            *load_bound_percent = u16::try_from(wire.load_bound_percent).unwrap_or(u16::MAX);
        }
        _ => {}
    }
    config.validate()?;
    Ok(config)
}

/// The name of the strategy that a message holds.
const fn name(wire: &Strategy) -> &'static str {
    match wire {
        Strategy::RoundRobin(_) => "round_robin",
        Strategy::LeastLoaded(_) => "least_loaded",
        Strategy::Weighted(_) => "weighted",
        Strategy::Priority(_) => "priority",
        Strategy::Random(_) => "random",
        Strategy::PowerOfTwo(_) => "power_of_two",
        Strategy::ConsistentHash(_) => "consistent_hash",
        Strategy::BinPack(_) => "bin_pack",
    }
}

/// Too large a number stays too large, so that validation refuses it.
fn saturated(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Writes a strategy.
#[must_use]
pub fn to_strategy(config: &StrategyConfig) -> v1::StrategyConfig {
    let strategy = match *config {
        StrategyConfig::RoundRobin => Strategy::RoundRobin(v1::RoundRobin {}),
        StrategyConfig::LeastLoaded => Strategy::LeastLoaded(v1::LeastLoaded {}),
        StrategyConfig::Weighted { task_capacity, cpu, memory } => {
            let (task_capacity, cpu, memory) = (Some(task_capacity), Some(cpu), Some(memory));
            Strategy::Weighted(v1::Weighted { task_capacity, cpu, memory })
        }
        StrategyConfig::Priority { held_back_percent, urgent_priority } => Strategy::Priority(v1::TierPriority {
            held_back_percent: Some(held_back_percent.into()),
            urgent_priority: urgent_priority.into(),
        }),
        StrategyConfig::Random => Strategy::Random(v1::Random {}),
        StrategyConfig::PowerOfTwo => Strategy::PowerOfTwo(v1::PowerOfTwo {}),
        StrategyConfig::ConsistentHash { load_bound_percent } => {
            Strategy::ConsistentHash(v1::ConsistentHash { load_bound_percent: load_bound_percent.into() })
        }
        StrategyConfig::BinPack => Strategy::BinPack(v1::BinPack {}),
    };
    v1::StrategyConfig { strategy: Some(strategy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(strategy: Strategy, expected: Result<StrategyConfig, &str>) {
        let read = super::strategy(v1::StrategyConfig { strategy: Some(strategy) });
        assert_eq!(read.map_err(|violation| violation.field), expected.map_err(str::to_owned));
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        for name in StrategyConfig::NAMES {
            let config = StrategyConfig::named(name).unwrap();
            assert_eq!(strategy(to_strategy(&config)), Ok(config));
        }
        check(Strategy::Weighted(v1::Weighted::default()), StrategyConfig::named("weighted").map_err(|_| ""));
        check(Strategy::Priority(v1::TierPriority::default()), StrategyConfig::named("priority").map_err(|_| ""));
        let hash = v1::ConsistentHash::default();
        check(Strategy::ConsistentHash(hash), StrategyConfig::named("consistent_hash").map_err(|_| ""));
    }

    #[test]
    fn a_zero_that_was_said_is_kept() {
        let wire = v1::Weighted { task_capacity: Some(1.0), cpu: Some(0.0), memory: Some(0.0) };
        check(Strategy::Weighted(wire), Ok(StrategyConfig::Weighted { task_capacity: 1.0, cpu: 0.0, memory: 0.0 }));
        let wire = v1::TierPriority { held_back_percent: Some(0), urgent_priority: 0 };
        check(Strategy::Priority(wire), Ok(StrategyConfig::Priority { held_back_percent: 0, urgent_priority: 8 }));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let weighted = |cpu| Strategy::Weighted(v1::Weighted { cpu: Some(cpu), ..v1::Weighted::default() });
        check(weighted(f64::NAN), Err("weighted.cpu"));
        check(weighted(-1.0), Err("weighted.cpu"));
        let tiers = |percent, urgent_priority| {
            Strategy::Priority(v1::TierPriority { held_back_percent: Some(percent), urgent_priority })
        };
        check(tiers(91, 8), Err("priority.held_back_percent"));
        check(tiers(256 + 10, 8), Err("priority.held_back_percent"));
        check(tiers(10, 10), Err("priority.urgent_priority"));
        check(tiers(10, 256 + 8), Err("priority.urgent_priority"));
        for load_bound_percent in [100, 1001, 65_536 + 125] {
            let hash = Strategy::ConsistentHash(v1::ConsistentHash { load_bound_percent });
            check(hash, Err("consistent_hash.load_bound_percent"));
        }
        assert!(strategy(v1::StrategyConfig::default()).is_err());
    }
}
