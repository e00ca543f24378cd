//! The limit of open files: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::LoadtestError;

/// Files beside the agents' connections: the client's, the runtime's, the coordinator's store and a margin.
const OTHER_FILES: u64 = 256;

/// Raises the soft limit so that `connections` fit. A coordinator started afterwards inherits it.
///
/// # Errors
/// The hard limit is too low.
pub(crate) fn allow_connections(connections: u32) -> Result<(), LoadtestError> {
    let needed = u64::from(connections) + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(LoadtestError::FileLimitUnknown)?;
    if needed > hard {
        return Err(LoadtestError::FileLimit { needed, allowed: hard });
    }
    if needed > soft {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(LoadtestError::FileLimitUnknown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_named() {
        let error = allow_connections(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("4294967551 open files are needed"), "{error}");
        assert!(error.contains("--agents-per-connection"), "{error}");
    }
}
