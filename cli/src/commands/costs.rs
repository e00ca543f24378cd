//! `evenkeel prices` and `evenkeel costs`: what resources cost, and what was spent.

use std::time::SystemTime;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use evenkeel_proto::v1;
use evenkeel_shared::{LabelRule, wire};

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::budget::{CostsView, PricesView},
    quantity, selector,
};

/// What to do with prices.
#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// Show the prices in force
    Get,
    /// Change prices; those that are not given stay
    Set(SetArgs),
}

/// Arguments of `prices set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true)
    .args(["unit", "agent_hour", "agent_price", "core_hour", "memory_gb_hour", "storage_gb_hour", "network_mb"]))]
pub struct SetArgs {
    /// The unit of all prices [default: as it is, usd at first]
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    /// For each hour of each agent
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    agent_hour: Option<f64>,
    /// The same for agents whose labels match, for example 'gpu=a100: 2.5' (may be repeated; the first that matches
    /// counts, and those that are given replace all that were)
    #[arg(long, value_name = "RULE: AMOUNT", value_parser = agent_price)]
    agent_price: Vec<(LabelRule, f64)>,
    /// For an hour of a core that a task used
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    core_hour: Option<f64>,
    /// For an hour of a GiB (2^30 bytes) of memory
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    memory_gb_hour: Option<f64>,
    /// For an hour of one unit of the named resource `storage_gb`
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    storage_gb_hour: Option<f64>,
    /// For a MB (10^6 bytes) of payload and output
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    network_mb: Option<f64>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Arguments of `costs`.
#[derive(Debug, Args)]
pub struct CostsArgs {
    /// By tenant, kind or agent, or the most expensive tasks of the last hour
    #[arg(long, value_enum, default_value_t = By::Tenant)]
    by: By,
    /// Only of this name
    #[arg(long)]
    name: Option<String>,
    /// From when on: how long ago (2h), or a date and time [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    from: Option<SystemTime>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    to: Option<SystemTime>,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// By what costs are told apart.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum By {
    Tenant,
    Kind,
    Agent,
    Task,
}

/// Reads `RULE: AMOUNT`.
fn agent_price(text: &str) -> Result<(LabelRule, f64), String> {
    let (rule, amount) = text.rsplit_once(':').ok_or("write it as 'gpu=a100: 2.5'")?;
    let rule = selector::parse(rule.trim()).map_err(|error| error.to_string())?;
    Ok((rule, quantity::positive(amount.trim())?))
}

/// Shows or changes prices.
///
/// # Errors
/// If a price is refused, or the coordinator does not answer.
pub async fn prices(command: PricesCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let mut prices = answer("read the prices", resources.get_prices(v1::GetPricesRequest {}).await)?;
    if let PricesCommand::Set(args) = command {
        let reason = args.reason.clone();
        let request = v1::PutPricesRequest { prices: Some(changed(prices, args)), reason };
        prices = answer("set the prices", resources.put_prices(request).await)?;
    }
    global.output().one(&PricesView::from(prices))?;
    Ok(Exit::Ok)
}

fn changed(prices: v1::Prices, args: SetArgs) -> v1::Prices {
    let rule = |(rule, agent_hour): &(LabelRule, f64)| v1::AgentPrice {
        label: Some(wire::labels::to_label_rule(rule)),
        agent_hour: *agent_hour,
    };
    let rules = args.agent_price.iter().map(rule).collect::<Vec<_>>();
    v1::Prices {
        unit: args.unit.unwrap_or(prices.unit),
        agent_hour: args.agent_hour.unwrap_or(prices.agent_hour),
        agent_prices: if rules.is_empty() { prices.agent_prices } else { rules },
        core_hour: args.core_hour.unwrap_or(prices.core_hour),
        memory_gb_hour: args.memory_gb_hour.unwrap_or(prices.memory_gb_hour),
        storage_gb_hour: args.storage_gb_hour.unwrap_or(prices.storage_gb_hour),
        network_mb: args.network_mb.unwrap_or(prices.network_mb),
    }
}

/// Shows what was spent.
///
/// # Errors
/// If the coordinator does not answer.
pub async fn run(args: CostsArgs, global: &Global) -> Outcome {
    let by = match args.by {
        By::Tenant => v1::CostsBy::Tenant,
        By::Kind => v1::CostsBy::Kind,
        By::Agent => v1::CostsBy::Agent,
        By::Task => v1::CostsBy::Task,
    };
    let request = v1::GetCostsRequest {
        by: by.into(),
        from_unix_ms: args.from.map_or(0, quantity::unix_ms),
        to_unix_ms: args.to.map_or(0, quantity::unix_ms),
        name: args.name.unwrap_or_default(),
        limit: args.limit,
    };
    let mut resources = global.address()?.connect().await?.resources;
    let costs = answer("read the costs", resources.get_costs(request).await)?;
    global.output().one(&CostsView::from(costs))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_a_rule_and_an_amount() {
        let (rule, amount) = agent_price("zone in (eu,us): 2.5").unwrap();
        assert_eq!((rule.to_string().as_str(), amount), ("zone in (eu,us)", 2.5));
        assert_eq!(agent_price("gpu:1").unwrap().0.to_string(), "gpu");
        for bad in ["gpu=a100", "gpu=a100:", ": 5", "gpu: -1", "gpu: much"] {
            assert!(agent_price(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn prices_that_are_not_given_stay() {
        let none = SetArgs {
            unit: None,
            agent_hour: None,
            agent_price: Vec::new(),
            core_hour: Some(3.0),
            memory_gb_hour: None,
            storage_gb_hour: None,
            network_mb: None,
            reason: String::new(),
        };
        let prices = v1::Prices { unit: "usd".into(), agent_hour: 1.0, core_hour: 2.0, ..v1::Prices::default() };
        let expected = v1::Prices { core_hour: 3.0, ..prices.clone() };
        assert_eq!(changed(prices, none), expected);
    }
}
