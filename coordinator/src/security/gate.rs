//! The gate that every call goes through: who is it, may it, how much may it.
//!
//! What is accepted comes from files that are looked at again and again, and from revocations by call; it is swapped as a
//! whole, so a call is judged by one state of things. A call takes its place in its credential's [`Live`] before it looks
//! whether that state is still the one in force: so a revocation either is seen by the call or sees the call.
//!
//! Where a certificate and a token are shown with one call, both have to be good and of the same name and tenant, and the
//! caller may what both allow. A stolen token is of no use then from a machine with another certificate, and whoever shows
//! more credentials never gets more rights. A certificate without a name for Evenkeel says nothing about who calls.
//!
//! What was wrong with credentials is counted, and logged now and then; the caller is told that they are not accepted, and no
//! more, whatever it was.

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use evenkeel_shared::Error;
use tonic::{Extensions, codegen::http::HeaderMap};

use super::{
    Caller, Role,
    access::{self, RouteRule, Rule},
    audit::Audit,
    files::{Files, FilesError},
    live::{Call, Live},
    revoked::{Revocation, RevokedError, RevokedFile},
    seldom::Seldom,
    tokens::Credentials,
};
use crate::{
    config::AuthConfig,
    connections::Peer,
    metrics::{
        Metrics,
        rows::{Row, Sort},
    },
};

mod account;
mod changes;
mod refused;
mod shown;

pub use account::{Account, Turn};
use changes::refused_ids;
use refused::Counts;
pub use refused::Refused;

/// When a caller may come again that has as many calls under way as it may.
const BUSY_RETRY_AFTER: Duration = Duration::from_millis(500);

/// A call that may go on.
pub struct Admitted {
    /// Who makes it.
    pub caller: Arc<Caller>,
    /// Its place; `None`: the call is open to anybody, or authentication is off and the call is none that lasts.
    pub call: Option<Arc<Call>>,
    /// How much it may still submit.
    pub account: Option<Arc<Account>>,
}

/// The gate. Clones share it.
#[derive(Clone)]
pub struct Gate(Arc<State>);

struct State {
    policy: ArcSwap<Policy>,
    lives: DashMap<String, Arc<Live>>,
    accounts: DashMap<String, Arc<Account>>,
    revoked: RevokedFile,
    anybody: Arc<Caller>,
    /// What is under way in nobody's name while authentication is off.
    anonymous: ArcSwap<Live>,
    nobody: Arc<Caller>,
    counts: Counts,
    seldom: Seldom,
    audit: Audit,
}

/// What is accepted at a time.
struct Policy {
    config: AuthConfig,
    files: Files,
    revoked: HashSet<String>,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A file of credentials.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file of revocations.
    #[error(transparent)]
    Revoked(#[from] RevokedError),
}

impl Gate {
    /// A gate with these settings, which keeps revocations in `data_dir`.
    ///
    /// # Errors
    /// If a file of credentials or revocations cannot be read: half of them is not what was set.
    pub fn new(config: &AuthConfig, audit: Audit, data_dir: &Path, metrics: &Metrics) -> Result<Self, GateError> {
        let counts = Counts::default();
        counts.register(metrics);
        let counted = audit.clone();
        metrics.add(Row {
            name: "audit_entries",
            help: "Entries of the audit log, and those that could not be written.",
            sort: Sort::Counter,
            values: Arc::new(move || {
                let (written, failed) = counted.counts();
                let series = |outcome: &str, count: u64| (vec![("outcome", outcome.to_owned())], count as f64);
                vec![series("written", written), series("failed", failed)]
            }),
        });
        let revoked = RevokedFile::open(data_dir)?;
        let files = Files::read(config)?;
        let refused = refused_ids(&files, &revoked);
        let anybody = Arc::new(Caller::anybody());
        Ok(Self(Arc::new(State {
            policy: ArcSwap::from_pointee(Policy { config: config.clone(), files, revoked: refused }),
            lives: DashMap::new(),
            accounts: DashMap::new(),
            revoked,
            anonymous: ArcSwap::from_pointee(Live::new(Arc::clone(&anybody), None)),
            anybody,
            nobody: Arc::new(Caller::nobody()),
            counts,
            seldom: Seldom::default(),
            audit,
        })))
    }

    /// Whether callers have to show who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.policy.load().config.is_on()
    }

    /// The log of who changed what.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Whoever calls while authentication is off.
    #[must_use]
    pub fn anybody(&self) -> &Arc<Caller> {
        &self.0.anybody
    }

