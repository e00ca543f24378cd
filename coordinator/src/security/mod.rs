//! Who calls, what they may do, and what is kept of what they did.
//!
//! Everything that reaches a service has a [`Caller`] in the extensions of its request, put there by one layer around all
//! services, those behind REST included. One [table](access) says which call is for whom; a call that is not in it is
//! refused.

pub mod access;
pub mod audit;
pub mod files;
pub mod gate;
mod identity;
mod jwt;
pub mod layer;
pub mod live;
pub mod names;
mod rate;
pub mod revoked;
mod seldom;
pub mod tls;
pub mod tokens;

pub use gate::Gate;
pub use identity::{AgentGrant, Caller, Method, PeerCertificate, Role, caller};
pub use layer::Secured;

use tonic::Extensions;

use crate::connections::Peer;

/// The address of whoever makes a request; empty: not known.
fn address(extensions: &Extensions) -> String {
    extensions.get::<Peer>().map(|peer| peer.address().to_string()).unwrap_or_default()
}
