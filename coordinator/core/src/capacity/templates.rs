//! Six policies to begin with.
//!
//! Their thresholds are in their names; windows, steps and weights follow from what each is for, and were tried on a day-long
//! trace beside an oracle (`evenkeel loadtest simulate-scaling`):
//!
//! - Slots asked for weigh most everywhere, because that is what the work of agents runs out of first: an agent that
//!   waits for a model server has an idle processor and a full slot.
//! - Up is fast and down is slow: a miss cannot be taken back, an agent kept for five minutes costs five minutes. The
//!   cost-optimised one is the other way round as far as its patient work bears it.
//! - The window of a scale-down is longer than the start-up of an agent, so that none is let go that would be wanted again
//!   before it could have come back.

use super::policy::{MetricWeight, Policy, Rules, ScalingMetric};

/// A policy to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    make: fn() -> Policy,
}

impl Template {
    /// The template of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// The policy, under the template's name.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { name: self.name.to_owned(), template: self.name.to_owned(), ..(self.make)() }
    }
}

/// All of them; the first is the default.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "web-balanced",
        description: "Interactive work in the usual mix: grows above 70 %, shrinks below 30 %, five minutes' memory",
        make: web_balanced,
    },
    Template {
        name: "web-aggressive",
        description: "Interactive work with steep peaks: grows early (60 %) by up to double, shrinks below 40 %",
        make: web_aggressive,
    },
    Template {
        name: "api-performance",
        description: "Latency first: counts response time and forecast, keeps a third of the fleet free",
        make: api_performance,
    },
    Template {
        name: "batch-cost-optimised",
        description: "Patient work at least cost: full agents, work may wait five minutes, none kept when idle",
        make: batch_cost_optimised,
    },
    Template {
        name: "ml-gpu-optimised",
        description: "Expensive agents that start slowly: looks ahead, grows by half at a time, shrinks late",
        make: ml_gpu_optimised,
    },
    Template {
        name: "dev-minimal",
        description: "A machine of one's own: one or two agents, grows at 90 %, shrinks when next to idle",
        make: dev_minimal,
    },
];

const MINUTE: u64 = 60_000;

fn weights(weights: &[(ScalingMetric, f64)]) -> Vec<MetricWeight> {
    weights.iter().map(|&(metric, weight)| MetricWeight { metric, weight, normaliser: None }).collect()
}

/// What the others differ from.
fn web_balanced() -> Policy {
    use ScalingMetric::{Cpu, ErrorRate, Memory, RequestRate, ResponseTime, Utilisation};
    Policy {
        name: String::new(),
        template: String::new(),
        version: 0,
        agents_min: 2,
        agents_max: 20,
        utilisation_target_percent: 75,
        metrics: weights(&[
            (Utilisation, 0.35),
            (ResponseTime, 0.25),
            (Cpu, 0.15),
            (RequestRate, 0.1),
            (Memory, 0.1),
            (ErrorRate, 0.05),
        ]),
        scale_up_percent: 70,
        scale_down_percent: 30,
        up: Rules {
            // Half a minute takes out what is over by itself.
            stabilisation_ms: 30_000,
            step_agents_max: None,
            step_percent_max: Some(50),
            period_ms: MINUTE,
            cooldown_ms: 30_000,
        },
        down: Rules {
            stabilisation_ms: 5 * MINUTE,
            step_agents_max: None,
            step_percent_max: Some(25),
            period_ms: 2 * MINUTE,
            cooldown_ms: 2 * MINUTE,
        },
        tolerance_percent: 10,
        predictive: false,
        wait_target_ms: 30_000,
        start_up_ms: 30_000,
    }
}

fn web_aggressive() -> Policy {
    Policy {
        utilisation_target_percent: 70,
        scale_up_percent: 60,
        scale_down_percent: 40,
        up: Rules {
            stabilisation_ms: 10_000,
            step_agents_max: None,
            step_percent_max: Some(100),
            period_ms: 30_000,
            cooldown_ms: 15_000,
        },
        // Thresholds that are close need a long memory, or each lull would be followed.
        down: Rules { stabilisation_ms: 15 * MINUTE, ..web_balanced().down },
        wait_target_ms: 10_000,
        ..web_balanced()
    }
}

