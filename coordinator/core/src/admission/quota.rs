//! Upstream quotas that are used up: what shares the key waits together.
//!
//! Many agents draw on one account of some service. When it is used up, each of them would find out by itself, with an
//! attempt that is lost, again and again. So the first that finds out says it for all: until the quota is there again, no
//! task that names the key begins, and no agent that registered with the key gets anything.
//!
//! - The longer of two words counts: who knows of a minute knows more than who knows of a second.
//! - An attempt that failed for a quota of which nobody has said for how long shuts its keys for a while by itself: a second,
//!   doubled each time up to a minute, and from the start again after it has been open for ten times that. A little of it is
//!   chance, so that keys that closed together do not open together.
//! - All keys that are known are bounded. Beyond that the one that ends first makes room: it is nearest to being open anyway.
//!   One agent may have said only so many of them, so that one that makes up keys does not crowd out the others.
//! - Nothing of this is kept on disk. After a restart the first attempt that runs into a quota says it anew, which costs that
//!   attempt and those begun with it; a cooldown that outlived its cause over a restart would cost more.
//!
//! What is assigned already is left alone: it may have drawn on the quota before that was used up.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{AgentId, QuotaKey, Timestamp, limits::COOLDOWN_MAX};

/// Cooldowns at a time: far more accounts than a fleet draws on, and a bound on memory.
pub const COOLDOWNS_MAX: usize = 4_096;
/// Of these said by one agent: a bound on what a broken one can fill.
pub const COOLDOWNS_BY_AGENT_MAX: usize = 64;
/// A quota of which nobody said for how long is left alone for this long at first.
const COOLDOWN_BASE: Duration = Duration::from_secs(1);
/// And at most for this long: most quotas are by the minute.
const COOLDOWN_GUESS_MAX: Duration = Duration::from_secs(60);
/// Open for so many times its last guess, a key has forgotten that it ever was shut.
const FORGOTTEN_AFTER: u32 = 10;
/// Share of a guess by which it may be longer, by chance.
const JITTER: f64 = 0.2;

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// When it ends.
    pub until: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// The agent that said so; `None`: an operator.
    pub reported_by: Option<AgentId>,
}

/// How long a key was shut by guess the last time.
#[derive(Clone, Copy, Debug)]
struct Guess {
    time: Duration,
    ended: Timestamp,
}

/// The quotas that are used up.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    cooling: BTreeMap<QuotaKey, Cooldown>,
    guesses: BTreeMap<QuotaKey, Guess>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The key is shut from now on.
    Shut,
    /// It was shut, and is for longer now.
    Longer,
    /// It was, for as long or longer.
    Known,
    /// The agent has said too many; see [`COOLDOWNS_BY_AGENT_MAX`].
    TooMany,
}

impl Quotas {
    /// A key is used up, by the word of an agent or an operator. A cooldown longer than a day is taken as a day.
    pub fn report(
        &mut self,
        now: Timestamp,
        key: &QuotaKey,
        retry_after: Duration,
        reason: &str,
        by: Option<&AgentId>,
    ) -> Reported {
        let until = now.plus(retry_after.min(COOLDOWN_MAX));
        if let Some(cooldown) = self.cooling.get_mut(key) {
            if cooldown.until >= until {
                return Reported::Known;
            }
            *cooldown = Cooldown { until, reason: reason.to_owned(), reported_by: by.cloned() };
            return Reported::Longer;
        }
        let said = |cooldown: &&Cooldown| cooldown.reported_by.as_ref() == by;
        if by.is_some() && self.cooling.values().filter(said).count() >= COOLDOWNS_BY_AGENT_MAX {
            return Reported::TooMany;
        }
        if self.cooling.len() >= COOLDOWNS_MAX
            && let Some(first) = self.cooling.iter().min_by_key(|(_, cooldown)| cooldown.until)
        {
            let first = first.0.clone();
            self.cooling.remove(&first);
        }
        let cooldown = Cooldown { until, reason: reason.to_owned(), reported_by: by.cloned() };
        self.cooling.insert(key.clone(), cooldown);
        Reported::Shut
    }

    /// An attempt that draws on these keys failed for a quota. Where nobody has said which and for how long, all of them are
    /// shut, for a time guessed. The draw is from 0 to 1. Answers those that are shut by this.
    pub fn failed<'a>(
        &mut self,
        now: Timestamp,
        keys: impl Iterator<Item = &'a QuotaKey> + Clone,
        by: &AgentId,
        draw: f64,
    ) -> Vec<QuotaKey> {
        if keys.clone().any(|key| self.cooling.contains_key(key)) {
            return Vec::new();
        }
        let mut shut = Vec::new();
        for key in keys {
            let time = self.guess(now, key);
            let reason = "an attempt failed for a quota and did not say for how long";
            let until = time.mul_f64(1.0 + JITTER * draw.clamp(0.0, 1.0));
            if self.report(now, key, until, reason, Some(by)) == Reported::Shut {
                self.remember(key, Guess { time, ended: now.plus(until) });
                shut.push(key.clone());
            }
        }
        shut
    }

    /// For how long a key had better be left alone.
    fn guess(&self, now: Timestamp, key: &QuotaKey) -> Duration {
        match self.guesses.get(key) {
            Some(last) if now.since(last.ended) < last.time * FORGOTTEN_AFTER => {
                (last.time * 2).min(COOLDOWN_GUESS_MAX)
            }
            _ => COOLDOWN_BASE,
        }
    }

    fn remember(&mut self, key: &QuotaKey, guess: Guess) {
        if self.guesses.len() >= COOLDOWNS_MAX
            && !self.guesses.contains_key(key)
            && let Some(first) = self.guesses.iter().min_by_key(|(_, guess)| guess.ended)
        {
            let first = first.0.clone();
            self.guesses.remove(&first);
        }
        self.guesses.insert(key.clone(), guess);
    }

    /// The key is open again, by the word of an operator. False: it was.
    pub fn clear(&mut self, key: &QuotaKey) -> bool {
        self.guesses.remove(key);
        self.cooling.remove(key).is_some()
    }

    /// Opens the keys whose time is over.
    pub fn due(&mut self, now: Timestamp) -> Vec<QuotaKey> {
        let over: Vec<QuotaKey> =
            self.cooling.iter().filter(|(_, cooldown)| cooldown.until <= now).map(|(key, _)| key.clone()).collect();
        for key in &over {
            self.cooling.remove(key);
        }
        over
    }

    /// When the next of them opens.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.cooling.values().map(|cooldown| cooldown.until).min()
    }

    /// The cooldown of a key, if it is shut.
    #[must_use]
    pub fn get(&self, key: &QuotaKey) -> Option<&Cooldown> {
        self.cooling.get(key)
    }

    /// Of these keys the one that is shut longest.
    pub fn longest<'a>(&'a self, keys: impl Iterator<Item = &'a QuotaKey>) -> Option<(&'a QuotaKey, &'a Cooldown)> {
        if self.cooling.is_empty() {
            return None;
        }
        keys.filter_map(|key| self.cooling.get_key_value(key)).max_by_key(|(_, cooldown)| cooldown.until)
    }

    /// All that are shut, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaKey, &Cooldown)> {
        self.cooling.iter()
    }

    /// Whether none is shut.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cooling.is_empty()
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
