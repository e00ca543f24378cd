//! Strategies as settings: which rule picks the agent, and with what numbers.
//!
//! The tag is the strategy's name; unknown names and settings are refused. What the rules do is in `evenkeel-core`.

use serde::{Deserialize, Serialize};

use crate::error::Violation;

/// A strategy and its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// Each agent in turn.
    RoundRobin,
    /// The agent with the smallest share of its slots in use.
    #[default]
    LeastLoaded,
    /// The agent with the best weighted sum of free task capacity, processor and memory.
    Weighted {
        /// Weight of free slots.
        #[serde(default = "weights::tasks")]
        task_capacity: f64,
        /// Weight of free processor.
        #[serde(default = "weights::cpu")]
        cpu: f64,
        /// Weight of free memory.
        #[serde(default = "weights::memory")]
        memory: f64,
    },
    /// The best tier with room; the top slots of each tier are held back for urgent tasks.
    Priority {
        /// Per cent of a tier's slots that are held back. 0 to 90.
        #[serde(default = "tiers::held_back_percent")]
        held_back_percent: u8,
        /// From this priority on a task is urgent. 1 to 9.
        #[serde(default = "tiers::urgent_priority")]
        urgent_priority: u8,
    },
    /// Any agent with room.
    Random,
    /// The less loaded of two drawn at random.
    PowerOfTwo,
    /// The agent that the task's affinity key hashes to, unless it is much busier than the others.
    ConsistentHash {
        /// An agent is passed over once its load is so many per cent of the mean. 101 to 1000.
        #[serde(default = "hash::load_bound_percent")]
        load_bound_percent: u16,
    },
    /// The fullest agent that still has room.
    BinPack,
}

mod weights {
    pub const fn tasks() -> f64 {
        0.5
    }
    pub const fn cpu() -> f64 {
        0.3
    }
    pub const fn memory() -> f64 {
        0.2
    }
}

mod tiers {
    pub const fn held_back_percent() -> u8 {
        10
    }
    pub const fn urgent_priority() -> u8 {
        8
    }
}

mod hash {
    pub const fn load_bound_percent() -> u16 {
        125
    }
}

impl StrategyConfig {
    /// The names of all strategies.
    pub const NAMES: [&str; 8] = [
        "round_robin",
        "least_loaded",
        "weighted",
        "priority",
        "random",
        "power_of_two",
        "consistent_hash",
        "bin_pack",
    ];

    /// The strategy's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastLoaded => "least_loaded",
            Self::Weighted { .. } => "weighted",
            Self::Priority { .. } => "priority",
            Self::Random => "random",
            Self::PowerOfTwo => "power_of_two",
            Self::ConsistentHash { .. } => "consistent_hash",
            Self::BinPack => "bin_pack",
        }
    }

    /// The strategy of this name, with its default settings.
    ///
    /// # Errors
    /// If there is none; the violation lists those there are.
    pub fn named(name: &str) -> Result<Self, Violation> {
        Ok(match name {
            "round_robin" => Self::RoundRobin,
            "least_loaded" => Self::LeastLoaded,
            "weighted" => {
                Self::Weighted { task_capacity: weights::tasks(), cpu: weights::cpu(), memory: weights::memory() }
            }
            "priority" => Self::Priority {
                held_back_percent: tiers::held_back_percent(),
                urgent_priority: tiers::urgent_priority(),
            },
            "random" => Self::Random,
            "power_of_two" => Self::PowerOfTwo,
            "consistent_hash" => Self::ConsistentHash { load_bound_percent: hash::load_bound_percent() },
            "bin_pack" => Self::BinPack,
            _ => {
                let known = Self::NAMES.join(", ");
                return Err(Violation::new("strategy", format!("there is no strategy `{name}`; there are: {known}")));
            }
        })
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The setting that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        match *self {
            Self::Weighted { task_capacity, cpu, memory } => {
                let all =
                    [("weighted.task_capacity", task_capacity), ("weighted.cpu", cpu), ("weighted.memory", memory)];
                for (field, weight) in all {
                    if !weight.is_finite() || weight < 0.0 {
                        return Err(Violation::new(field, format!("{weight} is not a weight; use a number from 0 up")));
                    }
                }
                if task_capacity + cpu + memory <= 0.0 {
                    return Err(Violation::new("weighted", "all weights are 0; at least one must be above"));
                }
            }
            Self::Priority { held_back_percent, urgent_priority } => {
                if held_back_percent > 90 {
                    return Err(Violation::new("priority.held_back_percent", "must be 0 to 90"));
                }
                if !(1..=9).contains(&urgent_priority) {
                    return Err(Violation::new("priority.urgent_priority", "must be 1 to 9"));
                }
            }
            Self::ConsistentHash { load_bound_percent } => {
                if !(101..=1000).contains(&load_bound_percent) {
                    return Err(Violation::new("consistent_hash.load_bound_percent", "must be 101 to 1000"));
                }
            }
            Self::RoundRobin | Self::LeastLoaded | Self::Random | Self::PowerOfTwo | Self::BinPack => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_a_valid_strategy_of_that_name() {
        for name in StrategyConfig::NAMES {
            let config = StrategyConfig::named(name).unwrap();
            assert_eq!(config.name(), name);
            assert_eq!(config.validate(), Ok(()));
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<StrategyConfig>(&json).unwrap(), config);
        }
        assert!(StrategyConfig::named("best").is_err());
    }

    #[test]
    fn weights_read_back_from_json_as_they_were() {
        let config = StrategyConfig::Weighted { task_capacity: 0.5, cpu: 0.3, memory: 0.19999999999818102 };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<StrategyConfig>(&json).unwrap(), config);
    }

    #[test]
    fn settings_out_of_range_and_unknown_settings_are_refused() {
        let weighted = |task_capacity| StrategyConfig::Weighted { task_capacity, cpu: 0.0, memory: 0.0 };
        assert!(weighted(f64::NAN).validate().is_err());
        assert!(weighted(0.0).validate().is_err());
        assert!(StrategyConfig::ConsistentHash { load_bound_percent: 100 }.validate().is_err());
        assert!(serde_json::from_str::<StrategyConfig>(r#"{"name":"weighted","disk":1}"#).is_err());
    }
}
