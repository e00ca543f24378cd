//! The client of a measure: keeps so many tasks in flight, times them, and checks that each got exactly one result.
//!
//! It is no verifier like the client of `loadtest run`: what it does for a task is a time stamp, a bit and a count in a
//! histogram, because it shares the machine with what is measured. It works in three stretches: a warm-up, the tasks that count,
//! and a few more so that the load does not fall off while the last ones that count are under way. Where one stretch
//! ends it says so at once ([`Told`]), for whoever watches the processes meanwhile.

mod closed;
mod marks;
mod nats;
mod open;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};

use super::BenchError;

pub(super) use self::{closed::Closed, open::Open};

/// Windows of HTTP/2, as wide as the server's.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// What a client says, one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// What counts begins now.
    Began,
    /// It is over, and this was measured.
    Measured(Measured),
    /// Every task got exactly one result.
    Verified {
        /// How many.
        tasks: u64,
    },
    /// It was not so, or the measure came to nothing.
    Failed {
        /// Why.
        why: String,
        /// Whether a promise was broken, and not only the measure.
        broken: bool,
    },
}

/// What a client measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Tasks that ended.
    pub tasks: u64,
    /// In this time.
    pub seconds: f64,
    /// From submission to result.
    pub p50_us: f64,
    /// The same.
    pub p99_us: f64,
    /// Tasks that were refused, where more were submitted than could be done.
    pub refused: u64,
    /// Urgent tasks that ended meanwhile.
    pub urgent: u64,
    /// From when they were due to their result.
    pub urgent_p50_us: f64,
    /// The same.
    pub urgent_p99_us: f64,
    /// Urgent tasks that were not taken.
    pub urgent_refused: u64,
}

/// Why a client came to no result.
#[derive(Debug)]
pub(super) struct Trouble {
    why: String,
    broken: bool,
}

impl Trouble {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), broken: false }
    }

    fn broken(why: impl Into<String>) -> Self {
        Self { why: why.into(), broken: true }
    }
}

impl From<Trouble> for Told {
    fn from(Trouble { why, broken }: Trouble) -> Self {
        Self::Failed { why, broken }
    }
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        Self::new(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// A connection of its own.
///
/// # Errors
/// If there is none.
pub(super) async fn connect(url: &str) -> Result<Channel, BenchError> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(BenchError::dial(url))?;
    let endpoint = endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    endpoint.connect().await.map_err(BenchError::dial(url))
}

/// From 1 ns to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    // The bounds are constants that the histogram takes.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!())
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}
