//! Who may do what: credentials, and how much one of them may ask.

use std::path::{Path, PathBuf};

use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

use super::{ConfigError, at_least, at_most};

/// Rates and numbers beyond this are mistakes: nobody makes so many calls.
const RATE_MAX: u32 = 100_000_000;

/// Algorithms that a JSON web token may be signed with. Those with a shared secret are left out on purpose: whoever can check
/// such a token can make one.
pub const JWT_ALGORITHMS: [&str; 9] = ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];

/// Who is known, and what each may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether callers have to show who they are. Off, whoever reaches a port may do everything. Default false.
    pub enabled: bool,
    /// The file of tokens and revocations, in TOML; empty: no tokens. Read again when it changes. Default empty.
    pub credentials_file: PathBuf,
    /// Whether a client certificate says who calls, by its name `evenkeel://ROLE/NAME`. Default true.
    pub certificates: bool,
    /// JSON web tokens; not accepted unless `jwt.jwks_file` is set.
    pub jwt: JwtConfig,
    /// Whether `/metrics` needs no credentials. Default false.
    pub metrics_open: bool,
    /// Calls a second of one client, by its name; agents' sessions do not count. 0 to 100000000; 0: as many as it likes.
    /// Default 0.
    pub client_calls_per_s: u32,
    /// Calls that a client that was quiet may make at once. 1 to 100000000. Default 1000.
    pub client_calls_burst: u32,
    /// Calls of one client that are under way at a time, its streams included. 1 to 100000000. Default 4096.
    pub client_calls_open_max: u32,
    /// Tasks submitted a second by one client. 0 to 100000000; 0: as many as it likes. Default 0.
    pub client_tasks_per_s: u32,
    /// Tasks that a client that was quiet may submit at once. 1 to 100000000. Default 10000.
    pub client_tasks_burst: u32,
    /// Between two looks at the files above, in milliseconds. 100 to 5000, since a revocation has to be in force within ten
    /// seconds. Default 1000.
    pub reload_interval_ms: u64,
}

/// JSON web tokens (RFC 7519): who signs them, for whom, and what in them says what their holder may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// The public keys of the issuer, as a JSON web key set (RFC 7517); empty: no such tokens. Read again when it changes.
    /// Default empty.
    pub jwks_file: PathBuf,
    /// The one algorithm that tokens are signed with: ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512 or EdDSA.
    /// Default ES256.
    pub algorithm: String,
    /// What `iss` has to be. Default empty, which is not allowed with a key set.
    pub issuer: String,
    /// What `aud` has to be, or have in it. Default empty, which is not allowed with a key set.
    pub audience: String,
    /// The claim with the roles: a list, or words with spaces between them. Default `roles`.
    pub roles_claim: String,
    /// The claim with the one tenant. Default `tenant`.
    pub tenant_claim: String,
    /// The claim with the ids that an agent may register under; without it an agent registers under `sub`. Default
    /// `agent_ids`.
    pub agent_ids_claim: String,
    /// How far clocks may be apart, in milliseconds. 0 to 300000. Default 30000.
    pub leeway_ms: u64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            credentials_file: PathBuf::new(),
            certificates: true,
            jwt: JwtConfig::default(),
            metrics_open: false,
            client_calls_per_s: 0,
            client_calls_burst: 1_000,
            client_calls_open_max: 4_096,
            client_tasks_per_s: 0,
            client_tasks_burst: 10_000,
            reload_interval_ms: 1_000,
        }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            jwks_file: PathBuf::new(),
            algorithm: "ES256".to_owned(),
            issuer: String::new(),
            audience: String::new(),
            roles_claim: "roles".to_owned(),
            tenant_claim: "tenant".to_owned(),
            agent_ids_claim: "agent_ids".to_owned(),
            leeway_ms: 30_000,
        }
    }
}

impl AuthConfig {
    /// Whether callers have to show who they are.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.enabled
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let given = |path: &Path| !path.as_os_str().is_empty();
        let sources = [
            ("auth.credentials_file", given(&self.credentials_file)),
            ("auth.jwt.jwks_file", given(&self.jwt.jwks_file)),
        ];
        // Somebody who names a file of credentials takes them for needed.
        if let Some((field, _)) = sources.iter().find(|(_, given)| *given && !self.enabled) {
            return Err(Violation::new(*field, "is set, but `auth.enabled` is not: nobody would be asked").into());
        }
        if self.enabled && !self.certificates && sources.iter().all(|(_, given)| !given) {
            let what = "is true, but there is nothing to show who one is with: set `auth.credentials_file`, \
                        `auth.certificates` or `auth.jwt.jwks_file`";
            return Err(Violation::new("auth.enabled", what).into());
        }
        for (field, value, min) in [
            ("auth.client_calls_per_s", self.client_calls_per_s, 0),
            ("auth.client_calls_burst", self.client_calls_burst, 1),
            ("auth.client_calls_open_max", self.client_calls_open_max, 1),
            ("auth.client_tasks_per_s", self.client_tasks_per_s, 0),
            ("auth.client_tasks_burst", self.client_tasks_burst, 1),
        ] {
            at_least(field, value.into(), min)?;
            at_most(field, value.into(), RATE_MAX.into())?;
        }
        at_least("auth.reload_interval_ms", self.reload_interval_ms, 100)?;
        at_most("auth.reload_interval_ms", self.reload_interval_ms, 5_000)?;
        if given(&self.jwt.jwks_file) { self.jwt.validate() } else { Ok(()) }
    }
}

impl JwtConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("auth.jwt.issuer", &self.issuer),
            ("auth.jwt.audience", &self.audience),
            ("auth.jwt.roles_claim", &self.roles_claim),
        ] {
            if value.is_empty() {
                return Err(Violation::new(field, "is empty; it has to be set with `auth.jwt.jwks_file`").into());
            }
        }
        if !JWT_ALGORITHMS.contains(&self.algorithm.as_str()) {
            let what = format!("is `{}`; use one of {}", self.algorithm, JWT_ALGORITHMS.join(", "));
            return Err(Violation::new("auth.jwt.algorithm", what).into());
        }
        Ok(at_most("auth.jwt.leeway_ms", self.leeway_ms, 300_000)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &AuthConfig, field: &str) {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }

    #[test]
    fn credentials_that_nobody_asks_for_are_a_mistake() {
        let config = AuthConfig { credentials_file: "credentials.toml".into(), ..AuthConfig::default() };
        refused(&config, "auth.credentials_file");
        assert_eq!(AuthConfig { enabled: true, ..config }.validate(), Ok(()));
        refused(&AuthConfig { enabled: true, certificates: false, ..AuthConfig::default() }, "auth.enabled");
    }

    #[test]
    fn web_tokens_need_an_issuer_an_audience_and_a_public_key() {
        let jwt = JwtConfig { jwks_file: "keys.json".into(), ..JwtConfig::default() };
        let with = |jwt: &JwtConfig| AuthConfig { enabled: true, jwt: jwt.clone(), ..AuthConfig::default() };
        refused(&with(&jwt), "auth.jwt.issuer");
        let jwt = JwtConfig { issuer: "https://id.example".into(), ..jwt };
        refused(&with(&jwt), "auth.jwt.audience");
        let jwt = JwtConfig { audience: "evenkeel".into(), ..jwt };
        assert_eq!(with(&jwt).validate(), Ok(()));
        for algorithm in ["none", "HS256", "es256", ""] {
            refused(&with(&JwtConfig { algorithm: algorithm.into(), ..jwt.clone() }), "auth.jwt.algorithm");
        }
    }
}
