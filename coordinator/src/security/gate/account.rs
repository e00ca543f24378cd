//! How much clients ask.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use evenkeel_shared::Error;

use super::super::rate::{Bucket, Rate};
use crate::config::AuthConfig;

/// How much one client has asked, by its name.
#[derive(Debug, Default)]
pub struct Account {
    pub(super) calls: Bucket,
    pub(super) tasks: Bucket,
    pub(super) tasks_rate: std::sync::Mutex<Option<Rate>>,
    pub(super) open: AtomicU32,
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
pub struct Turn(pub(super) Arc<Account>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn calls_rate(config: &AuthConfig) -> Rate {
    Rate { per_s: config.client_calls_per_s, burst: config.client_calls_burst }
}

pub(super) fn tasks_rate(config: &AuthConfig) -> Rate {
    Rate { per_s: config.client_tasks_per_s, burst: config.client_tasks_burst }
}
