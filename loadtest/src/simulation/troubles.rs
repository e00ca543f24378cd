//! When somebody had a reason to be taken for dead.
//!
//! The record of troubles serves one rule: an attempt may be lost only with its agent, and an agent only to a fault. A
//! coordinator that gives up agents at leisure would keep all promises and waste the fleet.

use std::time::Duration;

use evenkeel_shared::Timestamp;

/// After a fault its consequences may show for so long: the longest grace, two lease periods and the keepalives.
const AFTERMATH: Duration = Duration::from_secs(90);

/// Times of trouble, of each agent and of all.
#[derive(Debug)]
pub(super) struct Troubles {
    of: Vec<Vec<(Timestamp, Timestamp)>>,
    of_all: Vec<(Timestamp, Timestamp)>,
}

impl Troubles {
    pub fn new(agents: usize) -> Self {
        Self { of: vec![Vec::new(); agents], of_all: Vec::new() }
    }

    /// This agent is in trouble for that time.
    pub fn agent(&mut self, agent: usize, from: Timestamp, to: Timestamp) {
        self.of[agent].push((from, to));
    }

    /// Every agent is.
    pub fn all(&mut self, from: Timestamp, to: Timestamp) {
        self.of_all.push((from, to));
    }

    /// Whether there is a reason why this agent was lost at that time.
    pub fn explain(&self, agent: usize, at: Timestamp) -> bool {
        let explains = |&(from, to): &(Timestamp, Timestamp)| from <= at && at <= to.plus(AFTERMATH);
        self.of_all.iter().any(explains) || self.of[agent].iter().any(explains)
    }
}
