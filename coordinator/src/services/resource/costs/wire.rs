//! Budgets, prices and costs as they are said and shown.

use evenkeel_core::cost::{
    Budget, BudgetAction, BudgetWindow, Prices,
    ledger::{BudgetView, Level},
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    CostUnit, Kind, Micros, Tenant, Violation,
    wire::{
        labels::{label_rule, to_label_rule},
        quantities::{to_unix_ms, to_unix_ms_or_zero},
    },
};

/// Of the cap, unless said otherwise.
const WARNING_PERCENT_DEFAULT: u32 = 75;
const CRITICAL_PERCENT_DEFAULT: u32 = 90;
/// Largest amount, in units: below it sums of a million of them are exact.
const AMOUNT_MAX: f64 = 1e12;

/// Reads an amount in units.
fn amount(field: &str, units: f64) -> Result<Micros, Violation> {
    if (0.0..=AMOUNT_MAX).contains(&units) {
        return Ok(Micros::from_units(units));
    }
    Err(Violation::new(field, format!("{units} is out of range; use 0 to {AMOUNT_MAX:e}")))
}

fn percent(field: &str, percent: u32, default: u32) -> Result<u8, Violation> {
    let said = if percent == 0 { default } else { percent };
    u8::try_from(said)
        .ok()
        .filter(|&said| said <= 100)
        .ok_or_else(|| Violation::new(field, format!("{said} is out of range; use 1 to 100")))
}

fn at(field: &'static str) -> impl FnOnce(Violation) -> Violation {
    move |violation| Violation::new(field, violation.description)
}

fn optional<T>(text: &str, read: fn(&str) -> Result<T, Violation>) -> Result<Option<T>, Violation> {
    (!text.is_empty()).then(|| read(text)).transpose()
}

/// Reads a budget; what is not said has the defaults of the interface.
///
/// # Errors
/// The field at fault.
pub fn budget(wire: v1::Budget) -> Result<Budget, Violation> {
    // The same rule as for tenants; the name is text.
    Tenant::new(&wire.name).map_err(at("name"))?;
    if wire.cap <= 0.0 {
        return Err(Violation::new("cap", format!("{} is out of range; use more than 0", wire.cap)));
    }
    let unknown = |field, number| Violation::new(field, format!("{number} is not known"));
    let window = match v1::BudgetWindow::try_from(wire.window).map_err(|_| unknown("window", wire.window))? {
        v1::BudgetWindow::Hour => BudgetWindow::Hour,
        v1::BudgetWindow::Day => BudgetWindow::Day,
        v1::BudgetWindow::Month => BudgetWindow::Month,
        v1::BudgetWindow::Unspecified | v1::BudgetWindow::Total => BudgetWindow::Total,
    };
    let action = match v1::BudgetAction::try_from(wire.action).map_err(|_| unknown("action", wire.action))? {
        v1::BudgetAction::Refuse => BudgetAction::Refuse,
        v1::BudgetAction::Unspecified | v1::BudgetAction::Hold => BudgetAction::Hold,
    };
    let default_estimate = amount("default_estimate", wire.default_estimate)?;
    let critical_percent = percent("critical_percent", wire.critical_percent, CRITICAL_PERCENT_DEFAULT)?;
    let warning_default = WARNING_PERCENT_DEFAULT.min(critical_percent.into());
    let budget = Budget {
        name: wire.name,
        tenant: optional(&wire.tenant, Tenant::new)?,
        kind: optional(&wire.kind, Kind::new)?,
        unit: CostUnit::new(&wire.unit)?,
        cap: amount("cap", wire.cap)?,
        window,
        action,
        warning_percent: percent("warning_percent", wire.warning_percent, warning_default)?,
        critical_percent,
        default_estimate: (default_estimate > Micros::ZERO).then_some(default_estimate),
    };
    budget.validate()?;
    Ok(budget)
}

/// Shows a budget with its use.
pub fn to_budget(view: BudgetView, waiting: u64) -> v1::Budget {
    let BudgetView { budget, window_start, window_end, spent, reserved, overrun, level } = view;
    let level = match level {
        Level::Ok => v1::BudgetLevel::Ok,
        Level::Warning => v1::BudgetLevel::Warning,
        Level::Critical => v1::BudgetLevel::Critical,
        Level::Exhausted => v1::BudgetLevel::Exhausted,
    };
    let window = match budget.window {
        BudgetWindow::Hour => v1::BudgetWindow::Hour,
        BudgetWindow::Day => v1::BudgetWindow::Day,
        BudgetWindow::Month => v1::BudgetWindow::Month,
        BudgetWindow::Total => v1::BudgetWindow::Total,
    };
    let action = match budget.action {
        BudgetAction::Hold => v1::BudgetAction::Hold,
        BudgetAction::Refuse => v1::BudgetAction::Refuse,
    };
    let text = |name: Option<&str>| name.unwrap_or_default().to_owned();
    v1::Budget {
        name: budget.name,
        tenant: text(budget.tenant.as_ref().map(Tenant::as_str)),
        kind: text(budget.kind.as_ref().map(Kind::as_str)),
        unit: budget.unit.as_str().to_owned(),
        cap: budget.cap.units(),
        window: window.into(),
        action: action.into(),
        warning_percent: budget.warning_percent.into(),
        critical_percent: budget.critical_percent.into(),
        default_estimate: budget.default_estimate.unwrap_or_default().units(),
        r#use: Some(v1::BudgetUse {
            window_start_unix_ms: to_unix_ms(window_start),
            window_end_unix_ms: to_unix_ms_or_zero(window_end),
            spent: spent.units(),
            reserved: reserved.units(),
            level: level.into(),
            waiting,
            overrun: overrun.units(),
        }),
    }
}

