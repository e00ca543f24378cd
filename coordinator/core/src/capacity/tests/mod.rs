//! Tests of decisions, in simulated time.

mod drain;
mod effect;
mod foresight;
mod meter;
mod scaler;
mod steady;
mod validate;

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::{Foreseen, Load, Policy, Scaler, Template, Verdict};

/// The policy of a template, for fleets of 1 to 50.
fn policy(template: &str) -> Policy {
    let policy = Template::named(template).expect("a template").policy();
    Policy { agents_min: 1, agents_max: 50, ..policy }
}

/// Second `s` of the test.
fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_000_000_000 + s * 1_000)
}

/// `agents` of four slots, which work of `slots` slots keeps busy, as far as they go.
fn load(agents: u32, slots: f64) -> Load {
    let total = f64::from(agents) * 4.0;
    let busy = slots.min(total);
    let share = if total > 0.0 { busy / total } else { 0.0 };
    Load {
        agents,
        slots_per_agent: 4.0,
        slots_used: busy,
        arrivals_per_s: slots / 2.0,
        service_mean: Some(Duration::from_secs(2)),
        response_mean: Duration::from_secs(2),
        cpu_share: share * 0.6,
        memory_share: 0.2 + share * 0.3,
        ..Load::default()
    }
}

/// A fleet that does at once what is decided, under work that a function of the second gives, in slots.
struct Fleet {
    scaler: Scaler,
    agents: u32,
    /// Second and size of each change.
    changes: Vec<(u64, u32)>,
    last: Verdict,
}

impl Fleet {
    fn new(policy: Policy, agents: u32) -> Self {
        Self { scaler: Scaler::new(policy), agents, changes: Vec::new(), last: Verdict::default() }
    }

    fn run(&mut self, seconds: std::ops::Range<u64>, work: impl Fn(u64) -> f64) -> &mut Self {
        self.run_foreseen(seconds, work, |_| None)
    }

    fn run_foreseen(
        &mut self,
        seconds: std::ops::Range<u64>,
        work: impl Fn(u64) -> f64,
        foreseen: impl Fn(u64) -> Option<f64>,
    ) -> &mut Self {
        for s in seconds {
            let foreseen = foreseen(s).map(|slots| Foreseen { slots, ahead: Duration::from_secs(60) });
            let load = Load { foreseen, ..load(self.agents, work(s)) };
            self.last = self.scaler.decide(at(s), &load, None);
            if self.last.wanted != self.agents {
                self.scaler.changed(at(s), self.agents, self.last.wanted);
                self.agents = self.last.wanted;
                self.changes.push((s, self.agents));
            }
        }
        self
    }

    /// How often the direction changed.
    fn turns(&self, begun: u32) -> usize {
        let sizes: Vec<u32> = std::iter::once(begun).chain(self.changes.iter().map(|change| change.1)).collect();
        let ups: Vec<bool> = sizes.windows(2).map(|pair| pair[1] > pair[0]).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}
