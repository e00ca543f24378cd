//! `evenkeel budgets`: how much may be spent.

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    commands::declared::{Removal, Scoped},
    exit::{Exit, Outcome, answer},
    output::{budget::BudgetView, limit::RemovedView},
    quantity,
};

/// What to do with budgets.
#[derive(Debug, Subcommand)]
pub enum BudgetsCommand {
    /// List budgets with what is spent and reserved of them
    List(Scoped),
    /// Declare a budget, or replace the one of this name; what is spent stays spent
    ///
    /// A task goes only if every budget that covers it allows it.
    Put(PutArgs),
    /// Remove a budget
    Delete(Removal),
}

/// Arguments of `budgets put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// Its name
    name: String,
    /// What may be spent, for example usd=5 or tokens=2000000
    #[arg(long, value_name = "UNIT=AMOUNT", value_parser = quantity::cost)]
    cap: (String, f64),
    /// Over which time, in UTC
    #[arg(long, value_enum, default_value_t = Window::Total)]
    window: Window,
    /// Only tasks of this tenant [default: of all]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only tasks of this kind [default: of all]
    #[arg(long)]
    kind: Option<String>,
    /// What becomes of tasks that it does not allow: they wait, or their submission is refused
    #[arg(long, value_enum, default_value_t = Then::Hold)]
    then: Then,
    /// Per cent of the cap at which to warn [default: 75]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    warning: Option<u32>,
    /// Per cent of the cap that is critical [default: 90]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    critical: Option<u32>,
    /// What a task reserves that says no estimate [default: the mean of its kind so far]
    #[arg(long, value_name = "AMOUNT", value_parser = quantity::positive)]
    estimate: Option<f64>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Over which time a budget counts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Window {
    Hour,
    Day,
    Month,
    Total,
}

/// What becomes of tasks that a budget does not allow.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Then {
    Hold,
    Refuse,
}

/// Carries it out.
///
/// # Errors
/// If a budget is refused or not there, or the coordinator does not answer.
pub async fn run(command: BudgetsCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    match command {
        BudgetsCommand::List(Scoped { tenant, kind }) => {
            let request = v1::ListBudgetsRequest { tenant: tenant.unwrap_or_default(), kind: kind.unwrap_or_default() };
            let budgets = answer("list budgets", resources.list_budgets(request).await)?.budgets;
            let budgets: Vec<_> = budgets.into_iter().map(BudgetView::from).collect();
            output.list(&budgets, "no budgets; declare one with `evenkeel budgets put`")?;
        }
        BudgetsCommand::Put(args) => {
            let budget = answer("put the budget", resources.put_budget(put(args)).await)?;
            output.one(&BudgetView::from(budget))?;
        }
        BudgetsCommand::Delete(Removal { name, reason }) => {
            let request = v1::DeleteBudgetRequest { name: name.clone(), reason };
            answer("delete the budget", resources.delete_budget(request).await)
                .map_err(|error| error.hint_if_missing("see `evenkeel budgets list`"))?;
            output.one(&RemovedView { what: "budget", name })?;
        }
    }
    Ok(Exit::Ok)
}

fn put(args: PutArgs) -> v1::PutBudgetRequest {
    let window = match args.window {
        Window::Hour => v1::BudgetWindow::Hour,
        Window::Day => v1::BudgetWindow::Day,
        Window::Month => v1::BudgetWindow::Month,
        Window::Total => v1::BudgetWindow::Total,
    };
    let action = match args.then {
        Then::Hold => v1::BudgetAction::Hold,
        Then::Refuse => v1::BudgetAction::Refuse,
    };
    let (unit, cap) = args.cap;
    let budget = v1::Budget {
        name: args.name,
        tenant: args.tenant.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        unit,
        cap,
        window: window.into(),
        action: action.into(),
        warning_percent: args.warning.unwrap_or(0),
        critical_percent: args.critical.unwrap_or(0),
        default_estimate: args.estimate.unwrap_or(0.0),
        r#use: None,
    };
    v1::PutBudgetRequest { budget: Some(budget), reason: args.reason }
}
