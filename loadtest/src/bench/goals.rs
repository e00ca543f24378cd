//! What the figures are to come to: each goal a ratio of two contenders in the same round.
//!
//! The ratio is taken round by round and then the median, so that a slow minute of the machine, which meets both sides, does
//! not look like a slow program.

use serde::Serialize;

use super::{report::Row, round::Figures};

/// A goal.
#[derive(Clone, Copy)]
pub struct Goal {
    /// Its number in the table of goals.
    pub id: &'static str,
    /// What is compared.
    pub what: &'static str,
    /// The bound, of the kind that it is.
    pub bound: Bound,
    /// Contenders whose figures it takes, in this order.
    contenders: &'static [&'static str],
    /// What it comes to in a round.
    value: fn(&[&Figures]) -> Option<f64>,
}

/// A bound of a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// How a goal came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its number in the table of goals.
    pub id: &'static str,
    /// What is compared.
    pub what: &'static str,
    /// The bound, in words.
    pub goal: String,
    /// The median over the rounds; `None` if it was not measured.
    pub median: Option<f64>,
    /// The least and the most of all rounds.
    pub spread: Option<[f64; 2]>,
    /// Whether the median keeps the bound; `None` if it was not measured.
    pub met: Option<bool>,
}

fn get(figures: &Figures, name: &str) -> Option<f64> {
    figures.get(name).copied()
}

/// The figure of the first over that of the second.
fn ratio(figures: &[&Figures], name: &str) -> Option<f64> {
    let [over, under] = figures else { return None };
    Some(get(over, name)? / get(under, name)?)
}

fn throughput(figures: &[&Figures]) -> Option<f64> {
    ratio(figures, "tasks_per_s")
}

/// Tasks that the processors could do in the same time, were they never idle and did nothing else: what `throughput` comes to on
/// a quiet machine, as far as processors are what bounds it. It holds on a busy machine too.
fn throughput_by_cpu(figures: &[&Figures]) -> Option<f64> {
    ratio(figures, "all_cpu_us_per_task").map(|ratio| 1.0 / ratio)
}

/// What one call takes, over that of the bare router.
fn latency(figures: &[&Figures]) -> Option<f64> {
    ratio(figures, "p50_us")
}

/// What one durable call takes, over what is allowed: 1.3 times the bare router and two writes to the disk, and half of
/// that more.
fn durable_latency(figures: &[&Figures]) -> Option<f64> {
    let [durable, bare] = figures else { return None };
    let allowed_us = 1.5 * (1.3 * get(bare, "p50_us")? + 2.0 * get(durable, "fsync_p50_us")?);
    Some(get(durable, "p50_us")? / allowed_us)
}

fn memory(figures: &[&Figures]) -> Option<f64> {
    ratio(figures, "resident_kib_per_agent")
}

fn cpu(figures: &[&Figures]) -> Option<f64> {
    get(figures.first()?, "server_cpu_percent")
}

fn per_heartbeat(figures: &[&Figures]) -> Option<f64> {
    ratio(figures, "server_cpu_us_per_heartbeat")
}

fn goodput(figures: &[&Figures]) -> Option<f64> {
    let figures = figures.first()?;
    Some(get(figures, "goodput_per_s")? / get(figures, "peak_per_s")?)
}

fn urgent(figures: &[&Figures]) -> Option<f64> {
    let figures = figures.first()?;
    Some(get(figures, "urgent_p99_us")? / get(figures, "urgent_unloaded_p99_us")?)
}

fn urgent_refused(figures: &[&Figures]) -> Option<f64> {
    let figures = figures.first()?;
    let (refused, done) = (get(figures, "urgent_refused_per_s")?, get(figures, "urgent_per_s")?);
    Some(100.0 * refused / (refused + done))
}

use Bound::{AtLeast, AtMost};

