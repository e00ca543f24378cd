//! Static tokens: the credentials' file, and what a token looks like.
//!
//! A token is 256 random bits, so nobody finds one by trying, and its hash need not be slow: slow hashes (argon2, bcrypt) make
//! up for what people choose as passwords, and here would only make every call slow. The file holds SHA-256 of each token, so
//! who reads the file can use none of them. What was shown is looked up by the first bytes of its hash and then compared in
//! constant time; an attacker who learnt even those bytes by timing would have learnt a part of a hash, which is of no use
//! without a token that has it.
//!
//! Two tokens of one name are one client: a new one is added before the old one goes, and both are accepted meanwhile.

use std::{collections::HashMap, fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use evenkeel_shared::{AgentId, Tenant, shown::without_value};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{AgentGrant, Caller, Method, Role};

/// Every token begins so, which lets scanners of repositories find those that were committed by mistake.
pub const TOKEN_PREFIX: &str = "ek_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Credentials in one file.
const CREDENTIALS_MAX: usize = 100_000;
/// Characters of a credential's id.
const ID_CHARS_MAX: usize = 128;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// A new token, to be shown once, and its hash.
///
/// # Errors
/// If the system has no randomness.
pub fn new_token() -> Result<(String, TokenHash), getrandom::Error> {
    let mut secret = [0; TOKEN_BYTES];
    getrandom::fill(&mut secret)?;
    let token = format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let hash = hash(&token);
    Ok((token, hash))
}

/// The hash of a token.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads 32 bytes in hexadecimal digits.
#[must_use]
pub fn from_hex(text: &str) -> Option<TokenHash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(&pair[0])? << 4 | digit(&pair[1])?;
    }
    Some(bytes)
}

/// What is wrong with a credentials' file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It is not TOML, or has fields that are not known.
    #[error("line {line}: {problem}")]
    Toml {
        /// Where, from 1.
        line: usize,
        /// What is wrong, without what stands there: that may be a secret.
        problem: String,
    },
    /// A credential that cannot be.
    #[error("credential `{id}`: {problem}")]
    Credential {
        /// Which.
        id: String,
        /// Why.
        problem: String,
    },
    /// Too many.
    #[error("there are {0} credentials; at most {CREDENTIALS_MAX} are allowed")]
    TooMany(usize),
}

impl CredentialsError {
    fn toml(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        // The first line of several, as an error of many lines begins with what is wrong.
        let problem = without_value(error.message().lines().next().unwrap_or_default());
        Self::Toml { line: before.matches('\n').count() + 1, problem }
    }
}

/// The file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsFile {
    /// Ids of credentials of any kind that are refused: `jwt:ID`, `certificate:HASH`, or the id of a token.
    pub revoked: Vec<String>,
    /// Tokens.
    pub credential: Vec<Entry>,
    /// What agents with a certificate are held to, by their names.
    pub certificate: Vec<CertificateEntry>,
}

/// One token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its lasting name, not a secret.
    pub id: toml::Spanned<String>,
    /// Who shows it.
    pub name: String,
    /// As what: agent, client, viewer, admin.
    pub roles: Vec<String>,
    /// The one tenant.
    #[serde(default)]
    pub tenant: Option<String>,
    /// SHA-256 of the token, in hexadecimal digits.
    pub sha256: String,
    /// When it ends.
    #[serde(default)]
    pub expires: Option<toml::value::Datetime>,
    /// It is refused.
    #[serde(default)]
    pub revoked: bool,
    /// As an agent.
    #[serde(default)]
    pub agent: Option<AgentEntry>,
}

/// What an agent may be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentEntry {
    /// Ids that it may register under; one that ends with `*` stands for all that begin so. Not there: its name alone.
    pub ids: Vec<String>,
    /// Most slots.
    pub slots_max: Option<u32>,
    /// Labels that it may carry.
    pub labels: Option<Vec<String>>,
}

/// What agents with a certificate are held to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateEntry {
    /// The name in the certificate, or `prefix*`.
    pub name: String,
    /// Most slots.
    #[serde(default)]
    pub slots_max: Option<u32>,
    /// Labels that they may carry.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
}

/// A token that is known.
#[derive(Debug)]
pub struct KnownToken {
    /// Who shows it.
    pub caller: Arc<Caller>,
    /// Its hash.
    pub hash: TokenHash,
    /// When it ends, in milliseconds since 1970; `None`: never.
    pub expires_unix_ms: Option<i64>,
    /// The file says that it is refused.
    pub revoked: bool,
}

/// What a credentials' file says.
#[derive(Debug, Default)]
pub struct Credentials {
    tokens: Vec<KnownToken>,
    /// Places in the list, by the first bytes of the hash.
    by_hash: HashMap<[u8; 8], Vec<usize>>,
    /// The same, by their ids.
    by_id: HashMap<String, usize>,
    /// Ids that are refused.
    pub revoked: Vec<String>,
    certificates: Vec<(String, AgentGrant)>,
}

