//! Resources: slots, processor, memory and named ones, in whole units so that sums are exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An amount of each resource.
///
/// As a task's need a zero means "none"; as an agent's capacity a zero of `cpu_millis` or `memory_bytes` means "not
/// declared": such an agent takes only tasks that do not ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Places to run a task in.
    pub slots: u32,
    /// Thousandths of a processor core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Named resources in whole units, such as `gpu`.
    pub custom: BTreeMap<String, u64>,
}

/// A resource by name, for saying which one falls short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceName {
    /// Slots.
    Slots,
    /// Processor.
    Cpu,
    /// Memory.
    Memory,
    /// A named one.
    Custom(String),
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slots => f.write_str("slots"),
            Self::Cpu => f.write_str("cpu_millis"),
            Self::Memory => f.write_str("memory_bytes"),
            Self::Custom(name) => f.write_str(name),
        }
    }
}

impl Resources {
    /// So many slots and nothing else.
    #[must_use]
    pub fn slots(slots: u32) -> Self {
        Self { slots, ..Self::default() }
    }

    /// Whether `need` fits into this.
    #[must_use]
    pub fn fits(&self, need: &Self) -> bool {
        need.slots <= self.slots
            && need.cpu_millis <= self.cpu_millis
            && need.memory_bytes <= self.memory_bytes
            && need.custom.iter().all(|(name, &amount)| amount <= self.custom.get(name).copied().unwrap_or(0))
    }

    /// The first resource of which `need` asks more than there is, with what is asked and what is there.
    #[must_use]
    pub fn shortfall(&self, need: &Self) -> Option<(ResourceName, u64, u64)> {
        let fixed = [
            (ResourceName::Slots, u64::from(need.slots), u64::from(self.slots)),
            (ResourceName::Cpu, need.cpu_millis, self.cpu_millis),
            (ResourceName::Memory, need.memory_bytes, self.memory_bytes),
        ];
        let custom = need.custom.iter().map(|(name, &asked)| {
            (ResourceName::Custom(name.clone()), asked, self.custom.get(name).copied().unwrap_or(0))
        });
        fixed.into_iter().chain(custom).find(|(_, asked, there)| asked > there)
    }

    /// Adds `other`; saturates.
    pub fn add(&mut self, other: &Self) {
        self.slots = self.slots.saturating_add(other.slots);
        self.cpu_millis = self.cpu_millis.saturating_add(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        for (name, &amount) in &other.custom {
            let sum = self.custom.entry(name.clone()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes `other` away; what would fall below zero becomes zero.
    pub fn subtract(&mut self, other: &Self) {
        self.slots = self.slots.saturating_sub(other.slots);
        self.cpu_millis = self.cpu_millis.saturating_sub(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
        for (name, &amount) in &other.custom {
            if let Some(left) = self.custom.get_mut(name) {
                *left = left.saturating_sub(amount);
            }
        }
    }
}

/// An amount of processor for people: `0.5 cores`.
#[must_use]
pub fn cores(cpu_millis: u64) -> String {
    format!("{} cores", cpu_millis as f64 / 1_000.0)
}

/// An amount of memory for people, exactly: `512 MiB`, or in bytes where it is no whole number of them.
#[must_use]
pub fn memory(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(slots: u32, gpus: u64) -> Resources {
        Resources { slots, custom: BTreeMap::from([("gpu".to_owned(), gpus)]), ..Resources::default() }
    }

    #[test]
    fn a_need_fits_where_every_resource_suffices() {
        assert!(gpus(2, 1).fits(&gpus(1, 1)));
        assert!(!gpus(2, 1).fits(&gpus(1, 2)));
        assert!(!Resources::slots(4).fits(&gpus(1, 1)));
    }

    #[test]
    fn a_shortfall_names_the_resource() {
        assert_eq!(gpus(2, 1).shortfall(&gpus(1, 2)), Some((ResourceName::Custom("gpu".into()), 2, 1)));
        assert_eq!(gpus(2, 1).shortfall(&gpus(2, 1)), None);
    }

    #[test]
    fn what_is_added_can_be_taken_away() {
        let mut have = gpus(1, 0);
        have.add(&gpus(2, 3));
        have.subtract(&gpus(2, 3));
        assert_eq!(have, gpus(1, 0));
    }
}
