//! What attempts of a kind have cost so far, to reserve for those that say no estimate.
//!
//! A mean over about the last hundred attempts of a kind, per unit: costs drift (a model gets cheaper, prompts get longer), so
//! that old ones must fade. A high percentile was rejected: it needs a sketch per kind, and who wants certainty declares the
//! most a task may cost.

use std::collections::BTreeMap;

use evenkeel_shared::{CostUnit, Kind, Micros};

/// Kinds remembered, over all units. Beyond it new ones have no mean and reserve nothing.
const KINDS_MAX: usize = 4_096;
/// Attempts after which older ones are halved.
const ATTEMPTS_MAX: u64 = 128;

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: u128,
    attempts: u64,
}

/// Means by unit and kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Means {
    by_unit: BTreeMap<CostUnit, BTreeMap<Kind, Mean>>,
    len: usize,
}

impl Means {
    /// An attempt of this kind cost so much.
    pub fn observe(&mut self, unit: &CostUnit, kind: &Kind, cost: Micros) {
        let known = self.by_unit.get_mut(unit).and_then(|kinds| kinds.get_mut(kind));
        let mean = match known {
            Some(mean) => mean,
            None if self.len >= KINDS_MAX => return,
            None => {
                self.len += 1;
                self.by_unit.entry(unit.clone()).or_default().entry(kind.clone()).or_default()
            }
        };
        mean.sum += u128::from(cost.0);
        mean.attempts += 1;
        if mean.attempts >= ATTEMPTS_MAX {
            mean.sum /= 2;
            mean.attempts /= 2;
        }
    }

    /// The mean so far, rounded up; `None` where nothing is known.
    pub fn of(&self, unit: &CostUnit, kind: &Kind) -> Option<Micros> {
        let mean = self.by_unit.get(unit)?.get(kind)?;
        let micros = mean.sum.div_ceil(u128::from(mean.attempts));
        Some(Micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_follows_what_attempts_cost() {
        let (usd, kind) = (CostUnit::usd(), Kind::new("infer").unwrap());
        let mut means = Means::default();
        assert_eq!(means.of(&usd, &kind), None);
        means.observe(&usd, &kind, Micros(1));
        means.observe(&usd, &kind, Micros(2));
        assert_eq!(means.of(&usd, &kind), Some(Micros(2)), "rounded up");
        for _ in 0..1_000 {
            means.observe(&usd, &kind, Micros(10_000));
        }
        let mean = means.of(&usd, &kind).unwrap();
        assert!(mean > Micros(9_900) && mean <= Micros(10_000), "{mean}");
        assert_eq!(means.of(&CostUnit::new("tokens").unwrap(), &kind), None);
    }

    #[test]
    fn kinds_are_bounded() {
        let mut means = Means::default();
        for kind in 0..=KINDS_MAX {
            means.observe(&CostUnit::usd(), &Kind::new(&format!("k{kind}")).unwrap(), Micros(1));
        }
        assert_eq!(means.of(&CostUnit::usd(), &Kind::new(&format!("k{KINDS_MAX}")).unwrap()), None);
        assert!(means.of(&CostUnit::usd(), &Kind::new("k0").unwrap()).is_some());
    }
}
