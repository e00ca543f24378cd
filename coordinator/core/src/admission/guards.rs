//! Quotas and breakers together: may a task of this kind that draws on these quotas go now?
//!
//! The engine asks before it places a task or lets one leave the queue, and says when an attempt begins and how it ends. As
//! long as nothing is shut, and nothing fails, each of these is a look at whether something is empty.

use std::{fmt, time::Duration};

use evenkeel_shared::{AgentId, AssignmentId, Kind, QuotaKey, Timestamp};

use super::{
    BreakerId, BreakerOrder,
    breaker::{Attempt, Breaker, BreakerSettings, BreakerState},
    quota::{Cooldown, Quotas, Reported},
};

mod breakers;

use breakers::Breakers;

/// Breakers of kinds, and as many of quotas, of which something is known: those that had failures lately. Beyond it a kind
/// that begins to fail has no breaker, until others are well.
pub const BREAKERS_MAX: usize = 1_024;

/// Why tasks do not go, and until when as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub by: ClosedBy,
    /// Until when; it may stay closed beyond that.
    pub until: Timestamp,
}

/// Why tasks do not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// An upstream quota is used up.
    Quota {
        /// Which.
        key: QuotaKey,
        /// In the words of who said so.
        reason: String,
    },
    /// A breaker lets none through, or no more trials.
    Breaker {
        /// Which.
        id: BreakerId,
        /// It is tried, and the trials are under way.
        half_open: bool,
    },
}

impl fmt::Display for ClosedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota { key, reason } if reason.is_empty() => {
                write!(f, "the upstream quota `{key}`, which is used up")
            }
            Self::Quota { key, reason } => write!(f, "the upstream quota `{key}`, which is used up ({reason})"),
            Self::Breaker { id, half_open: false } => write!(f, "the circuit breaker of {id}, which is open"),
            Self::Breaker { id, half_open: true } => {
                write!(f, "the circuit breaker of {id}, which is half-open: its trials are under way")
            }
        }
    }
}

impl fmt::Display for BreakerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent `{agent}`"),
            Self::Kind(kind) => write!(f, "kind `{kind}`"),
            Self::Quota(key) => write!(f, "quota `{key}`"),
        }
    }
}

/// Something opened, closed or is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A breaker of a kind or quota.
    Breaker {
        /// Which.
        id: BreakerId,
        /// Where it stands now.
        state: BreakerState,
        /// Why.
        reason: String,
    },
    /// A half-open breaker lets as many trials through once more.
    MoreTrials,
    /// A quota is used up, or for longer than was known.
    Shut(QuotaKey),
    /// It no longer is.
    Opened(QuotaKey),
}

/// What an attempt was, for the guards.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// Its kind.
    pub kind: &'a Kind,
    /// The quotas that its task draws on.
    pub keys: &'a [QuotaKey],
    /// Those that its agent draws on.
    pub agent_keys: &'a [QuotaKey],
}

impl<'a> Drawn<'a> {
    fn all_keys(&self) -> impl Iterator<Item = &'a QuotaKey> + Clone {
        let (keys, more) = (self.keys, self.agent_keys);
        keys.iter().chain(more.iter().filter(move |key| !keys.contains(key)))
    }
}

/// A breaker, as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerView {
    /// Which.
    pub id: BreakerId,
    /// Where it stands.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
    /// Failures that count at present.
    pub failures: u32,
    /// Attempts that count at present.
    pub attempts: u32,
    /// How often it opened since the start.
    pub times_opened: u32,
    /// Why it stands there.
    pub reason: String,
}

/// All of them. See the module.
#[derive(Clone, Debug)]
pub struct Guards {
    settings: BreakerSettings,
    quotas: Quotas,
    kinds: Breakers<Kind>,
    keys: Breakers<QuotaKey>,
    draws: fastrand::Rng,
}

impl Guards {
    /// Everything is open.
    #[must_use]
    pub fn new(settings: BreakerSettings, seed: u64) -> Self {
        let draws = fastrand::Rng::with_seed(seed);
        Self { settings, quotas: Quotas::default(), kinds: Breakers::default(), keys: Breakers::default(), draws }
    }

    /// Other settings. What is shut stays so for as long as it was said to.
    pub const fn configure(&mut self, settings: BreakerSettings) {
        self.settings = settings;
    }

