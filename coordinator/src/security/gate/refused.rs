//! Why callers are turned away, and how often each way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use evenkeel_shared::{Code, Error};

use super::{super::Caller, BUSY_RETRY_AFTER, Gate};
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

impl Gate {
    /// Counts, logs now and then, and says as little as helps the rightful.
    pub(super) fn refuse(&self, path: &str, why: Refused, caller: Option<&Caller>, from: String) -> Error {
        self.0.counts.add(why);
        if let Some(others) = self.0.seldom.is_due(Instant::now()) {
            let name = caller.map_or("", |caller| caller.name.as_str());
            tracing::warn!(path, reason = why.name(), name, from, others, "a call was refused");
        }
        if !matches!(why, Refused::Rate | Refused::Busy) {
            self.0.audit.denied(caller, from, path, why.name());
        }
        match why {
            Refused::Absent => {
                Error::new(Code::Unauthenticated, "this needs credentials: a token, or a client certificate")
            }
            Refused::Role => {
                let roles = caller.map_or_else(String::new, |caller| {
                    caller.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
                });
                Error::new(Code::PermissionDenied, format!("this is not for the role {roles}; see `evenkeel whoami`"))
            }
            Refused::Tenant => {
                let what = "this tells of all tenants; these credentials are bound to one";
                Error::new(Code::PermissionDenied, what)
            }
            Refused::Busy => Error::exhausted("too many credentials are in use at once", BUSY_RETRY_AFTER),
            _ => Error::new(Code::Unauthenticated, "the credentials are not accepted"),
        }
    }
}
