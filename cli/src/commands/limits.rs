//! `evenkeel limits`: who may use how much at a time, and how fast.

use clap::{ArgGroup, Args, Subcommand};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    commands::declared::{Removal, Scoped},
    exit::{Exit, Outcome, answer},
    output::limit::{DynamicView, LimitView, RemovedView},
    quantity,
};

/// What to do with limits.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// List limits with their use at this moment
    List(Scoped),
    /// Declare a limit, or replace the one of this name
    ///
    /// What runs goes on; what is over a lowered limit waits. A task is subject to every limit that applies to it.
    Put(PutArgs),
    /// Remove a limit
    Delete(Removal),
    /// See or set how the slots of agents follow measured latency
    Dynamic(DynamicArgs),
}

/// Arguments of `limits put`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true).multiple(true)
    .args(["tenant", "kind", "agent", "agent_label", "each_tenant", "each_kind", "each_agent"]))]
#[command(group = ArgGroup::new("size").required(true).multiple(true).args(["concurrency", "rate"]))]
pub struct PutArgs {
    /// Its name
    name: String,
    /// It holds for tasks of this tenant
    #[arg(long, value_name = "NAME", help_heading = "To what it applies (all that are given must match)")]
    tenant: Option<String>,
    /// It holds for tasks of this kind
    #[arg(long, help_heading = "To what it applies (all that are given must match)")]
    kind: Option<String>,
    /// It holds for this agent
    #[arg(long, value_name = "ID", help_heading = "To what it applies (all that are given must match)")]
    agent: Option<String>,
    /// Agents with this label share it
    #[arg(long, value_name = "KEY=VALUE", help_heading = "To what it applies (all that are given must match)")]
    agent_label: Option<String>,
    /// Each tenant has one of its own of this size
    #[arg(long, conflicts_with = "tenant", help_heading = "To what it applies (all that are given must match)")]
    each_tenant: bool,
    /// Each kind has one of its own of this size
    #[arg(long, conflicts_with = "kind", help_heading = "To what it applies (all that are given must match)")]
    each_kind: bool,
    /// Each agent has one of its own of this size
    #[arg(long, conflicts_with_all = ["agent", "agent_label"], help_heading = "To what it applies (all that are given must match)")]
    each_agent: bool,
    /// Attempts at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Attempts that begin, for example 5/s or 300/m
    #[arg(long, value_name = "RATE", value_parser = quantity::rate)]
    rate: Option<f64>,
    /// Attempts that may begin at once after a pause [default: one second's worth]
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Arguments of `limits dynamic`. None: it is shown.
#[derive(Debug, Args)]
pub struct DynamicArgs {
    /// Turn it on
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Turn it off
    #[arg(long)]
    off: bool,
    /// How slots follow latency: in proportion to the slowdown, or a tenth at a time [default: as it is, gradient at first]
    #[arg(long, value_parser = ["gradient", "aimd"])]
    algorithm: Option<String>,
    /// Slots that an agent keeps at least [default: as it is, 1 at first]
    #[arg(long, value_name = "N")]
    slots_min: Option<u32>,
    /// Slots are taken away when latency is more than so many times the best [default: as it is, 1.5 at first]
    #[arg(long, value_name = "TIMES", value_parser = quantity::positive)]
    tolerance: Option<f64>,
    /// Tasks of this priority and above may use the slots that were taken away [default: as it is, 8 at first]
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u32).range(0..=9))]
    headroom_priority: Option<u32>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Carries it out.
///
/// # Errors
/// If a limit is refused or not there, or the coordinator does not answer.
pub async fn run(command: LimitsCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    match command {
        LimitsCommand::List(Scoped { tenant, kind }) => {
            let request = v1::ListLimitsRequest { tenant: tenant.unwrap_or_default(), kind: kind.unwrap_or_default() };
            let limits = answer("list limits", resources.list_limits(request).await)?.limits;
            let limits: Vec<_> = limits.into_iter().map(LimitView::from).collect();
            output.list(&limits, "no limits; declare one with `evenkeel limits put`")?;
        }
        LimitsCommand::Put(args) => {
            let limit = answer("put the limit", resources.put_limit(put(args)).await)?;
            output.one(&LimitView::from(limit))?;
        }
        LimitsCommand::Delete(Removal { name, reason }) => {
            let request = v1::DeleteLimitRequest { name: name.clone(), reason };
            answer("delete the limit", resources.delete_limit(request).await)
                .map_err(|error| error.hint_if_missing("see `evenkeel limits list`"))?;
            output.one(&RemovedView { what: "limit", name })?;
        }
        LimitsCommand::Dynamic(args) => {
            let doing = "read the dynamic limits";
            let mut limits = answer(doing, resources.get_dynamic_limits(v1::GetDynamicLimitsRequest {}).await)?;
            let settings = limits.settings.clone().unwrap_or_default();
            if let Some(settings) = args.changed(settings) {
                let request = v1::PutDynamicLimitsRequest { settings: Some(settings), reason: args.reason };
                limits = answer("set the dynamic limits", resources.put_dynamic_limits(request).await)?;
            }
            output.one(&DynamicView::from(limits))?;
        }
    }
    Ok(Exit::Ok)
}

fn put(args: PutArgs) -> v1::PutLimitRequest {
    let scope = v1::LimitScope {
        tenant: args.tenant.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        agent_id: args.agent.unwrap_or_default(),
        agent_label: args.agent_label.unwrap_or_default(),
        each_tenant: args.each_tenant,
        each_kind: args.each_kind,
        each_agent: args.each_agent,
    };
    let limit = v1::Limit {
        name: args.name,
        scope: Some(scope),
        concurrency_max: args.concurrency.unwrap_or(0),
        rate_per_s: args.rate.unwrap_or(0.0),
        burst: args.burst.unwrap_or(0),
        r#use: None,
    };
    v1::PutLimitRequest { limit: Some(limit), reason: args.reason }
}

impl DynamicArgs {
    /// The settings with what was asked for; `None`: nothing was.
    fn changed(&self, settings: v1::DynamicLimitSettings) -> Option<v1::DynamicLimitSettings> {
        let changed = v1::DynamicLimitSettings {
            enabled: (settings.enabled || self.on) && !self.off,
            algorithm: self.algorithm.clone().unwrap_or_else(|| settings.algorithm.clone()),
            slots_min: self.slots_min.unwrap_or(settings.slots_min),
            tolerance: self.tolerance.unwrap_or(settings.tolerance),
            headroom_priority: self.headroom_priority.unwrap_or(settings.headroom_priority),
        };
        (changed != settings).then_some(changed)
    }
}