    /// Whether everything is open, so that nobody need ask.
    #[must_use]
    pub fn all_open(&self) -> bool {
        self.quotas.is_empty() && self.kinds.turned.is_empty() && self.keys.turned.is_empty()
    }

    /// Why tasks of this kind that draw on these quotas do not go now. `None`: they may.
    #[must_use]
    pub fn class_closed(&self, _now: Timestamp, kind: &Kind, keys: &[QuotaKey]) -> Option<Closed> {
        if self.all_open() {
            return None;
        }
        if let Some((until, half_open)) = self.kinds.shut_until(kind, &self.settings) {
            return Some(Closed { by: ClosedBy::Breaker { id: BreakerId::Kind(kind.clone()), half_open }, until });
        }
        self.keys_closed(keys, true)
    }

    /// Why an agent that draws on these quotas gets nothing now. `None`: it may. A breaker that is tried lets agents be: it
    /// counts the tasks that name its key.
    #[must_use]
    pub fn agent_closed(&self, keys: &[QuotaKey]) -> Option<Closed> {
        if keys.is_empty() || self.all_open() { None } else { self.keys_closed(keys, false) }
    }

    fn keys_closed(&self, keys: &[QuotaKey], trials_count: bool) -> Option<Closed> {
        if let Some((key, cooldown)) = self.quotas.longest(keys.iter()) {
            let by = ClosedBy::Quota { key: key.clone(), reason: cooldown.reason.clone() };
            return Some(Closed { by, until: cooldown.until });
        }
        let shut = keys.iter().filter_map(|key| Some((key, self.keys.shut_until(key, &self.settings)?)));
        let shut = shut.filter(|(_, (_, half_open))| trials_count || !half_open);
        let (key, (until, half_open)) = shut.max_by_key(|(_, (until, _))| *until)?;
        Some(Closed { by: ClosedBy::Breaker { id: BreakerId::Quota(key.clone()), half_open }, until })
    }

    /// An attempt began. True: something closed by that, since it was the last trial.
    pub fn begun(&mut self, now: Timestamp, kind: &Kind, keys: &[QuotaKey]) -> bool {
        let Self { settings, kinds, keys: by_key, .. } = self;
        let mut closed = false;
        if kinds.turned.contains(kind)
            && let Some(breaker) = kinds.known.get_mut(kind)
        {
            closed |= breaker.begun(now, settings);
        }
        for key in keys.iter().filter(|_| !by_key.turned.is_empty()) {
            if let Some(breaker) = by_key.known.get_mut(key) {
                closed |= breaker.begun(now, settings);
            }
        }
        closed
    }

    /// An attempt ended in a way that says something about what it depends on: not a cancellation, not an agent that was
    /// lost or had no room, not a fault of the task's own, not a quota. `fleet`: connected agents, and the number of the
    /// next attempt. `turns` is told what turned.
    pub fn ended(
        &mut self,
        now: Timestamp,
        drawn: &Drawn<'_>,
        attempt: Attempt,
        fleet: (usize, AssignmentId),
        turns: &mut Vec<Turn>,
    ) {
        if attempt.ok && self.kinds.known.is_empty() && self.keys.known.is_empty() {
            return;
        }
        let draw = self.draws.f64();
        let Self { settings, kinds, keys, .. } = self;
        if let Some(breaker) = kinds.ended(now, drawn.kind, settings, attempt, fleet, draw) {
            turns.push(turn(BreakerId::Kind(drawn.kind.clone()), breaker));
        }
        for key in drawn.all_keys() {
            if let Some(breaker) = keys.ended(now, key, settings, attempt, fleet, draw) {
                turns.push(turn(BreakerId::Quota(key.clone()), breaker));
            }
        }
    }

    /// An attempt failed for a quota. False: nothing is known that it could wait for, since neither its task nor its agent
    /// names a key.
    pub fn quota_failed(&mut self, now: Timestamp, drawn: &Drawn<'_>, by: &AgentId, turns: &mut Vec<Turn>) -> bool {
        let draw = self.draws.f64();
        let shut = self.quotas.failed(now, drawn.all_keys(), by, draw);
        turns.extend(shut.into_iter().map(Turn::Shut));
        drawn.all_keys().any(|key| self.quotas.get(key).is_some())
    }