/// Reads prices.
///
/// # Errors
/// The field at fault.
pub fn prices(wire: v1::Prices) -> Result<Prices, Violation> {
    let rule = |(number, price): (usize, v1::AgentPrice)| {
        let within = format!("agent_prices[{number}]");
        let label = price.label.ok_or_else(|| Violation::new("label", "must be set").within(&within))?;
        let rule = label_rule(label).map_err(|violation| violation.within("label").within(&within))?;
        Ok((rule, amount("agent_hour", price.agent_hour).map_err(|violation| violation.within(&within))?))
    };
    Ok(Prices {
        unit: if wire.unit.is_empty() { CostUnit::usd() } else { CostUnit::new(&wire.unit)? },
        agent_hour: amount("agent_hour", wire.agent_hour)?,
        agent_prices: wire.agent_prices.into_iter().enumerate().map(rule).collect::<Result<_, Violation>>()?,
        core_hour: amount("core_hour", wire.core_hour)?,
        memory_gb_hour: amount("memory_gb_hour", wire.memory_gb_hour)?,
        storage_gb_hour: amount("storage_gb_hour", wire.storage_gb_hour)?,
        network_mb: amount("network_mb", wire.network_mb)?,
    })
}

/// Shows prices.
pub fn to_prices(prices: &Prices) -> v1::Prices {
    let rules = prices.agent_prices.iter();
    v1::Prices {
        unit: prices.unit.as_str().to_owned(),
        agent_hour: prices.agent_hour.units(),
        agent_prices: rules
            .map(|(rule, price)| v1::AgentPrice { label: Some(to_label_rule(rule)), agent_hour: price.units() })
            .collect(),
        core_hour: prices.core_hour.units(),
        memory_gb_hour: prices.memory_gb_hour.units(),
        storage_gb_hour: prices.storage_gb_hour.units(),
        network_mb: prices.network_mb.units(),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::Timestamp;

    use super::*;

    fn said() -> v1::Budget {
        v1::Budget { name: "acme".into(), tenant: "acme".into(), unit: "usd".into(), cap: 5.5, ..v1::Budget::default() }
    }

    fn check_refused(wire: v1::Budget, field: &str) {
        assert_eq!(budget(wire).unwrap_err().field, field);
    }

    #[test]
    fn what_is_not_said_of_a_budget_has_its_default() {
        let budget = budget(said()).unwrap();
        assert_eq!((budget.warning_percent, budget.critical_percent), (75, 90));
        assert_eq!((budget.window, budget.action), (BudgetWindow::Total, BudgetAction::Hold));
        assert_eq!((budget.cap, budget.kind, budget.default_estimate), (Micros(5_500_000), None, None));
        // A low second threshold takes the first with it.
        assert_eq!(super::budget(v1::Budget { critical_percent: 50, ..said() }).unwrap().warning_percent, 50);
    }

    #[test]
    fn a_budget_of_no_use_is_refused_by_its_field() {
        check_refused(v1::Budget { name: String::new(), ..said() }, "name");
        check_refused(v1::Budget { tenant: "two words".into(), ..said() }, "tenant");
        check_refused(v1::Budget { kind: "two words".into(), ..said() }, "kind");
        check_refused(v1::Budget { unit: String::new(), ..said() }, "unit");
        for cap in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e13] {
            check_refused(v1::Budget { cap, ..said() }, "cap");
        }
        check_refused(v1::Budget { window: 9, ..said() }, "window");
        check_refused(v1::Budget { action: 9, ..said() }, "action");
        check_refused(v1::Budget { warning_percent: 101, ..said() }, "warning_percent");
        check_refused(v1::Budget { warning_percent: 95, ..said() }, "warning_percent");
        check_refused(v1::Budget { default_estimate: 6.0, ..said() }, "default_estimate");
        check_refused(v1::Budget { default_estimate: -1.0, ..said() }, "default_estimate");
    }

    #[test]
    fn budgets_and_prices_read_back_as_they_are_shown() {
        let wire = v1::Budget {
            kind: "infer".into(),
            window: v1::BudgetWindow::Month.into(),
            action: v1::BudgetAction::Refuse.into(),
            warning_percent: 10,
            critical_percent: 20,
            default_estimate: 0.25,
            ..said()
        };
        let read = budget(wire).unwrap();
        let view = BudgetView {
            budget: read.clone(),
            window_start: Timestamp::ZERO,
            window_end: None,
            spent: Micros::ZERO,
            reserved: Micros::ZERO,
            overrun: Micros::ZERO,
            level: Level::Ok,
        };
        assert_eq!(budget(to_budget(view, 3)).unwrap(), read);

        let label = v1::LabelRule { key: "gpu".into(), values: vec!["a100".into()], ..v1::LabelRule::default() };
        let agent_prices = vec![v1::AgentPrice { label: Some(label), agent_hour: 3.0 }];
        let read = prices(v1::Prices { core_hour: 0.04, agent_prices, ..v1::Prices::default() }).unwrap();
        assert_eq!(prices(to_prices(&read)).unwrap(), read);
        let nameless = vec![v1::AgentPrice { label: None, agent_hour: 3.0 }];
        let error = prices(v1::Prices { agent_prices: nameless, ..v1::Prices::default() }).unwrap_err();
        assert_eq!(error.field, "agent_prices[0].label");
    }
}
