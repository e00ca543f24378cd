//! Real processes, real faults: what Evenkeel promises, tried on one machine.
//!
//! Each [`Fault`] starts a cluster of its own (a coordinator and agents as processes, a load on them), does its harm, says
//! what it has seen, and lets the judge of [`crate::history`] compare what clients, agents and the coordinator wrote down.
//! A fault passes when what was seen is within what it states *and* the judge finds no broken promise.
//!
//! Harm comes from outside the programs under test, so that it is the shipped binary that is tried: signals, a proxy in the
//! way of connections, a library that stands before the system's clock and disk calls, small and damaged file systems. Only
//! crashes at an exact line of the coordinator need a build with the feature `failpoints`; without it those faults are reported
//! as skipped, never as passed.

pub mod agent;
mod client;
mod cluster;
mod judge;
mod lab;
mod load;
mod process;
pub mod proxy;
mod raw_agent;
mod report;
mod rows;
pub mod shim;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;

pub use self::{
    lab::{FaultError, Lab},
    report::{FaultReport, Row, Status},
    rows::FAULTS,
};
use crate::history::Verdict;

/// What to try.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// The `evenkeel` program under test.
    pub program: PathBuf,
    /// Faults to try, by name, in the order of the table; none: all but those that have to be asked for.
    pub only: Vec<String>,
    /// What is drawn at random is drawn from it.
    pub seed: u64,
    /// How long the soak lasts.
    pub soak: Duration,
    /// Keep the directories of all clusters, and not only of those that failed.
    pub keep: bool,
}

/// One fault of the table.
pub struct Fault {
    /// Its name, in the way of a command line.
    pub name: &'static str,
    /// What is done.
    pub fault: &'static str,
    /// When it counts as survived.
    pub passes_when: &'static str,
    /// Tried only where it is named: it takes long.
    pub on_request: bool,
    /// Does it.
    pub run: for<'a> fn(&'a mut Lab) -> BoxFuture<'a, Result<Seen, FaultError>>,
}

/// What a fault has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// In words and figures.
    pub text: String,
    /// Whether it is within what the fault states.
    pub passed: bool,
    /// What the judge says of each cluster of the fault.
    pub verdicts: Vec<Verdict>,
}

impl Seen {
    /// So it went, which is as it should be, or is not.
    pub fn new(passed: bool, text: impl Into<String>) -> Self {
        Self { text: text.into(), passed, verdicts: Vec::new() }
    }

    /// With what the judge says.
    #[must_use]
    pub fn judged(mut self, verdict: Verdict) -> Self {
        self.verdicts.push(verdict);
        self
    }
}

/// Tries the faults one after the other. `told` hears of each before it starts and after it ended.
///
/// # Errors
/// A name that is no fault, or a program that cannot be run. A fault that does not pass is no error but a row that says so.
pub async fn run(plan: &FaultPlan, told: &dyn Told) -> Result<FaultReport, FaultError> {
    let chosen = choose(&plan.only)?;
    let failpoints = lab::has_failpoints(&plan.program).await?;
    let mut rows = Vec::new();
    for fault in chosen {
        told.begins(fault);
        let began = Instant::now();
        let mut lab = Lab::new(plan, fault.name, failpoints)?;
        let seen = (fault.run)(&mut lab).await;
        let row = Row::new(fault, seen, began.elapsed(), lab.directory());
        lab.close(plan.keep || row.status == Status::Failed).await;
        told.ended(&row);
        rows.push(row);
    }
    Ok(FaultReport::new(plan.seed, rows))
}

/// Hears how far the faults are.
pub trait Told: Send + Sync {
    /// This one begins.
    fn begins(&self, fault: &Fault);
    /// This one ended.
    fn ended(&self, row: &Row);
}

fn choose(only: &[String]) -> Result<Vec<&'static Fault>, FaultError> {
    for name in only {
        if !FAULTS.iter().any(|fault| fault.name == name) {
            return Err(FaultError::Unknown { name: name.clone() });
        }
    }
    let wanted =
        |fault: &&Fault| if only.is_empty() { !fault.on_request } else { only.iter().any(|name| name == fault.name) };
    Ok(FAULTS.iter().filter(wanted).collect())
}
