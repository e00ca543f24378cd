//! What is reserved, spent and shown, step by step.

mod histories;

use std::time::Duration;

use evenkeel_shared::{Cost, CostUnit, Kind, TaskBudget, Tenant};

use super::*;
use crate::{
    cost::{BudgetAction, BudgetWindow, account::CALM},
    model::BudgetShare,
};

/// 2026-11-21 15:53:20.
const NOW: Timestamp = Timestamp::from_unix_millis(1_795_276_400_000);
/// The first assignment there is.
const FIRST: AssignmentId = AssignmentId(1);
const HOUR_END: Timestamp = Timestamp::from_unix_millis(1_795_276_800_000);

fn usd(units: u64) -> Micros {
    Micros(units * Micros::PER_UNIT)
}

fn cost(units: u64) -> Cost {
    Cost::from([(CostUnit::usd(), usd(units))])
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

fn budget(name: &str, cap: u64) -> Budget {
    Budget {
        name: name.into(),
        tenant: None,
        kind: None,
        unit: CostUnit::usd(),
        cap: usd(cap),
        window: BudgetWindow::Total,
        action: BudgetAction::Hold,
        warning_percent: 75,
        critical_percent: 90,
        default_estimate: None,
    }
}

fn estimate(units: u64) -> TaskBudget {
    TaskBudget { estimate: cost(units), ..TaskBudget::default() }
}

/// A ledger with the tasks of one tenant and kind.
struct Books {
    ledger: Ledger,
    now: Timestamp,
}

impl Books {
    fn with(budgets: impl IntoIterator<Item = Budget>) -> Self {
        let mut ledger = Ledger::default();
        for budget in budgets {
            ledger.put(NOW, budget, FIRST, &[]);
        }
        Self { ledger, now: NOW }
    }

    fn begin(&mut self, task: &TaskBudget) -> Result<Reservation, Shortage> {
        self.ledger.reserve(self.now, &tenant("acme"), &kind("infer"), Some(task))
    }

    fn end(&mut self, reservation: Reservation, actual: &Cost) -> Settled {
        self.ledger.settle(self.now, reservation, Actual::Final(Some(actual)), &kind("infer"))
    }

    /// Spent and reserved, in whole units.
    fn check(&self, name: &str, spent: u64, reserved: u64) {
        let view = self.view(name);
        assert_eq!((view.spent, view.reserved), (usd(spent), usd(reserved)), "spent and reserved of {name}");
    }

    fn view(&self, name: &str) -> BudgetView {
        self.ledger.views(self.now).into_iter().find(|view| view.budget.name == name).unwrap()
    }

    fn crossings(&mut self) -> Vec<(Level, Level)> {
        self.ledger.take_crossings().into_iter().map(|crossing| (crossing.from, crossing.to)).collect()
    }
}

#[test]
fn what_a_task_may_cost_is_reserved_and_what_it_did_cost_is_spent() {
    let mut books = Books::with([budget("all", 10)]);
    let first = books.begin(&estimate(4)).unwrap();
    let second = books.begin(&estimate(6)).unwrap();
    books.check("all", 0, 10);
    let shortage = books.begin(&estimate(1)).unwrap_err();
    assert_eq!((shortage.left, shortage.until), (usd(0), None));
    assert_eq!(shortage.to_string(), "budget `all` has 0 of 10 usd left");

    let settled = books.end(first, &cost(3));
    books.check("all", 3, 6);
    assert!(settled.opened, "1 is left over");
    assert_eq!(settled.spent, [books.ledger.accounts[0].record()]);
    assert!(books.begin(&estimate(1)).is_ok());
    assert!(!books.end(second, &cost(6)).opened, "all of it was used");
}

#[test]
fn the_most_a_task_may_cost_counts_before_its_estimate_the_default_and_the_mean() {
    let mut books = Books::with([budget("all", 1_000)]);
    let nothing = TaskBudget::default();
    let reserved = |books: &mut Books, task: &TaskBudget| {
        let reservation = books.begin(task).unwrap();
        let amount = reservation.amount(&books.ledger, "all").unwrap();
        (reservation, amount)
    };
    let (unknown, amount) = reserved(&mut books, &nothing);
    assert_eq!(amount, usd(0), "nothing is known of the kind");
    books.end(unknown, &cost(7));
    let (_, amount) = reserved(&mut books, &nothing);
    assert_eq!(amount, usd(7), "the mean of the kind");
    books.ledger.put(NOW, Budget { default_estimate: Some(usd(2)), ..budget("all", 1_000) }, FIRST, &[]);
    let (_, amount) = reserved(&mut books, &nothing);
    assert_eq!(amount, usd(2), "the default of the budget");
    let (_, amount) = reserved(&mut books, &estimate(3));
    assert_eq!(amount, usd(3), "the estimate");
    let (_, amount) = reserved(&mut books, &TaskBudget { max: cost(5), ..estimate(3) });
    assert_eq!(amount, usd(5), "the most");
}

#[test]
fn budgets_nest_and_a_task_reserves_in_all_or_none() {
    let of_tenant = Budget { tenant: Some(tenant("acme")), ..budget("acme", 10) };
    let of_both =
        Budget { kind: Some(kind("infer")), ..Budget { name: "both".into(), cap: usd(3), ..of_tenant.clone() } };
    let of_other = Budget { tenant: Some(tenant("other")), ..budget("other", 1) };
    let of_other_kind = Budget { kind: Some(kind("embed")), ..budget("embed", 1) };
    let mut books = Books::with([budget("all", 100), of_tenant, of_both, of_other, of_other_kind]);

    let shortage = books.begin(&estimate(4)).unwrap_err();
    assert_eq!(&*shortage.budget, "both");
    assert_eq!(shortage.to_string(), "budget `both` has a cap of 3 usd, and the task may cost 4");
    for name in ["all", "acme", "both", "other", "embed"] {
        books.check(name, 0, 0);
    }
    let reservation = books.begin(&estimate(3)).unwrap();
    for (name, reserved) in [("all", 3), ("acme", 3), ("both", 3), ("other", 0), ("embed", 0)] {
        books.check(name, 0, reserved);
    }
    assert_eq!(books.end(reservation, &cost(2)).spent.len(), 3);
    for (name, spent) in [("all", 2), ("acme", 2), ("both", 2), ("other", 0), ("embed", 0)] {
        books.check(name, spent, 0);
    }
}

#[test]
fn what_costs_more_than_was_reserved_is_shown_and_blocks() {
    let mut books = Books::with([budget("all", 10)]);
    let reservation = books.begin(&estimate(1)).unwrap();
    books.end(reservation, &cost(12));
    books.check("all", 12, 0);
    assert_eq!(books.view("all").overrun, usd(11));
    assert_eq!(books.view("all").level, Level::Exhausted);
    assert!(books.begin(&TaskBudget::default()).is_err(), "not even what reserves nothing");
    // A higher cap lets it go on.
    books.ledger.put(NOW, budget("all", 100), FIRST, &[]);
    assert!(books.begin(&estimate(88)).is_ok());
}

#[test]
fn an_attempt_of_which_nobody_knows_the_end_has_spent_what_it_had_reserved() {
    let settle = |said: Option<&Cost>| {
        let mut books = Books::with([budget("all", 10)]);
        let reservation = books.begin(&estimate(3)).unwrap();
        books.ledger.settle(NOW, reservation, Actual::Unknown(said), &kind("infer"));
        books.view("all").spent
    };
    assert_eq!(settle(None), usd(3));
    assert_eq!(settle(Some(&cost(1))), usd(3), "it may have spent more since");
    assert_eq!(settle(Some(&cost(5))), usd(5));
}

#[test]
fn a_window_begins_with_nothing_spent_and_with_what_is_still_reserved() {
    let mut books = Books::with([Budget { window: BudgetWindow::Hour, ..budget("hourly", 10) }]);
    let spent = books.begin(&estimate(4)).unwrap();
    books.end(spent, &cost(4));
    let running = books.begin(&estimate(5)).unwrap();
    let shortage = books.begin(&estimate(2)).unwrap_err();
    assert_eq!(shortage.until, Some(HOUR_END));
    assert_eq!(books.ledger.next_roll(), Some(HOUR_END));

    books.now = HOUR_END;
    assert!(books.ledger.check(HOUR_END, &tenant("acme"), &kind("infer"), Some(&estimate(5))).is_none());
    books.check("hourly", 0, 5);
    assert!(books.ledger.roll(HOUR_END) && !books.ledger.roll(HOUR_END));
    books.check("hourly", 0, 5);
    let settled = books.end(running, &cost(5));
    assert_eq!(settled.spent[0].window_start, HOUR_END, "spent in the window in which it ended");
    books.check("hourly", 5, 0);
    assert!(books.begin(&estimate(5)).is_ok());
    assert!(books.begin(&estimate(1)).is_err());
}

#[test]
fn a_restart_goes_on_where_it_ended() {
    let hourly = Budget { window: BudgetWindow::Hour, ..budget("hourly", 10) };
    let mut before = Books::with([hourly.clone()]);
    let reservation = before.begin(&estimate(6)).unwrap();
    let recorded = before.end(reservation, &cost(6)).spent;

    let mut after = Books::with([]);
    after.ledger.put(NOW, hourly.clone(), FIRST, &recorded);
    after.check("hourly", 6, 0);
    // The attempts that were live are live still, even if a lower cap was declared.
    let restored = after.ledger.restore(NOW, &[share("hourly", 5)], FIRST);
    after.check("hourly", 6, 5);
    after.end(restored, &cost(5));
    after.check("hourly", 11, 0);

    let mut next_hour = Books::with([]);
    next_hour.now = HOUR_END;
    next_hour.ledger.put(HOUR_END, hourly, FIRST, &recorded);
    next_hour.check("hourly", 0, 0);
}

fn share(budget: &str, units: u64) -> BudgetShare {
    BudgetShare { budget: budget.into(), amount: usd(units) }
}

#[test]
fn a_restart_holds_what_was_reserved_whatever_such_a_task_would_reserve_by_then() {
    let by_default = |units| Budget { default_estimate: Some(usd(units)), ..budget("default", 100) };
    let nothing = TaskBudget::default();
    let mut before = Books::with([by_default(7), budget("mean", 100)]);
    let known = before.begin(&estimate(3)).unwrap();
    before.end(known, &cost(3));
    let held = before.begin(&nothing).unwrap().shares(&before.ledger);
    assert_eq!(held, [share("default", 7), share("mean", 3)]);

    // No mean is known by then, the default is another, and one of the two covers somebody else.
    let of_other = Budget { tenant: Some(tenant("other")), ..budget("mean", 100) };
    let mut after = Books::with([by_default(1), of_other]);
    let restored = after.ledger.restore(NOW, &held, FIRST);
    assert_eq!(restored.shares(&after.ledger), held);
    after.check("default", 0, 7);
    after.check("mean", 0, 3);
    after.end(restored, &cost(2));
    after.check("default", 2, 0);
    after.check("mean", 2, 0);
    assert_eq!((after.view("default").overrun, after.view("mean").overrun), (usd(0), usd(0)));
}

#[test]
fn what_covers_an_attempt_of_which_nothing_is_expected_is_kept_too() {
    let mut before = Books::with([budget("all", 10)]);
    let held = before.begin(&TaskBudget::default()).unwrap().shares(&before.ledger);
    assert_eq!(held, [share("all", 0)]);
    let mut after = Books::with([budget("all", 10)]);
    let restored = after.ledger.restore(NOW, &held, FIRST);
    after.end(restored, &cost(4));
    after.check("all", 4, 0);
}

#[test]
fn a_share_of_a_budget_that_is_gone_or_another_one_is_not_held() {
    let held = [share("gone", 1), share("anew", 2), share("same", 3)];
    let mut after = Books::with([budget("same", 10)]);
    // It was removed and put again after the assignment.
    after.ledger.put(NOW, budget("anew", 10), AssignmentId(8), &[]);
    let restored = after.ledger.restore(NOW, &held, AssignmentId(7));
    assert_eq!(restored.shares(&after.ledger), [share("same", 3)]);
    after.check("anew", 0, 0);
}

#[test]
fn what_an_earlier_version_did_not_write_down_is_reserved_anew() {
    let mut after = Books::with([budget("old", 10)]);
    after.ledger.put(NOW, budget("new", 10), AssignmentId(8), &[]);
    let (tenant, kind) = (tenant("acme"), kind("infer"));
    let restored = after.ledger.restore_unwritten(NOW, &tenant, &kind, Some(&estimate(5)), AssignmentId(7));
    assert_eq!(restored.shares(&after.ledger), [share("old", 5)]);
}

#[test]
fn levels_are_announced_once_on_the_way_up_and_after_a_calm_on_the_way_down() {
    use Level::{Critical, Exhausted, Ok, Warning};
    let mut books = Books::with([budget("all", 100)]);
    let base = books.begin(&estimate(74)).unwrap();
    assert_eq!(books.crossings(), []);
    let step = books.begin(&estimate(1)).unwrap();
    assert_eq!(books.crossings(), [(Ok, Warning)]);
    // To and fro over the threshold says nothing more.
    books.end(step, &Cost::new());
    let step = books.begin(&estimate(1)).unwrap();
    assert_eq!(books.crossings(), []);
    let more = books.begin(&estimate(15)).unwrap();
    let rest = books.begin(&estimate(10)).unwrap();
    assert_eq!(books.crossings(), [(Warning, Critical), (Critical, Exhausted)]);
    assert_eq!(books.end(rest, &Cost::new()).crossings, [], "too soon after the last word");
    books.now = NOW.plus(CALM);
    assert_eq!(books.end(step, &Cost::new()).crossings.len(), 1, "89 of 100 is not exhausted");
    books.end(more, &Cost::new());
    books.now = NOW.plus(CALM * 2);
    let down = books.end(base, &Cost::new()).crossings;
    assert_eq!((down[0].from, down[0].to), (Warning, Ok));
    assert_eq!(down[0].to_string(), "budget `all` is ok, was warning: 0 of 100 usd spent or reserved");
}

#[test]
fn refusing_budgets_say_so_and_the_last_to_open_is_named() {
    let hourly = Budget { window: BudgetWindow::Hour, ..budget("hourly", 1) };
    let daily = Budget { window: BudgetWindow::Day, ..budget("daily", 1) };
    let mut books = Books::with([daily, hourly.clone()]);
    let all = books.begin(&estimate(1)).unwrap();
    assert_eq!(&*books.begin(&estimate(1)).unwrap_err().budget, "daily");
    books.ledger.put(NOW, Budget { action: BudgetAction::Refuse, ..hourly }, FIRST, &[]);
    let shortage = books.begin(&estimate(1)).unwrap_err();
    assert!(shortage.refuse && &*shortage.budget == "hourly");
    books.end(all, &Cost::new());
}

#[test]
fn a_budget_that_is_put_again_keeps_what_is_spent_unless_its_unit_changes() {
    let mut books = Books::with([budget("all", 10)]);
    let first = books.begin(&estimate(2)).unwrap();
    books.end(first, &cost(2));
    let live = books.begin(&estimate(3)).unwrap();
    let record = books.ledger.put(NOW, Budget { window: BudgetWindow::Day, ..budget("all", 20) }, FIRST, &[]);
    assert_eq!((record.spent, record.window_start), (usd(2), window::window(BudgetWindow::Day, NOW).start));
    books.check("all", 2, 3);
    let tokens = Budget { unit: CostUnit::new("tokens").unwrap(), ..budget("all", 20) };
    let record = books.ledger.put(NOW, tokens, FIRST, &[]);
    assert_eq!(record.spent, usd(0));
    assert_eq!(books.end(live, &cost(3)).spent, [], "its share was of the old one");
    books.check("all", 0, 0);
    assert!(books.ledger.remove("all") && !books.ledger.remove("all"));
    assert!(books.ledger.is_empty() && books.ledger.index.covering(&tenant("acme"), &kind("infer")).next().is_none());
}
