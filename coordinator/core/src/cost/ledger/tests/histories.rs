//! Random histories: whatever happens, in whatever order, no budget passes its cap, and the store can tell what was spent.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Begin {
        tenant: u8,
        kind: u8,
        units: u64,
        says_max: bool,
    },
    /// One of those that run ends with this share of what it had reserved.
    End {
        which: usize,
        percent: u64,
        lost: bool,
    },
    Pass {
        minutes: u64,
    },
    Put {
        which: u8,
        cap: u64,
        window: BudgetWindow,
    },
    Remove {
        which: u8,
    },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let window = prop_oneof![
        Just(BudgetWindow::Hour),
        Just(BudgetWindow::Day),
        Just(BudgetWindow::Month),
        Just(BudgetWindow::Total)
    ];
    let step = prop_oneof![
        12 => (0..3u8, 0..3u8, 1..8u64, any::<bool>())
            .prop_map(|(tenant, kind, units, says_max)| Step::Begin { tenant, kind, units, says_max }),
        10 => (any::<usize>(), 0..=100u64, any::<bool>())
            .prop_map(|(which, percent, lost)| Step::End { which, percent, lost }),
        2 => (1..90u64).prop_map(|minutes| Step::Pass { minutes }),
        2 => (0..9u8, 0..30u64, window).prop_map(|(which, cap, window)| Step::Put { which, cap, window }),
        1 => (0..9u8).prop_map(|which| Step::Remove { which }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..200)
}

/// Budget `which` of nine: of a tenant or any, of a kind or any.
fn one_of_nine(which: u8, cap: u64, window: BudgetWindow) -> Budget {
    let name = |of: u8| (of > 0).then(|| format!("n{}", of - 1));
    let (of_tenant, of_kind) = (name(which / 3), name(which % 3));
    Budget {
        tenant: of_tenant.map(|name| tenant(&name)),
        kind: of_kind.map(|name| kind(&name)),
        window,
        ..budget(&format!("b{which}"), cap)
    }
}

/// What a live attempt is known to hold, beside the ledger.
struct Live {
    tenant: Tenant,
    kind: Kind,
    task: TaskBudget,
    units: u64,
    assignment: AssignmentId,
    held: Reservation,
}

impl Ledger {
    /// Of the budgets in which this is reserved.
    fn names(&self, reservation: &Reservation) -> Vec<Arc<str>> {
        let accounts = reservation.0.iter().filter_map(|share| self.of_share(share));
        accounts.map(|account| account.name.clone()).collect()
    }
}

#[derive(Default)]
struct World {
    ledger: Ledger,
    live: Vec<Live>,
    /// What a store would hold.
    stored: BTreeMap<(String, Timestamp), BudgetSpent>,
    /// By budget and window: what settlements have said.
    sums: BTreeMap<(String, Timestamp), Micros>,
    assignments: u64,
    now: Timestamp,
}

