//! From what was seen in a lab to a verdict.

use std::time::Duration;

use super::{
    Seen,
    client::Clients,
    cluster::execution_logs,
    lab::{FaultError, Lab},
};
use crate::history::{Expect, History, Verdict, check, collect, read_executions};

/// Longest wait for accepted tasks to come to their end after the harm is over.
pub const SETTLE_MAX: Duration = Duration::from_secs(60);

/// A history with all three sides, and what was found in it.
pub struct Judged {
    /// What everybody saw.
    pub history: History,
    /// Promises broken.
    pub verdict: Verdict,
}

impl Judged {
    /// The row of a fault whose own criterion was met, or was not.
    pub fn seen(self, passed: bool, text: impl Into<String>) -> Seen {
        Seen { text: text.into(), passed, verdicts: vec![self.verdict] }
    }
}

/// Judges what clients have seen together with what agents executed and the coordinator has recorded. All that was accepted
/// has to be over.
///
/// # Errors
/// If the coordinator does not say what it has recorded.
pub async fn judge(lab: &Lab, clients: &Clients, history: History) -> Result<Judged, FaultError> {
    judge_clock(lab, clients, history, Duration::ZERO).await
}

/// The same where the coordinator's clock went back by so much between two of its lives.
///
/// # Errors
/// If the coordinator does not say what it has recorded.
pub async fn judge_clock(
    lab: &Lab,
    clients: &Clients,
    mut history: History,
    clock_tolerance: Duration,
) -> Result<Judged, FaultError> {
    for log in execution_logs(lab)? {
        read_executions(&log, &mut history).map_err(|error| FaultError::Other(error.to_string()))?;
    }
    collect(clients.channel().into(), &mut history).await?;
    let verdict = check(&history, Expect { all_over: true, clock_tolerance, ..Expect::default() });
    Ok(Judged { history, verdict })
}
