//! Who calls.

use std::sync::{Arc, LazyLock};

use evenkeel_shared::{Code, Error, Registration, Tenant};
use tonic::Extensions;

/// What somebody is allowed as. Roles add up; none contains another, except that an admin may all that a viewer may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Registers and works.
    Agent,
    /// Submits tasks, and sees those of its tenant.
    Client,
    /// Sees everything except payloads and outputs.
    Viewer,
    /// Sees and changes everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Client, Self::Viewer, Self::Admin];

    /// Its name in settings and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// How a caller showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all: authentication is off.
    None,
    /// By a token out of the credentials' file.
    Token,
    /// By a certificate.
    Certificate,
    /// By a JSON web token.
    Jwt,
}

impl Method {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::Jwt => "jwt",
        }
    }
}

/// What an agent may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentGrant {
    /// Ids that it may register under; one that ends with `*` stands for all that begin so. Empty: any.
    pub ids: Vec<String>,
    /// Most slots.
    pub slots_max: Option<u32>,
    /// Labels that it may carry: `key=value`, or `key` for any value. `None`: any.
    pub labels: Option<Vec<String>>,
}

impl AgentGrant {
    /// Whether this covers such a registration.
    ///
    /// # Errors
    /// PERMISSION_DENIED with what is beyond it.
    pub fn check(&self, registration: &Registration) -> Result<(), Error> {
        let denied = |what: String| Err(Error::new(Code::PermissionDenied, what));
        let spec = &registration.spec;
        let id = spec.id.as_str();
        if !self.ids.is_empty() && !self.ids.iter().any(|pattern| is_covered(pattern, id)) {
            return denied(format!("these credentials are not for an agent `{id}`"));
        }
        let slots = spec.capacity.slots;
        if let Some(max) = self.slots_max.filter(|max| slots > *max) {
            return denied(format!("these credentials are for {max} slots at most; the agent has {slots}"));
        }
        let Some(allowed) = &self.labels else { return Ok(()) };
        for (key, value) in spec.labels.iter() {
            let granted = |label: &String| match label.split_once('=') {
                Some((name, only)) => name == key && only == value,
                None => label == key,
            };
            if !allowed.iter().any(granted) {
                return denied(format!("these credentials are not for the label {key}={value}"));
            }
        }
        Ok(())
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let ids = match (self.ids.is_empty(), other.ids.is_empty()) {
            (true, _) => other.ids.clone(),
            (_, true) => self.ids.clone(),
            _ => both(&self.ids, &other.ids, is_covered),
        };
        let slots_max = [self.slots_max, other.slots_max].into_iter().flatten().min();
        let labels = match (&self.labels, &other.labels) {
            (None, one) | (one, None) => one.clone(),
            (Some(these), Some(those)) => Some(both(these, those, |allowed, label| {
                allowed == label || label.split_once('=').is_some_and(|(key, _)| key == allowed)
            })),
        };
        Self { ids, slots_max, labels }
    }
}

/// Whether a pattern (`web-1`, `web-*`) covers an id or a narrower pattern.
fn is_covered(pattern: &str, id: &str) -> bool {
    pattern == id || pattern.strip_suffix('*').is_some_and(|prefix| id.starts_with(prefix))
}

/// The entries of each list that the other covers. If nothing is left there has to be something that matches nothing, since an
/// empty list of ids stands for any.
fn both(these: &[String], those: &[String], covers: fn(&str, &str) -> bool) -> Vec<String> {
    let within = |inner: &[String], outer: &[String]| -> Vec<String> {
        inner.iter().filter(|one| outer.iter().any(|other| covers(other, one))).cloned().collect()
    };
    let mut left = within(these, those);
    left.extend(within(those, these));
    left.sort_unstable();
    left.dedup();
    if left.is_empty() { vec![String::new()] } else { left }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name in the audit log.
    pub name: String,
    /// The lasting name of its credential, not a secret. Empty: it has none.
    pub credential: String,
    /// How it showed who it is.
    pub method: Method,
    /// What it is allowed as, in order.
    pub roles: Vec<Role>,
    /// The one tenant whose tasks it submits and sees; `None`: all.
    pub tenant: Option<Tenant>,
    /// As an agent.
    pub agent: AgentGrant,
}

impl Caller {
    /// Anybody, where authentication is off: whoever reaches the port may do everything.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            name: "anonymous".to_owned(),
            credential: String::new(),
            method: Method::None,
            roles: Role::ALL.to_vec(),
            tenant: None,
            agent: AgentGrant::default(),
        }
    }

    /// Somebody who may do nothing: nobody has said who it is.
    #[must_use]
    pub fn nobody() -> Self {
        Self { roles: Vec::new(), ..Self::anybody() }
    }

    /// Whether it has one of these roles.
    #[must_use]
    pub fn is_one_of(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Whether it is shown payloads and outputs: a viewer alone is not.
    #[must_use]
    pub fn sees_contents(&self) -> bool {
        self.is_one_of(&[Role::Client, Role::Admin])
    }
}

/// Who calls, by the extensions of a request. A request that came past the layer has none, and then it is somebody who may do
/// nothing.
#[must_use]
pub fn caller(extensions: &Extensions) -> Arc<Caller> {
    static NOBODY: LazyLock<Arc<Caller>> = LazyLock::new(|| Arc::new(Caller::nobody()));
    extensions.get::<Arc<Caller>>().unwrap_or(&NOBODY).clone()
}

/// The certificate that a peer has shown, which was found to be of an accepted authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Arc<[u8]>);

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
