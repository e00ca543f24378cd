//! Why callers are turned away, and how often each way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::metrics::{
    Metrics,
    rows::{Row, Sort},
};

/// Why somebody was turned away, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Nothing was shown.
    Absent,
    /// What was shown is not of the form.
    Malformed,
    /// It is nobody's, or its signature is not good, or it is not meant for this coordinator.
    Unknown,
    /// It is over, or has not begun.
    Expired,
    /// It was revoked.
    Revoked,
    /// Two credentials are not of the same caller.
    Disagree,
    /// Its roles do not allow it.
    Role,
    /// Its tenant does not.
    Tenant,
    /// It is too fast.
    Rate,
    /// It has as many calls under way as it may.
    Busy,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Absent,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::Revoked,
        Self::Disagree,
        Self::Role,
        Self::Tenant,
        Self::Rate,
        Self::Busy,
    ];

    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Disagree => "disagree",
            Self::Role => "role",
            Self::Tenant => "tenant",
            Self::Rate => "rate",
            Self::Busy => "busy",
        }
    }
}

/// How often somebody was turned away for what. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<[AtomicU64; Refused::ALL.len()]>);

impl Counts {
    pub(super) fn add(&self, why: Refused) {
        let place = Refused::ALL.iter().position(|one| *one == why);
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn register(&self, metrics: &Metrics) {
        let counts = self.clone();
        let values = move || {
            let all = Refused::ALL.iter().zip(counts.0.iter());
            let series = |(why, count): (&Refused, &AtomicU64)| {
                (vec![("reason", why.name().to_owned())], count.load(Ordering::Relaxed) as f64)
            };
            all.map(series).collect()
        };
        metrics.add(Row {
            name: "auth_refused",
            help: "Calls refused for who made them, or for how many that one makes.",
            sort: Sort::Counter,
            values: Arc::new(values),
        });
    }
}