/// All of them.
pub(super) const GOALS: &[Goal] = &[
    Goal {
        id: "1",
        what: "SubmitStream EPHEMERAL / bare stream, tasks/s",
        bound: AtLeast(0.9),
        contenders: &["stream-ephemeral", "bare-stream"],
        value: throughput,
    },
    Goal {
        id: "1 (by CPU)",
        what: "SubmitStream EPHEMERAL / bare stream, tasks per processor time",
        bound: AtLeast(0.9),
        contenders: &["stream-ephemeral", "bare-stream"],
        value: throughput_by_cpu,
    },
    Goal {
        id: "1 (NATS)",
        what: "SubmitStream EPHEMERAL / NATS queue group, tasks/s",
        bound: AtLeast(1.0),
        contenders: &["stream-ephemeral", "nats-queue-group"],
        value: throughput,
    },
    Goal {
        id: "2",
        what: "SubmitStream DURABLE / EPHEMERAL, tasks/s",
        bound: AtLeast(0.7),
        contenders: &["stream-durable", "stream-ephemeral"],
        value: throughput,
    },
    Goal {
        id: "2 (by CPU)",
        what: "SubmitStream DURABLE / EPHEMERAL, tasks per processor time",
        bound: AtLeast(0.7),
        contenders: &["stream-durable", "stream-ephemeral"],
        value: throughput_by_cpu,
    },
    Goal {
        id: "2 (JetStream)",
        what: "SubmitStream DURABLE / JetStream work queue, tasks/s",
        bound: AtLeast(1.0),
        contenders: &["stream-durable", "jetstream"],
        value: throughput,
    },
    Goal {
        id: "3",
        what: "Execute EPHEMERAL / bare unary, 256 in flight, tasks/s",
        bound: AtLeast(0.9),
        contenders: &["execute-ephemeral", "bare-unary"],
        value: throughput,
    },
    Goal {
        id: "3 (by CPU)",
        what: "Execute EPHEMERAL / bare unary, 256 in flight, tasks per processor time",
        bound: AtLeast(0.9),
        contenders: &["execute-ephemeral", "bare-unary"],
        value: throughput_by_cpu,
    },
    Goal {
        id: "3 (DURABLE)",
        what: "Execute DURABLE / bare unary, 256 in flight, tasks/s",
        bound: AtLeast(0.9),
        contenders: &["execute-durable", "bare-unary"],
        value: throughput,
    },
    Goal {
        id: "3 (DURABLE, by CPU)",
        what: "Execute DURABLE / bare unary, 256 in flight, tasks per processor time",
        bound: AtLeast(0.9),
        contenders: &["execute-durable", "bare-unary"],
        value: throughput_by_cpu,
    },
    Goal {
        id: "4",
        what: "Execute EPHEMERAL / bare unary, one in flight, p50",
        bound: AtMost(1.3),
        contenders: &["execute-ephemeral-1", "bare-unary-1"],
        value: latency,
    },
    Goal {
        id: "4 (DURABLE)",
        what: "Execute DURABLE / (1.3 bare unary + 2 fsyncs) × 1.5, one in flight, p50",
        bound: AtMost(1.0),
        contenders: &["execute-durable-1", "bare-unary-1"],
        value: durable_latency,
    },
    Goal {
        id: "8",
        what: "resident memory per idle agent, coordinator / bare router",
        bound: AtMost(0.5),
        contenders: &["idle", "bare-idle"],
        value: memory,
    },
    Goal {
        id: "9",
        what: "heartbeats of 10,000 agents, % of a core",
        bound: AtMost(10.0),
        contenders: &["heartbeats-10000"],
        value: cpu,
    },
    Goal {
        id: "9 (growth)",
        what: "processor time per heartbeat, 10,000 / 1,000 agents",
        bound: AtMost(1.3),
        contenders: &["heartbeats-10000", "heartbeats-1000"],
        value: per_heartbeat,
    },
    Goal {
        id: "11",
        what: "goodput at 10x overload / peak",
        bound: AtLeast(0.95),
        contenders: &["overload"],
        value: goodput,
    },
    Goal {
        id: "11 (urgent)",
        what: "p99 of urgent tasks, 10x overload / unloaded",
        bound: AtMost(1.5),
        contenders: &["overload"],
        value: urgent,
    },
    Goal {
        id: "11 (full)",
        what: "goodput at 10x overload with a full queue / peak",
        bound: AtLeast(0.95),
        contenders: &["overload-full"],
        value: goodput,
    },
    Goal {
        id: "11 (full, urgent)",
        what: "p99 of urgent tasks with a full queue / unloaded",
        bound: AtMost(1.5),
        contenders: &["overload-full"],
        value: urgent,
    },
    Goal {
        id: "11 (full, refused)",
        what: "urgent tasks refused with a full queue, %",
        bound: AtMost(0.0),
        contenders: &["overload-full"],
        value: urgent_refused,
    },
];

