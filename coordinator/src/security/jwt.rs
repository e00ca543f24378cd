//! JSON web tokens: signed by an issuer outside, checked by its public keys.
//!
//! What attacks on such tokens live on is fixed here instead of being read from the token: the algorithm is a setting, and a
//! key is used only for the algorithm that it says it is for; `iss`, `aud`, `exp` and `nbf` have to be there and to fit; keys
//! come from a file, never from an address that a token names (RFC 8725, sections 3.1, 3.2, 3.8 to 3.10).
//!
//! Checking a signature takes some hundred microseconds, and a client shows the same token with every call, so those that were
//! good are remembered by their hash for as long as they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_shared::{AgentId, Tenant};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{JwkSet, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::{
    AgentGrant, Caller, Method, Role,
    gate::Refused,
    tokens::{TokenHash, check_roles, hash, hex},
};
use crate::config::JwtConfig;

/// Tokens that are remembered: those of as many clients.
const REMEMBERED_MAX: usize = 4_096;
/// Keys of an issuer: one in use, and some before and after it.
const KEYS_MAX: usize = 64;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// It is none.
    #[error("is no JSON web key set: line {line}, column {column}")]
    Json {
        /// Where, from 1. What stands there is not said: it may be a private key.
        line: usize,
        /// In the line, from 1.
        column: usize,
    },
    /// A key that makes no sense.
    #[error("key {place} cannot be used: {source}")]
    Key {
        /// Which, from 1.
        place: usize,
        /// Why.
        source: jsonwebtoken::errors::Error,
    },
    /// No key is for the algorithm.
    #[error("none of its keys is for {0}")]
    NoKey(String),
    /// Too many keys.
    #[error("has {0} keys; at most {KEYS_MAX} are allowed")]
    TooMany(usize),
    /// The algorithm is not one that is checked with public keys.
    #[error("`{0}` is no algorithm with public keys")]
    Algorithm(String),
}

/// A key of the issuer.
struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// Who a credential is of, and until when, in milliseconds since 1970; `None`: for ever.
pub(super) type Known = (Arc<Caller>, Option<i64>);
/// Tokens that were good, by their hashes: whose they are, from when and until when.
type Remembered = HashMap<TokenHash, (Arc<Caller>, i64, i64)>;

/// Checks web tokens.
pub struct WebTokens {
    config: JwtConfig,
    algorithm: Algorithm,
    validation: Validation,
    keys: Vec<Key>,
    remembered: Mutex<Remembered>,
}

impl std::fmt::Debug for WebTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebTokens").field("config", &self.config).field("keys", &self.keys.len()).finish()
    }
}

impl WebTokens {
    /// With the keys of this set.
    ///
    /// # Errors
    /// If it has no key for the algorithm, or one that makes no sense.
    pub fn new(config: &JwtConfig, keys: &str) -> Result<Self, JwtError> {
        let wrong = || JwtError::Algorithm(config.algorithm.clone());
        let algorithm: Algorithm = config.algorithm.parse().map_err(|_| wrong())?;
        if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(wrong());
        }
        let set: JwkSet = serde_json::from_str(keys)
            .map_err(|error| JwtError::Json { line: error.line(), column: error.column() })?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwtError::TooMany(set.keys.len()));
        }
        let mut usable = Vec::new();
        for (i, jwk) in set.keys.iter().enumerate() {
            let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
            let named = jwk.common.key_algorithm.map(|named| named.to_string());
            if !signs || named.is_some_and(|named| named != config.algorithm) {
                continue;
            }
            let key = DecodingKey::from_jwk(jwk).map_err(|source| JwtError::Key { place: i + 1, source })?;
            if key.family() == algorithm.family() {
                usable.push(Key { id: jwk.common.key_id.clone(), key });
            }
        }
        if usable.is_empty() {
            return Err(JwtError::NoKey(config.algorithm.clone()));
        }
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.leeway = config.leeway_ms.div_ceil(1_000);
        validation.validate_nbf = true;
        Ok(Self { config: config.clone(), algorithm, validation, keys: usable, remembered: Mutex::default() })
    }

    /// Who has this token, and until when.
    pub(super) fn caller(&self, token: &str, now_unix_ms: i64) -> Result<Known, Refused> {
        let hash = hash(token);
        if let Some((caller, from, end)) = self.remembered().get(&hash)
            && (*from..*end).contains(&now_unix_ms)
        {
            return Ok((Arc::clone(caller), Some(*end)));
        }
        let claims = self.claims(token)?;
        let leeway = i64::try_from(self.config.leeway_ms).unwrap_or(i64::MAX);
        let end = seconds(&claims, "exp")?.saturating_add(leeway);
        let from = seconds(&claims, "nbf")?.saturating_sub(leeway);
        let caller = Arc::new(self.read(&claims, &hash)?);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, _, end)| *end > now_unix_ms);
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(hash, (Arc::clone(&caller), from, end));
        Ok((caller, Some(end)))
    }

    /// What a token says, if it is good.
    fn claims(&self, token: &str) -> Result<Map<String, Value>, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        if header.alg != self.algorithm {
            return Err(Refused::Unknown);
        }
        // A token that names a key is checked with that one; one that names none, with each.
        let wanted = |key: &&Key| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (Some(_), None) | (None, _) => true,
        };
        let mut why = Refused::Unknown;
        for key in self.keys.iter().filter(wanted) {
            match decode::<Map<String, Value>>(token, &key.key, &self.validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => match error.kind() {
                    ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => why = Refused::Expired,
                    _ => {}
                },
            }
        }
        Err(why)
    }

    fn read(&self, claims: &Map<String, Value>, hash: &TokenHash) -> Result<Caller, Refused> {
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let name = text("sub").and_then(|sub| AgentId::new(sub).ok()).ok_or(Refused::Malformed)?;
        let roles = words(claims.get(&self.config.roles_claim));
        // Other programs' roles may stand beside ours.
        let mut roles: Vec<Role> = roles.iter().filter_map(|role| Role::named(role)).collect();
        roles.sort_unstable();
        roles.dedup();
        let tenant = match claims.get(&self.config.tenant_claim) {
            None | Some(Value::Null) => None,
            Some(tenant) => Some(tenant.as_str().and_then(|t| Tenant::new(t).ok()).ok_or(Refused::Malformed)?),
        };
        check_roles(&roles, tenant.as_ref()).map_err(|_| Refused::Malformed)?;
        let mut ids = words(claims.get(&self.config.agent_ids_claim));
        if ids.is_empty() {
            ids.push(name.as_str().to_owned());
        }
        let id = text("jti").map_or_else(|| format!("sha256-{}", hex(&hash[..16])), str::to_owned);
        Ok(Caller {
            name: name.as_str().to_owned(),
            credential: format!("jwt:{id}"),
            method: Method::Jwt,
            roles,
            tenant,
            agent: AgentGrant { ids, ..AgentGrant::default() },
        })
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time of a token, in milliseconds.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<i64, Refused> {
    let number = claims.get(claim).and_then(Value::as_f64).ok_or(Refused::Malformed)?;
    // As far as a time can be at all; a fraction of a millisecond is of no matter.
    Ok((number * 1e3).clamp(0.0, 1e16) as i64)
}

/// The words of a claim: a list of them, or one text with spaces.
fn words(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
