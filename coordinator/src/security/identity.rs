//! Who calls.

use std::sync::Arc;

use evenkeel_shared::Tenant;
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
}

/// Who calls, by the extensions of a request: nobody with any rights if no layer has put a caller there.
#[must_use]
pub fn caller(extensions: &Extensions) -> Arc<Caller> {
    extensions.get::<Arc<Caller>>().cloned().unwrap_or_else(|| Arc::new(Caller::anybody()))
}

/// The certificate that a peer has shown, which was found to be of an accepted authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Arc<[u8]>);
