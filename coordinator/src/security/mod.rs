//! Who calls, what they may do, and what is kept of what they did.
//!
//! Everything that reaches a service has a [`Caller`] in the extensions of its request, put there by one layer around all
//! services, those behind REST included. One [table](access) says which call is for whom; a call that is not in it is
//! refused.

pub mod access;
mod identity;
pub mod names;

pub use identity::{AgentGrant, Caller, Method, PeerCertificate, Role, caller};
