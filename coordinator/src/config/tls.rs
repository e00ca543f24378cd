//! TLS of the gRPC and HTTP ports.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Certificates and keys of the ports, and of whom client certificates are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {}

impl TlsConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