impl World {
    fn store(&mut self, spent: Vec<BudgetSpent>) {
        for spent in spent {
            self.stored.insert((spent.budget.clone(), spent.window_start), spent);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin { tenant: of, kind: what, units, says_max } => {
                let (tenant, kind) = (tenant(&format!("n{of}")), kind(&format!("n{what}")));
                let mut task = estimate(units);
                if says_max {
                    std::mem::swap(&mut task.max, &mut task.estimate);
                }
                let short = self.ledger.check(self.now, &tenant, &kind, Some(&task));
                let reserved = self.ledger.reserve(self.now, &tenant, &kind, Some(&task));
                assert_eq!(short.is_none(), reserved.is_ok(), "checking and reserving agree");
                if let Ok(held) = reserved {
                    self.assignments += 1;
                    let assignment = AssignmentId(self.assignments);
                    self.live.push(Live { tenant, kind, task, units, assignment, held });
                }
            }
            Step::End { which, percent, lost } => {
                if self.live.is_empty() {
                    return;
                }
                let at = which % self.live.len();
                let Live { kind, units, held, .. } = self.live.swap_remove(at);
                let actual = Cost::from([(CostUnit::usd(), Micros(units * Micros::PER_UNIT * percent / 100))]);
                let counted = if lost { usd(units) } else { actual[&CostUnit::usd()] };
                let names = self.ledger.names(&held);
                let actual = if lost { Actual::Unknown(Some(&actual)) } else { Actual::Final(Some(&actual)) };
                let settled = self.ledger.settle(self.now, held, actual, &kind);
                for name in names {
                    let kept = self.ledger.get(&name).unwrap().window;
                    *self.sums.entry((name.to_string(), window::window(kept, self.now).start)).or_default() += counted;
                }
                self.store(settled.spent);
            }
            Step::Pass { minutes } => self.now = self.now.plus(Duration::from_secs(minutes * 60)),
            Step::Put { which, cap, window } => {
                // Of a new window, or of a lower cap, what runs may be over: that is no fault of a reservation.
                let name = format!("b{which}");
                let is_used = self.ledger.views(self.now).iter().any(|view| {
                    view.budget.name == name && (view.budget.window != window || view.budget.cap > usd(cap))
                });
                if !is_used {
                    let budget = one_of_nine(which, cap, window);
                    let since = self.ledger.since(&budget, AssignmentId(self.assignments + 1));
                    let spent = self.ledger.put(self.now, budget, since, &[]);
                    self.sums.entry((name, spent.window_start)).or_insert(spent.spent);
                    self.store(vec![spent]);
                }
            }
            Step::Remove { which } => {
                let name = format!("b{which}");
                self.ledger.remove(&name);
                self.stored.retain(|(budget, _), _| *budget != name);
                self.sums.retain(|(budget, _), _| *budget != name);
            }
            Step::Restart => {
                let accounts = self.ledger.accounts.iter();
                let declared: Vec<_> = accounts.map(|(_, account)| (account.budget.clone(), account.since)).collect();
                let spent: Vec<BudgetSpent> = self.stored.values().cloned().collect();
                let held: Vec<_> = self.live.iter().map(|live| self.ledger.names(&live.held)).collect();
                self.ledger = Ledger::default();
                for (budget, since) in declared {
                    self.ledger.put(self.now, budget, since, &spent);
                }
                for live in &mut self.live {
                    let Live { tenant, kind, task, assignment, .. } = &*live;
                    live.held = self.ledger.restore(self.now, tenant, kind, Some(task), *assignment);
                }
                let holds: Vec<_> = self.live.iter().map(|live| self.ledger.names(&live.held)).collect();
                let sorted = |all: Vec<Vec<Arc<str>>>| {
                    all.into_iter().map(|names| names.into_iter().collect::<BTreeSet<_>>()).collect::<Vec<_>>()
                };
                assert_eq!(sorted(holds), sorted(held), "each holds a part of what it held a part of");
            }
        }
    }

    fn check(&self) {
        for view in self.ledger.views(self.now) {
            let name = &view.budget.name;
            let key = (name.clone(), view.window_start);
            assert!(view.spent.plus(view.reserved) <= view.budget.cap, "{name} is over its cap: {view:?}");
            assert_eq!(view.overrun, Micros::ZERO, "{name}");
            assert_eq!(view.spent, self.sums.get(&key).copied().unwrap_or_default(), "what {name} has spent");
            let stored = self.stored.get(&key).map(|stored| stored.spent).unwrap_or_default();
            assert_eq!(view.spent, stored, "what is stored of {name}");
            let held = self.live.iter().filter_map(|live| live.held.amount(&self.ledger, name));
            assert_eq!(view.reserved, held.sum(), "what {name} has reserved");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_history_takes_a_budget_over_its_cap(steps in steps()) {
        let mut world = World { now: NOW, ..World::default() };
        for step in steps {
            world.step(step);
            world.check();
        }
    }
}
