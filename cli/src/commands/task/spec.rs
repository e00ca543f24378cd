//! How a task is to be treated, as arguments; `task submit` and `run` share them.

use std::time::{Duration, SystemTime};

use clap::Args;
use evenkeel_proto::v1;
use evenkeel_shared::{LabelRule, Micros, wire};

use crate::{quantity, selector};

/// What holds for every task of a command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How tasks are treated")]
pub struct SpecArgs {
    /// How urgent, 0 to 9; 9 is most urgent [default: 5]
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u32).range(0..=9))]
    priority: Option<u32>,
    /// Whose work it is; tenants share the fleet fairly [default: default]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_TENANT", default_value = "", hide_default_value = true)]
    tenant: String,
    /// A rule that the agent's labels must meet: gpu=a100, gpu!=a100, 'zone in (eu,us)', 'zone notin (eu,us)', gpu, '!gpu',
    /// 'ram>=8', and >, <, <= (may be repeated)
    #[arg(long, value_name = "RULE", value_parser = selector::parse)]
    label: Vec<LabelRule>,
    /// A rule that should hold; of several the last is given up first (may be repeated)
    #[arg(long, value_name = "RULE", value_parser = selector::parse)]
    prefer: Vec<LabelRule>,
    /// Slots that one task takes
    #[arg(long, default_value_t = 1)]
    slots: u32,
    /// Processor that one task takes, for example 1.5 or 500m
    #[arg(long, value_name = "CORES", value_parser = quantity::cpu_millis)]
    cpu: Option<u64>,
    /// Memory that one task takes, for example 512MiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes)]
    memory: Option<u64>,
    /// A named resource that one task takes, for example gpu=1 (may be repeated)
    #[arg(long, value_name = "NAME=AMOUNT", value_parser = quantity::amount)]
    resource: Vec<(String, u64)>,
    /// Longest wait in the queue before each attempt [default: none]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    queue_timeout: Option<Duration>,
    /// Longest time of one attempt [default: the coordinator's, 1h]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    timeout: Option<Duration>,
    /// When the task as a whole is given up: a time from now, or a date and time of RFC 3339 [default: never]
    #[arg(long, value_name = "TIME", value_parser = quantity::deadline)]
    deadline: Option<SystemTime>,
    /// Retries after the first attempt [default: the coordinator's, 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=99))]
    retries: Option<u32>,
    /// What an attempt is expected to cost, for example usd=0.05; reserved in the budgets that cover the task (may be
    /// repeated)
    #[arg(long, value_name = "UNIT=AMOUNT", value_parser = quantity::cost)]
    cost: Vec<(String, f64)>,
    /// What an attempt may cost at most; reserved instead, and an attempt that reports more is ended (may be repeated)
    #[arg(long, value_name = "UNIT=AMOUNT", value_parser = quantity::cost)]
    cost_max: Vec<(String, f64)>,
    /// Memory that a program may have at most, for example 512MiB; one that has more is ended
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes)]
    memory_max: Option<u64>,
    /// Processor time that a program may use at most; one that uses more is ended
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    cpu_max: Option<Duration>,
    /// Longest time of an attempt; unlike after --timeout there is no other one
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    wall_max: Option<Duration>,
    /// An upstream quota that the task draws on, for example openai/team-a: while it is used up the task waits (may be
    /// repeated)
    #[arg(long, value_name = "KEY")]
    quota: Vec<String>,
}

impl SpecArgs {
    /// A task of this kind, treated so.
    #[must_use]
    pub fn spec(&self, kind: &str) -> v1::TaskSpec {
        let resources = v1::Resources {
            slots: self.slots,
            cpu_millis: self.cpu.unwrap_or(0),
            memory_bytes: self.memory.unwrap_or(0),
            custom: self.resource.iter().cloned().collect(),
        };
        let wire = |rules: &[LabelRule]| rules.iter().map(wire::labels::to_label_rule).collect();
        v1::TaskSpec {
            kind: kind.to_owned(),
            tenant: self.tenant.clone(),
            priority: self.priority,
            requirements: Some(v1::Requirements {
                resources: Some(resources),
                required: wire(&self.label),
                preferred: wire(&selector::weighted_by_order(&self.prefer)),
                quota_keys: self.quota.clone(),
            }),
            queue_timeout_ms: millis(self.queue_timeout),
            attempt_timeout_ms: millis(self.timeout),
            deadline_unix_ms: self.deadline.map_or(0, quantity::unix_ms),
            retry: self
                .retries
                .map(|retries| v1::RetryPolicy { max_attempts: retries + 1, ..v1::RetryPolicy::default() }),
            budget: self.budget(),
            ..v1::TaskSpec::default()
        }
    }

    fn budget(&self) -> Option<v1::TaskBudget> {
        let micros = |costs: &[(String, f64)]| {
            costs.iter().map(|(unit, amount)| (unit.clone(), Micros::from_units(*amount).0)).collect()
        };
        let budget = v1::TaskBudget {
            estimate_micros: micros(&self.cost),
            max_micros: micros(&self.cost_max),
            memory_max_bytes: self.memory_max.unwrap_or(0),
            cpu_max_ms: millis(self.cpu_max),
            wall_max_ms: millis(self.wall_max),
        };
        (budget != v1::TaskBudget::default()).then_some(budget)
    }
}

/// On the wire 0 means none; what was said to be nothing is made the shortest there is.
fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| quantity::millis(duration).max(1))
}