impl Goal {
    /// How it came out.
    pub(super) fn outcome(&self, rows: &[Row]) -> Outcome {
        let rows: Option<Vec<&Row>> =
            self.contenders.iter().map(|name| rows.iter().find(|row| row.name == *name)).collect();
        let rows = rows.unwrap_or_default();
        let count = rows.iter().map(|row| row.rounds.len()).min().unwrap_or(0);
        let in_round = |round: usize| {
            let figures: Option<Vec<&Figures>> = rows.iter().map(|row| row.rounds[round].as_ref()).collect();
            (self.value)(&figures?).filter(|value| value.is_finite())
        };
        let mut values: Vec<f64> = (0..count).filter_map(in_round).collect();
        let median = super::report::median(&mut values);
        let spread = values.first().zip(values.last()).map(|(least, most)| [*least, *most]);
        let goal = match self.bound {
            AtLeast(bound) => format!("≥ {bound}"),
            AtMost(bound) => format!("≤ {bound}"),
        };
        let met = median.map(|median| self.bound.holds(median));
        Outcome { id: self.id, what: self.what, goal, median, spread, met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, figures: &[&[(&'static str, f64)]]) -> Row {
        let contender = super::super::CONTENDERS.iter().find(|contender| contender.name == name).unwrap();
        let rounds = figures.iter().map(|figures| Some(figures.iter().copied().collect())).collect();
        let mut row = Row::new(contender);
        row.rounds = rounds;
        row
    }

    fn outcome(id: &str, rows: &[Row]) -> Outcome {
        GOALS.iter().find(|goal| goal.id == id).unwrap().outcome(rows)
    }

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        // In the second round the machine was slow for both.
        let ours =
            row("stream-ephemeral", &[&[("tasks_per_s", 95.0)], &[("tasks_per_s", 9.0)], &[("tasks_per_s", 80.0)]]);
        let bare =
            row("bare-stream", &[&[("tasks_per_s", 100.0)], &[("tasks_per_s", 10.0)], &[("tasks_per_s", 100.0)]]);
        let outcome = outcome("1", &[ours, bare]);
        assert_eq!(outcome.median, Some(0.9));
        assert_eq!(outcome.spread, Some([0.8, 0.95]));
        assert_eq!(outcome.met, Some(true));
    }

    #[test]
    fn a_durable_call_may_take_two_writes_more() {
        let bare = [("p50_us", 100.0)];
        let at_the_bound = [("p50_us", 1.5 * (130.0 + 2_000.0)), ("fsync_p50_us", 1_000.0)];
        let met = outcome("4 (DURABLE)", &[row("execute-durable-1", &[&at_the_bound]), row("bare-unary-1", &[&bare])]);
        assert_eq!(met.met, Some(true));
        let over = [("p50_us", 1.5 * (130.0 + 2_000.0) + 1.0), ("fsync_p50_us", 1_000.0)];
        let missed = outcome("4 (DURABLE)", &[row("execute-durable-1", &[&over]), row("bare-unary-1", &[&bare])]);
        assert_eq!(missed.met, Some(false));
    }

    #[test]
    fn a_goal_without_its_figures_is_neither_met_nor_missed() {
        let ours = row("stream-ephemeral", &[&[("tasks_per_s", 95.0)]]);
        assert_eq!(outcome("1", &[ours]).met, None);
        let mut failed = row("bare-stream", &[]);
        failed.rounds.push(None);
        let ours = row("stream-ephemeral", &[&[("tasks_per_s", 95.0)]]);
        assert_eq!(outcome("1", &[ours, failed]).met, None);
    }

    #[test]
    fn every_goal_names_contenders_that_are() {
        for goal in GOALS {
            for name in goal.contenders {
                assert!(super::super::CONTENDERS.iter().any(|contender| contender.name == *name), "{name}");
            }
        }
    }
}