fn api_performance() -> Policy {
    use ScalingMetric::{Cpu, ErrorRate, RequestRate, ResponseTime, Utilisation};
    Policy {
        utilisation_target_percent: 70,
        metrics: weights(&[
            (Utilisation, 0.35),
            (ResponseTime, 0.25),
            (RequestRate, 0.2),
            (Cpu, 0.15),
            (ErrorRate, 0.05),
        ]),
        scale_up_percent: 60,
        scale_down_percent: 40,
        up: Rules {
            stabilisation_ms: 5_000,
            step_agents_max: None,
            step_percent_max: Some(100),
            period_ms: 30_000,
            cooldown_ms: 0,
        },
        // A peak that comes back within them finds its agents.
        down: Rules { stabilisation_ms: 20 * MINUTE, ..web_balanced().down },
        predictive: true,
        wait_target_ms: 5_000,
        ..web_balanced()
    }
}

fn batch_cost_optimised() -> Policy {
    use ScalingMetric::{Cpu, ResponseTime, Utilisation};
    Policy {
        agents_min: 0,
        utilisation_target_percent: 80,
        metrics: weights(&[(ResponseTime, 0.5), (Utilisation, 0.4), (Cpu, 0.1)]),
        scale_up_percent: 80,
        scale_down_percent: 20,
        up: Rules {
            stabilisation_ms: MINUTE,
            step_agents_max: None,
            step_percent_max: Some(50),
            period_ms: 2 * MINUTE,
            cooldown_ms: MINUTE,
        },
        down: Rules {
            stabilisation_ms: 3 * MINUTE,
            step_agents_max: None,
            step_percent_max: Some(50),
            period_ms: MINUTE,
            cooldown_ms: MINUTE,
        },
        wait_target_ms: 5 * MINUTE,
        start_up_ms: MINUTE,
        ..web_balanced()
    }
}

fn ml_gpu_optimised() -> Policy {
    use ScalingMetric::{Memory, RequestRate, ResponseTime, Utilisation};
    Policy {
        agents_min: 1,
        agents_max: 8,
        // The processor says nothing about an accelerator; its slots do.
        metrics: weights(&[(Utilisation, 0.4), (ResponseTime, 0.4), (RequestRate, 0.1), (Memory, 0.1)]),
        scale_up_percent: 75,
        scale_down_percent: 25,
        up: Rules {
            stabilisation_ms: MINUTE,
            step_agents_max: None,
            step_percent_max: Some(50),
            // No shorter than the start-up, or a step would be taken before the last one has shown.
            period_ms: 3 * MINUTE,
            cooldown_ms: 0,
        },
        down: Rules {
            stabilisation_ms: 15 * MINUTE,
            step_agents_max: None,
            step_percent_max: Some(25),
            period_ms: 5 * MINUTE,
            cooldown_ms: 5 * MINUTE,
        },
        predictive: true,
        wait_target_ms: 2 * MINUTE,
        start_up_ms: 3 * MINUTE,
        ..web_balanced()
    }
}

fn dev_minimal() -> Policy {
    use ScalingMetric::{ResponseTime, Utilisation};
    Policy {
        agents_min: 1,
        agents_max: 2,
        utilisation_target_percent: 80,
        metrics: weights(&[(ResponseTime, 0.6), (Utilisation, 0.4)]),
        scale_up_percent: 90,
        scale_down_percent: 10,
        up: Rules { stabilisation_ms: 10_000, step_agents_max: Some(1), period_ms: 10_000, ..Rules::default() },
        down: Rules {
            stabilisation_ms: MINUTE,
            step_agents_max: Some(1),
            period_ms: 30_000,
            cooldown_ms: 30_000,
            ..Rules::default()
        },
        start_up_ms: 5_000,
        ..web_balanced()
    }
}
