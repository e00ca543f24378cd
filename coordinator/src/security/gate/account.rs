//! How much clients ask.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use evenkeel_shared::Error;

use super::{
    super::{
        Caller,
        rate::{Bucket, Rate},
    },
    BUSY_RETRY_AFTER, Gate, Refused,
};
use crate::config::AuthConfig;

/// Clients whose rates are kept.
pub(super) const ACCOUNTS_MAX: usize = 65_536;

/// How much one client has asked, by its name.
#[derive(Debug, Default)]
pub struct Account {
    calls: Bucket,
    tasks: Bucket,
    tasks_rate: Mutex<Option<Rate>>,
    open: AtomicU32,
}

impl Account {
    /// So many tasks are to be submitted.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED with when to come again. Nothing was written.
    pub fn submits(&self, tasks: usize) -> Result<(), Error> {
        let Some(rate) = *self.tasks_rate.lock().unwrap_or_else(PoisonError::into_inner) else { return Ok(()) };
        let too_fast = |after| {
            let what = format!("this client may submit {} tasks a second, and {} at once", rate.per_s, rate.burst);
            Error::exhausted(what, after)
        };
        self.tasks.take(tasks, rate, Instant::now()).map_err(too_fast)
    }
}

/// One call of an account that is under way.
#[derive(Debug)]
pub struct Turn(Arc<Account>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// The account of a caller, by whose name it is kept.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: there is no room for another account.
    pub(super) fn account(&self, caller: &Caller) -> Result<Arc<Account>, Error> {
        let (policy, accounts) = (self.0.policy.load(), &self.0.accounts);
        let config = &policy.config;
        let known = accounts.get(&caller.name).map(|account| Arc::clone(&account));
        let account = match known {
            Some(account) => account,
            None => {
                self.make_room(config)?;
                Arc::clone(&accounts.entry(caller.name.clone()).or_default())
            }
        };
        let rate = (config.client_tasks_per_s > 0).then(|| tasks_rate(config));
        *account.tasks_rate.lock().unwrap_or_else(PoisonError::into_inner) = rate;
        Ok(account)
    }

    /// Forgets those who have asked nothing for so long that nothing of it counts, if there are as many accounts as may be.
    fn make_room(&self, config: &AuthConfig) -> Result<(), Error> {
        let accounts = &self.0.accounts;
        if accounts.len() < ACCOUNTS_MAX {
            return Ok(());
        }
        let now = Instant::now();
        let (calls, tasks) = (calls_rate(config), tasks_rate(config));
        accounts.retain(|_, account| {
            Arc::strong_count(account) > 1 || !account.calls.is_full(calls, now) || !account.tasks.is_full(tasks, now)
        });
        if accounts.len() < ACCOUNTS_MAX {
            return Ok(());
        }
        self.0.counts.add(Refused::Busy);
        Err(Error::exhausted(format!("{ACCOUNTS_MAX} other clients have calls under way"), BUSY_RETRY_AFTER))
    }

    /// One more call of an account is made.
    pub(super) fn rate(&self, account: &Account) -> Result<(), Error> {
        let policy = self.0.policy.load();
        let rate = calls_rate(&policy.config);
        let too_fast = |after| {
            let what = format!("this client may make {} calls a second, and {} at once", rate.per_s, rate.burst);
            Error::exhausted(what, after)
        };
        account.calls.take(1, rate, Instant::now()).map_err(too_fast)
    }

    /// One more call of an account is under way.
    pub(super) fn turn(&self, account: &Arc<Account>) -> Result<Turn, Error> {
        let max = self.0.policy.load().config.client_calls_open_max;
        let turn = Turn(Arc::clone(account));
        if account.open.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(turn);
        }
        self.0.counts.add(Refused::Busy);
        Err(Error::exhausted(format!("this client has {max} calls under way, as many as it may"), BUSY_RETRY_AFTER))
    }
}

fn calls_rate(config: &AuthConfig) -> Rate {
    Rate { per_s: config.client_calls_per_s, burst: config.client_calls_burst }
}

fn tasks_rate(config: &AuthConfig) -> Rate {
    Rate { per_s: config.client_tasks_per_s, burst: config.client_tasks_burst }
}
