//! What work may cost and use, and what it did.
//!
//! Amounts are whole millionths of a named unit, so that sums are exact and a budget's cap is never passed by rounding.
//! Floating point was rejected for them: a thousand reservations of 0.1 are not 100.

use std::{collections::BTreeMap, fmt, iter::Sum, ops::AddAssign, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{error::Violation, ids::check_name};

/// An amount of some unit, in millionths of it. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Millionths in one unit.
    pub const PER_UNIT: u64 = 1_000_000;

    /// So many units, rounded up to a millionth; what is negative or not a number is nothing.
    #[must_use]
    pub fn from_units(units: f64) -> Self {
        // A cast of what is too large or not a number saturates.
        Self((units * Self::PER_UNIT as f64).ceil() as u64)
    }

    /// In units.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0 as f64 / Self::PER_UNIT as f64
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::PER_UNIT, self.0 % Self::PER_UNIT);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// What is counted: "usd", "tokens", or any other name of 1 to 128 characters of `[A-Za-z0-9._:/-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CostUnit(std::sync::Arc<str>);

impl CostUnit {
    /// Checks the name.
    ///
    /// # Errors
    /// A violation of the field `unit`.
    pub fn new(name: &str) -> Result<Self, Violation> {
        check_name("unit", name)?;
        Ok(Self(name.into()))
    }

    /// United States dollars.
    #[must_use]
    pub fn usd() -> Self {
        Self("usd".into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CostUnit {
    type Error = Violation;

    fn try_from(name: String) -> Result<Self, Violation> {
        Self::new(&name)
    }
}

impl From<CostUnit> for String {
    fn from(unit: CostUnit) -> Self {
        unit.as_str().to_owned()
    }
}

impl fmt::Display for CostUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Amounts by unit. A unit that is not in it costs nothing.
pub type Cost = BTreeMap<CostUnit, Micros>;

/// What an attempt used, as far as its agent knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time.
    pub cpu: Duration,
    /// The most memory it had at once.
    pub memory_max_bytes: u64,
    /// As its executor reported.
    pub cost: Cost,
}

/// What an attempt at a task may cost and use. `None` and units that are not named: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBudget {
    /// Expected cost of an attempt, reserved in the budgets that cover the task while it runs.
    pub estimate: Cost,
    /// An attempt that has reported more is ended. It is also what is reserved, where it is set.
    pub max: Cost,
    /// Most memory at a time.
    pub memory_max_bytes: Option<u64>,
    /// Most processor time.
    pub cpu_max: Option<Duration>,
    /// Longest time by the clock; unlike the attempt timeout it is final.
    pub wall_max: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(Micros::from_units(0.1), Micros(100_000));
        assert_eq!((0..1_000).map(|_| Micros::from_units(0.1)).sum::<Micros>(), Micros::from_units(100.0));
        assert_eq!(Micros::from_units(-1.0), Micros::ZERO);
        assert_eq!(Micros::from_units(f64::NAN), Micros::ZERO);
        assert_eq!(Micros(u64::MAX).plus(Micros(1)), Micros(u64::MAX));
    }

    #[test]
    fn amounts_are_shown_in_units() {
        for (micros, shown) in [(0, "0"), (2_000_000, "2"), (2_500_000, "2.5"), (1, "0.000001"), (1_000_010, "1.00001")]
        {
            assert_eq!(Micros(micros).to_string(), shown);
        }
    }
}
