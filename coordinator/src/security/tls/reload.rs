//! Certificates that change while the coordinator runs.
//!
//! The files are read every few seconds, and what they say is compared with what is in force. Watching the directories would
//! be quicker by seconds and wrong now and then: mounted secrets are swapped by links two levels up, some file systems tell
//! nothing, and a certificate is written before its key. Three small files in ten seconds are nothing to read.
//!
//! What is of no use is complained of once, and only when it is found a second time: a certificate and its key are two files,
//! and between the one and the other they do not go together.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{Material, Tls, TlsError, load, shown::now_unix_s};
use crate::config::{CoordinatorConfig, TlsConfig};

/// What one look has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What is in force already.
    Same,
    /// Something new, which is in force now.
    Replaced,
    /// Something that is of no use, for the first time: it may be half of a change.
    Unsure,
    /// The same a second time.
    Bad(String),
    /// The same again; it was complained of.
    StillBad,
}

/// Looks at the files, and remembers what it saw.
pub(super) struct Looker {
    tls: Tls,
    in_force: Option<[u8; 32]>,
    trouble: Option<(String, bool)>,
}

impl Looker {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, in_force: None, trouble: None }
    }

    /// Takes in what was read.
    pub(super) fn look(&mut self, read: Result<Material, TlsError>, config: &TlsConfig, now_unix_s: i64) -> Found {
        let put = read.and_then(|material| {
            if self.in_force == Some(material.digest()) {
                return Ok(Found::Same);
            }
            if material.expires_unix_s() <= now_unix_s {
                return Err(TlsError::Expired { path: config.cert_file.clone() });
            }
            self.tls.replace(&material)?;
            let first = self.in_force.replace(material.digest()).is_none();
            Ok(if first { Found::Same } else { Found::Replaced })
        });
        match put {
            Ok(found) => {
                if self.trouble.take().is_some() {
                    self.tls.settle();
                }
                found
            }
            Err(error) => self.trouble_with(error.to_string()),
        }
    }

    fn trouble_with(&mut self, problem: String) -> Found {
        match &mut self.trouble {
            Some((known, told)) if *known == problem => {
                if std::mem::replace(told, true) {
                    return Found::StillBad;
                }
                self.tls.complain(problem.clone());
                Found::Bad(problem)
            }
            trouble => {
                *trouble = Some((problem, false));
                Found::Unsure
            }
        }
    }
}

/// Keeps what is in force as the files have it, for ever. The settings may change which files they are; whether there is TLS at all is settled at the start.
pub async fn keep_current(tls: Tls, mut config: watch::Receiver<Arc<CoordinatorConfig>>) {
    let mut looker = Looker::new(tls);
    let mut looks = interval(Duration::from_millis(config.borrow().tls.reload_interval_ms.max(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            Ok(()) = config.changed() => {}
        }
        let current = config.borrow_and_update().tls.clone();
        if !current.is_on() {
            continue;
        }
        let for_reading = current.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || load(&for_reading)).await else { continue };
        match looker.look(read, &current, now_unix_s()) {
            Found::Replaced => {
                tracing::info!("the certificates have changed; new connections use the new ones");
            }
            Found::Bad(problem) => {
                tracing::error!(%problem, "the certificates have changed to something of no use; the old ones stay in force");
            }
            Found::Same | Found::Unsure | Found::StillBad => {}
        }
    }
}
