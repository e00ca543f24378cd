//! How long attempts take on this agent, by kind.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, KindLatency};

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    completed: u64,
    mean_us: f64,
}

/// Counts and means since the agent started. Attempts that were called off or never began are not in them.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    kinds: BTreeMap<Kind, Sum>,
}

impl Latencies {
    /// One attempt of this kind ran to its end in so long.
    pub fn record(&mut self, kind: &Kind, run: Duration) {
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.clone(), Sum::default());
        }
        let Some(sum) = self.kinds.get_mut(kind) else { return };
        sum.completed += 1;
        sum.mean_us += (run.as_secs_f64() * 1e6 - sum.mean_us) / sum.completed as f64;
    }

    /// As a heartbeat tells them.
    pub fn report(&self) -> Vec<KindLatency> {
        let latency = |(kind, sum): (&Kind, &Sum)| KindLatency {
            kind: kind.clone(),
            completed: sum.completed,
            mean_us: sum.mean_us,
        };
        self.kinds.iter().map(latency).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_all_attempts_of_the_kind() {
        let kind = Kind::new("k").unwrap();
        let mut latencies = Latencies::default();
        for ms in [1, 2, 6] {
            latencies.record(&kind, Duration::from_millis(ms));
        }
        let report = latencies.report();
        assert_eq!((report[0].completed, report[0].mean_us.round() as u64), (3, 3_000));
    }
}
