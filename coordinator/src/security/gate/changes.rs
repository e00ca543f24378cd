//! What is accepted changes: by files, by settings, by revocation, and with time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    super::{
        Method,
        files::{self, Files, FilesError},
        live::Live,
        revoked::{Revocation, RevokedError, RevokedFile},
        tokens::KnownToken,
    },
    Gate, Policy, now_unix_ms,
};
use crate::config::{AuthConfig, Problem, live::LiveConfig};

impl Gate {
    /// Reads the files again and puts what they say in force, as a whole or not at all. Ends what is under way in the name of
    /// credentials that are no longer there, or no longer the same. Returns whether anything has changed.
    ///
    /// # Errors
    /// If a file cannot be read; what was in force stays so.
    pub fn reload(&self, config: Option<&AuthConfig>) -> Result<bool, FilesError> {
        let before = self.0.policy.load_full();
        let config = config.unwrap_or(&before.config);
        let files = Files::read(config)?;
        if *config == before.config && files.is_same(&before.files) {
            return Ok(false);
        }
        let revoked = refused_ids(&files, &self.0.revoked);
        let other_keys = config.jwt != before.config.jwt || !files.has_same_keys(&before.files);
        self.0.policy.store(Arc::new(Policy { config: config.clone(), files, revoked }));
        if config.is_on() && !before.config.is_on() {
            self.end_anonymous();
        }
        if other_keys {
            // Which key a web token was signed with is not kept; those that are still good come back.
            self.end(|live| live.caller.method == Method::Jwt);
        }
        self.end_what_is_over();
        Ok(true)
    }

    /// Refuses a credential from now on, for ever, and ends what is under way in its name. Returns how many calls that is.
    ///
    /// # Errors
    /// If it cannot be kept; then it is still accepted.
    pub fn revoke(&self, revocation: Revocation) -> Result<usize, RevokedError> {
        let id = revocation.id.clone();
        self.0.revoked.add(revocation)?;
        self.0.policy.rcu(|policy| {
            let mut revoked = policy.revoked.clone();
            revoked.insert(id.clone());
            Policy { config: policy.config.clone(), files: policy.files.clone(), revoked }
        });
        Ok(self.0.lives.remove(&id).map_or(0, |(_, live)| live.end()))
    }

    /// Ends what is under way in the name of credentials that are not accepted any more. Asked for once a second or so.
    pub fn end_what_is_over(&self) {
        let (policy, now) = (self.0.policy.load_full(), now_unix_ms());
        let credentials = policy.files.credentials();
        self.end(|live| {
            let caller = &live.caller;
            let is_same = match caller.method {
                Method::None | Method::Jwt => true,
                Method::Token => {
                    // The file may name another end by now than when the token was shown.
                    let is_over = |token: &KnownToken| token.expires_unix_ms.is_some_and(|end| end <= now);
                    let known = credentials.by_id(&caller.credential);
                    known.is_some_and(|token| !token.revoked && token.caller == *caller && !is_over(token))
                }
                Method::Certificate => {
                    policy.config.certificates && caller.agent == files::certificate_grant(credentials, caller)
                }
            };
            !is_same || !policy.config.is_on() || policy.revoked.contains(&caller.credential) || live.is_expired(now)
        });
    }

    /// Ends what is under way in nobody's name. What begins from now on is judged by the policy in force.
    fn end_anonymous(&self) {
        let next = Arc::new(Live::new(Arc::clone(&self.0.anybody), None));
        let streams = self.0.anonymous.swap(next).end();
        tracing::info!(streams, "authentication is on; what was under way without it ends");
    }

    /// Ends what is under way in the name of some credentials.
    fn end(&self, is_over: impl Fn(&Live) -> bool) {
        let over: Vec<String> =
            self.0.lives.iter().filter(|live| is_over(live)).map(|live| live.key().clone()).collect();
        for id in over {
            if let Some((_, live)) = self.0.lives.remove_if(&id, |_, live| is_over(live)) {
                let streams = live.end();
                tracing::info!(credential = %id, streams, "a credential is over; what was under way in its name ends");
            }
        }
    }

    /// Takes changes of the settings over; those whose files cannot be used are refused.
    pub fn follow(&self, live: &LiveConfig) {
        live.check_with(Box::new(|config| {
            let read = Files::read(&config.auth);
            read.map(drop).map_err(|error| Problem::new("auth.credentials_file", error.to_string(), None))
        }));
        let gate = self.clone();
        live.tell(Box::new(move |config| {
            if let Err(error) = gate.reload(Some(&config.auth)) {
                tracing::error!(%error, "the settings of credentials cannot be used; those before stay in force");
            }
        }));
    }

    /// Looks at the files and at what is over, for ever.
    pub async fn keep_watch(self) {
        let mut failed = String::new();
        loop {
            let interval = self.0.policy.load().config.reload_interval_ms;
            tokio::time::sleep(Duration::from_millis(interval)).await;
            self.end_what_is_over();
            let gate = self.clone();
            // Files are read off the async threads: a volume of the network may be slow.
            match tokio::task::spawn_blocking(move || gate.reload(None)).await {
                Ok(Ok(true)) => tracing::info!("the credentials have changed and are in force"),
                Ok(Ok(false)) => failed.clear(),
                Ok(Err(error)) if error.to_string() != failed => {
                    failed = error.to_string();
                    tracing::error!(%error, "the credentials have changed and cannot be used; those before stay in force");
                }
                Ok(Err(_)) => {}
                Err(_) => return,
            }
        }
    }
}

/// Ids that are refused by a file or by call.
pub(super) fn refused_ids(files: &Files, revoked: &RevokedFile) -> HashSet<String> {
    let by_file = files.credentials().revoked.iter().cloned();
    by_file.chain(revoked.all().into_iter().map(|one| one.id)).collect()
}
