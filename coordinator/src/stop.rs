//! What a stop did: its stages, what each took, and what was left over.
//!
//! A stop has one deadline (`shutdown_deadline_ms`), and its stages have shares of it. A stage may use what earlier ones have left,
//! but not what is kept for later ones: agents that do not drain must not cost the store its clean end.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A stage, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Readiness is off, health says not serving; all is taken as before.
    Announce,
    /// What the coordinator has started is stopped: its agents hand back what they cannot finish.
    Actuator,
    /// New work is refused; what was accepted goes to the store, its answers go out, the store is closed.
    Store,
    /// Agents and clients are told to go elsewhere (UNAVAILABLE with a retry hint, GOAWAY), and the servers end.
    Streams,
    /// The audit log gets its last entry, and is closed: nobody can change anything any more.
    Audit,
    /// Actors and their threads end.
    Threads,
    /// The last spans go to the collector.
    Telemetry,
}

impl Stage {
    /// All of them, with the per cent of the deadline that is kept for each.
    const KEPT_PERCENT: [(Self, u32); 7] = [
        (Self::Announce, 0),
        (Self::Actuator, 0),
        (Self::Store, 40),
        (Self::Streams, 10),
        (Self::Audit, 5),
        (Self::Threads, 5),
        (Self::Telemetry, 10),
    ];

    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Actuator => "actuator",
            Self::Store => "store",
            Self::Streams => "streams",
            Self::Audit => "audit",
            Self::Threads => "threads",
            Self::Telemetry => "telemetry",
        }
    }

    /// How long this stage may take, if so much of the whole is left: all but what is kept for those that follow.
    #[must_use]
    pub fn may_take(self, whole: Duration, left: Duration) -> Duration {
        let kept: u32 = Self::KEPT_PERCENT.iter().filter(|(stage, _)| *stage > self).map(|(_, percent)| percent).sum();
        left.saturating_sub(whole * kept / 100)
    }
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was done.
    Done,
    /// Its time was up; the rest was cut off.
    Late,
    /// It went wrong.
    Failed(String),
}

/// A stage that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// Which.
    pub stage: Stage,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub ended: Ended,
    /// What it did, or what was left over, in words; may be empty.
    pub note: String,
}

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// In their order.
    pub stages: Vec<StageReport>,
}

impl StopReport {
    /// Whether all was done in time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.stages.iter().all(|stage| stage.ended == Ended::Done)
    }

    /// All of it.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.stages.iter().map(|stage| stage.took).sum()
    }
}

impl fmt::Display for StopReport {
    /// `stopped in 31 ms: announce 0, actuator 0, store 12 (2 requests answered), streams 15 (3 sessions), ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped in {} ms", self.took().as_millis())?;
        for (i, StageReport { stage, took, ended, note }) in self.stages.iter().enumerate() {
            write!(f, "{} {} {}", if i == 0 { ":" } else { "," }, stage.name(), took.as_millis())?;
            let ended = match ended {
                Ended::Done => String::new(),
                Ended::Late => "CUT OFF".to_owned(),
                Ended::Failed(why) => format!("FAILED: {why}"),
            };
            match (ended.is_empty(), note.is_empty()) {
                (true, true) => {}
                (false, false) => write!(f, " ({ended}; {note})")?,
                _ => write!(f, " ({ended}{note})")?,
            }
        }
        Ok(())
    }
}

/// Keeps the time of a stop.
#[derive(Debug)]
pub struct Stopping {
    began: Instant,
    whole: Duration,
    report: StopReport,
}

impl Stopping {
    /// A stop begins that may take so long.
    #[must_use]
    pub fn begin(whole: Duration) -> Self {
        Self { began: Instant::now(), whole, report: StopReport { stages: Vec::new() } }
    }

    /// Carries a stage out, within its time. It gives what it did and how it ended; if its time is up, `left` says what it was
    /// about to do still.
    pub async fn stage(
        &mut self,
        stage: Stage,
        work: impl Future<Output = (Ended, String)>,
        left: impl FnOnce() -> String,
    ) {
        let began = Instant::now();
        let may_take = stage.may_take(self.whole, self.whole.saturating_sub(self.began.elapsed()));
        let (ended, note) = tokio::time::timeout(may_take, work).await.unwrap_or_else(|_| (Ended::Late, left()));
        let report = StageReport { stage, took: began.elapsed(), ended, note };
        tracing::info!(stage = stage.name(), took = ?report.took, ended = ?report.ended, note = report.note, "stopping");
        self.report.stages.push(report);
    }

    /// The stop is over.
    #[must_use]
    pub fn end(self) -> StopReport {
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stage(stage: Stage, ms: u64, ended: Ended, note: &str) -> StageReport {
        StageReport { stage, took: Duration::from_millis(ms), ended, note: note.to_owned() }
    }

    #[test]
    fn a_stage_may_use_what_is_left_but_not_what_is_kept_for_others() {
        let whole = 100 * SECOND;
        assert_eq!(Stage::Announce.may_take(whole, whole), 30 * SECOND);
        assert_eq!(Stage::Store.may_take(whole, 70 * SECOND), 40 * SECOND);
        assert_eq!(Stage::Store.may_take(whole, whole), 70 * SECOND, "earlier ones have left it time");
        assert_eq!(Stage::Telemetry.may_take(whole, 3 * SECOND), 3 * SECOND);
        assert_eq!(Stage::Streams.may_take(whole, 2 * SECOND), Duration::ZERO, "it is late already");
    }

    #[test]
    fn stages_come_in_the_order_of_their_table() {
        assert!(Stage::KEPT_PERCENT.is_sorted_by_key(|(stage, _)| *stage));
        assert!(Stage::KEPT_PERCENT.iter().map(|(_, percent)| percent).sum::<u32>() <= 100);
    }

    #[test]
    fn a_report_says_each_stage_its_time_and_what_was_left() {
        let stages = vec![
            stage(Stage::Announce, 0, Ended::Done, ""),
            stage(Stage::Actuator, 30, Ended::Late, "2 agents left"),
            stage(Stage::Store, 12, Ended::Failed("disk".into()), ""),
            stage(Stage::Streams, 3, Ended::Done, "4 sessions"),
        ];
        let report = StopReport { stages };
        assert!(!report.is_clean());
        let expected = "stopped in 45 ms: announce 0, actuator 30 (CUT OFF; 2 agents left), store 12 (FAILED: disk), \
                        streams 3 (4 sessions)";
        assert_eq!(report.to_string(), expected);
    }

    #[tokio::test]
    async fn a_stage_that_hangs_is_cut_off_and_the_next_one_comes() {
        // Without any time a stage still does what it need not wait for.
        let mut stopping = Stopping::begin(Duration::ZERO);
        stopping.stage(Stage::Actuator, std::future::pending(), || "2 agents run on".to_owned()).await;
        stopping.stage(Stage::Store, async { (Ended::Done, String::new()) }, || "all".to_owned()).await;
        let ended: Vec<_> = stopping.end().stages.into_iter().map(|stage| (stage.ended, stage.note)).collect();
        assert_eq!(ended, [(Ended::Late, "2 agents run on".to_owned()), (Ended::Done, String::new())]);
    }
}