    /// Lets a call in by its path, `/package.Service/Method`, or not.
    ///
    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED.
    pub fn admit(&self, path: &str, headers: &HeaderMap, extensions: &Extensions) -> Result<Admitted, Error> {
        if let Some(call) = self.anonymous(path, extensions) {
            return Ok(Admitted { caller: Arc::clone(&self.0.anybody), call, account: None });
        }
        if access::is_open(path) {
            return Ok(Admitted { caller: Arc::clone(&self.0.nobody), call: None, account: None });
        }
        let from = || super::address(extensions);
        let (mut call, caller) =
            self.identify(headers, extensions).map_err(|why| self.refuse(path, why, None, from()))?;
        let rule = access::rule(path);
        allowed(rule, &caller).map_err(|why| self.refuse(path, why, Some(&caller), from()))?;
        let account = self.account(&caller)?;
        if !is_session(rule) {
            self.rate(&account).inspect_err(|_| self.0.counts.add(Refused::Rate))?;
            call.hold(self.turn(&account)?);
        }
        Ok(Admitted { caller, call: Some(Arc::new(call)), account: Some(account) })
    }

    /// Whether the request of a call would be let in, before its body is read; does not count as one.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn check(&self, path: &str, headers: &HeaderMap, extensions: &Extensions) -> Result<(), Error> {
        if !self.is_on() || access::is_open(path) {
            return Ok(());
        }
        let from = || super::address(extensions);
        let (_call, caller) = self.identify(headers, extensions).map_err(|why| self.refuse(path, why, None, from()))?;
        allowed(access::rule(path), &caller).map_err(|why| self.refuse(path, why, Some(&caller), from()))
    }

    /// Whether a route of the HTTP port that is no call may be used.
    ///
    /// # Errors
    /// UNAUTHENTICATED or PERMISSION_DENIED.
    pub fn check_route(&self, path: &str, headers: &HeaderMap, extensions: &Extensions) -> Result<(), Error> {
        let policy = self.0.policy.load();
        if !policy.config.is_on() {
            return Ok(());
        }
        let roles = match access::route_rule(path) {
            Some(RouteRule::Open | RouteRule::Call) => return Ok(()),
            Some(RouteRule::Metrics(_)) if policy.config.metrics_open => return Ok(()),
            Some(RouteRule::For(roles) | RouteRule::Metrics(roles)) => roles,
            None => &[],
        };
        let from = || super::address(extensions);
        let (_call, caller) = self.identify(headers, extensions).map_err(|why| self.refuse(path, why, None, from()))?;
        let why = if !caller.is_one_of(roles) {
            Refused::Role
        } else if caller.tenant.is_some() && roles != Role::ALL {
            Refused::Tenant
        } else {
            return Ok(());
        };
        Err(self.refuse(path, why, Some(&caller), from()))
    }

    /// A call while authentication is off, with its place if it lasts; `None`: it is on.
    fn anonymous(&self, path: &str, extensions: &Extensions) -> Option<Option<Arc<Call>>> {
        let policy = self.0.policy.load_full();
        if policy.config.is_on() {
            return None;
        }
        if !access::lasts(path) {
            return Some(None);
        }
        let call = Call::begin(vec![self.0.anonymous.load_full()], extensions.get::<Peer>(), now_unix_ms());
        // Whoever switched it on meanwhile has not seen this call.
        self.is_same(&policy).then(|| Some(Arc::new(call))).or_else(|| self.anonymous(path, extensions))
    }

    /// Whether what is accepted is still the same.
    fn is_same(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(policy, &self.0.policy.load())
    }

    /// The credentials' file as it is in force.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.0.policy.load().files.credentials_shared()
    }

    /// Whether this id is refused.
    #[must_use]
    pub fn is_revoked(&self, id: &str) -> bool {
        self.0.policy.load().revoked.contains(id)
    }

    /// Ids that are refused by call.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.0.revoked.all()
    }

    /// Credentials in use, or used lately.
    #[must_use]
    pub fn lives(&self) -> Vec<Arc<Live>> {
        self.0.lives.iter().map(|live| Arc::clone(&live)).collect()
    }

    /// When the credential of a caller ends; 0: never.
    #[must_use]
    pub fn expires_unix_ms(&self, caller: &Caller) -> i64 {
        self.0.lives.get(&caller.credential).and_then(|live| live.expires_unix_ms).unwrap_or(0)
    }
}

/// Whether a caller may make a call.
fn allowed(rule: Option<&Rule>, caller: &Caller) -> Result<(), Refused> {
    let rule = rule.filter(|rule| caller.is_one_of(rule.1)).ok_or(Refused::Role)?;
    if caller.tenant.is_some() && !access::is_of_tenant(rule) { Err(Refused::Tenant) } else { Ok(()) }
}

/// Sessions of agents last, and are few: they count neither as calls nor as a client's.
fn is_session(rule: Option<&Rule>) -> bool {
    rule.is_some_and(|rule| rule.1 == [Role::Agent])
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