impl Credentials {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it, and with which credential.
    pub fn read(text: &str) -> Result<Self, CredentialsError> {
        let file: CredentialsFile = toml::from_str(text).map_err(|error| CredentialsError::toml(text, &error))?;
        if file.credential.len() > CREDENTIALS_MAX {
            return Err(CredentialsError::TooMany(file.credential.len()));
        }
        let mut read = Self { revoked: file.revoked, ..Self::default() };
        for entry in &file.credential {
            let id = entry.id.get_ref().clone();
            let wrong = |problem: String| CredentialsError::Credential { id: id.clone(), problem };
            let token = known(entry).map_err(wrong)?;
            if read.by_id.insert(id.clone(), read.tokens.len()).is_some() {
                return Err(wrong("there are two of this id".into()));
            }
            let same = read.places(&token.hash).iter().any(|place| read.tokens[*place].hash == token.hash);
            if same {
                return Err(wrong("another credential has the same token".into()));
            }
            read.by_hash.entry(first_bytes(&token.hash)).or_default().push(read.tokens.len());
            read.tokens.push(token);
        }
        for entry in file.certificate {
            let grant = AgentGrant { ids: Vec::new(), slots_max: entry.slots_max, labels: entry.labels };
            read.certificates.push((entry.name, grant));
        }
        Ok(read)
    }

    /// The token that was shown, if it is known.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<&KnownToken> {
        let hash = hash(token);
        let found = self.places(&hash).iter().filter_map(|place| self.tokens.get(*place));
        found.into_iter().find(|known| bool::from(known.hash.ct_eq(&hash)))
    }

    /// The token of this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&KnownToken> {
        self.tokens.get(*self.by_id.get(id)?)
    }

    /// All tokens, in the order of the file.
    #[must_use]
    pub fn tokens(&self) -> &[KnownToken] {
        &self.tokens
    }

    /// What an agent with a certificate of this name is held to beside its name.
    #[must_use]
    pub fn certificate_grant(&self, name: &str) -> AgentGrant {
        let covers =
            |pattern: &str| pattern == name || pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix));
        let found = self.certificates.iter().filter(|(pattern, _)| covers(pattern));
        found.fold(AgentGrant::default(), |all, (_, grant)| all.and(grant))
    }

    fn places(&self, hash: &TokenHash) -> &[usize] {
        self.by_hash.get(&first_bytes(hash)).map_or(&[], Vec::as_slice)
    }
}

fn first_bytes(hash: &TokenHash) -> [u8; 8] {
    std::array::from_fn(|i| hash[i])
}

fn known(entry: &Entry) -> Result<KnownToken, String> {
    let id = entry.id.get_ref();
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/@".contains(c);
    if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(fits) {
        return Err(format!("an id has 1 to {ID_CHARS_MAX} letters, digits or ._-/@"));
    }
    AgentId::new(&entry.name).map_err(|error| format!("name {}", error.description))?;
    let mut roles = Vec::with_capacity(entry.roles.len());
    for name in &entry.roles {
        let role = Role::named(name);
        roles.push(role.ok_or_else(|| format!("`{name}` is no role; use agent, client, viewer or admin"))?);
    }
    roles.sort_unstable();
    roles.dedup();
    let tenant = entry.tenant.as_deref().map(Tenant::new).transpose();
    let tenant = tenant.map_err(|error| format!("tenant {}", error.description))?;
    check_roles(&roles, tenant.as_ref())?;
    let hash = from_hex(&entry.sha256).ok_or("sha256 is not 64 hexadecimal digits")?;
    let expires_unix_ms = entry.expires.as_ref().map(|time| {
        let text = time.to_string();
        let time = humantime::parse_rfc3339_weak(&text).ok();
        let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .ok_or_else(|| format!("expires = {text} is not a time in UTC such as 2027-01-31T12:00:00Z"))
    });
    let agent = match &entry.agent {
        Some(_) if !roles.contains(&Role::Agent) => return Err("has `agent`, but not the role".into()),
        Some(agent) => AgentGrant {
            ids: if agent.ids.is_empty() { vec![entry.name.clone()] } else { agent.ids.clone() },
            slots_max: agent.slots_max,
            labels: agent.labels.clone(),
        },
        None => AgentGrant { ids: vec![entry.name.clone()], ..AgentGrant::default() },
    };
    let caller =
        Caller { name: entry.name.clone(), credential: id.clone(), method: Method::Token, roles, tenant, agent };
    let expires_unix_ms = expires_unix_ms.transpose()?;
    Ok(KnownToken { caller: Arc::new(caller), hash, expires_unix_ms, revoked: entry.revoked })
}

/// Whether these roles make sense together, with a tenant or without.
///
/// # Errors
/// Why they do not.
pub fn check_roles(roles: &[Role], tenant: Option<&Tenant>) -> Result<(), String> {
    if roles.is_empty() {
        return Err("has no roles".into());
    }
    if tenant.is_some() && roles.contains(&Role::Admin) {
        return Err("an admin sees all tenants; leave the tenant out, or the role".into());
    }
    Ok(())
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