    /// A quota is used up, by the word of an agent or of an operator.
    pub fn report_quota(
        &mut self,
        now: Timestamp,
        key: &QuotaKey,
        retry_after: Duration,
        reason: &str,
        by: Option<&AgentId>,
        turns: &mut Vec<Turn>,
    ) -> Reported {
        let reported = self.quotas.report(now, key, retry_after, reason, by);
        if matches!(reported, Reported::Shut | Reported::Longer) {
            turns.push(Turn::Shut(key.clone()));
        }
        reported
    }

    /// A quota is there again, by the word of an operator. False: it was.
    pub fn clear_quota(&mut self, key: &QuotaKey, turns: &mut Vec<Turn>) -> bool {
        let cleared = self.quotas.clear(key);
        if cleared {
            turns.push(Turn::Opened(key.clone()));
        }
        cleared
    }

    /// What an operator wants of the breaker of a kind or quota. False: there is no room for one more.
    pub fn order(
        &mut self,
        now: Timestamp,
        id: &BreakerId,
        order: BreakerOrder,
        reason: &str,
        next: AssignmentId,
        turns: &mut Vec<Turn>,
    ) -> bool {
        let Self { settings, kinds, keys, .. } = self;
        let ordered = match id {
            BreakerId::Kind(kind) => give_order(kinds, kind, now, settings, order, reason, next),
            BreakerId::Quota(key) => give_order(keys, key, now, settings, order, reason, next),
            BreakerId::Agent(_) => None,
        };
        turns.extend(ordered.as_ref().map(|breaker| turn(id.clone(), breaker)));
        ordered.is_some()
    }

    /// What time does.
    pub fn due(&mut self, now: Timestamp, next: AssignmentId, turns: &mut Vec<Turn>) {
        let Self { settings, quotas, kinds, keys, .. } = self;
        turns.extend(quotas.due(now).into_iter().map(Turn::Opened));
        let more = |id: BreakerId, breaker: &Breaker| {
            if breaker.since() == now { turn(id, breaker) } else { Turn::MoreTrials }
        };
        turns.extend(kinds.due(now, settings, next).iter().map(|(kind, b)| more(BreakerId::Kind(kind.clone()), b)));
        turns.extend(keys.due(now, settings, next).iter().map(|(key, b)| more(BreakerId::Quota(key.clone()), b)));
    }

    /// When [`due`](Self::due) is to be called. `None`: everything is open, or waits for attempts to end.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let breakers = [self.kinds.next_due(&self.settings), self.keys.next_due(&self.settings)];
        breakers.into_iter().chain([self.quotas.next_due()]).flatten().min()
    }

    /// How many breakers of kinds and quotas are open or half-open.
    #[must_use]
    pub fn turned(&self) -> usize {
        self.kinds.turned.len() + self.keys.turned.len()
    }

    /// The quotas that are used up, by key.
    pub fn cooldowns(&self) -> impl Iterator<Item = (&QuotaKey, &Cooldown)> {
        self.quotas.iter()
    }

    /// The cooldown of a key.
    #[must_use]
    pub fn cooldown(&self, key: &QuotaKey) -> Option<&Cooldown> {
        self.quotas.get(key)
    }

    /// The breakers of kinds and quotas of which something is known.
    pub fn breakers(&self) -> impl Iterator<Item = BreakerView> {
        let kinds = self.kinds.known.iter().map(|(kind, breaker)| view(BreakerId::Kind(kind.clone()), breaker));
        kinds.chain(self.keys.known.iter().map(|(key, breaker)| view(BreakerId::Quota(key.clone()), breaker)))
    }
}

fn turn(id: BreakerId, breaker: &Breaker) -> Turn {
    Turn::Breaker { id, state: breaker.state(), reason: breaker.reason().to_owned() }
}

fn give_order<K: Ord + Clone>(
    breakers: &mut Breakers<K>,
    key: &K,
    now: Timestamp,
    settings: &BreakerSettings,
    order: BreakerOrder,
    reason: &str,
    next: AssignmentId,
) -> Option<Breaker> {
    let breaker = breakers.entry(now, key, settings)?;
    breaker.order(now, order, reason, next);
    let breaker = breaker.clone();
    breakers.follow(key);
    Some(breaker)
}

fn view(id: BreakerId, breaker: &Breaker) -> BreakerView {
    let (failures, attempts) = breaker.counts();
    BreakerView {
        id,
        state: breaker.state(),
        since: breaker.since(),
        failures,
        attempts,
        times_opened: breaker.times_opened(),
        reason: breaker.reason().to_owned(),
    }
}

#[cfg(test)]
#[path = "guards_tests.rs"]
mod tests;
