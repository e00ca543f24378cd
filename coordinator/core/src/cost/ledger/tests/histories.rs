//! Random histories: whatever happens, in whatever order, no budget passes its cap, and the store can tell what was spent.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Begin {
        tenant: u8,
        kind: u8,
        /// None: it says nothing, and reserves by the mean of its kind.
        units: Option<u64>,
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
    /// The budget of this number, for others if its scope is another one than it was.
    Put {
        which: u8,
        scope: u8,
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
        12 => (0..3u8, 0..3u8, prop::option::of(1..8u64), any::<bool>())
            .prop_map(|(tenant, kind, units, says_max)| Step::Begin { tenant, kind, units, says_max }),
        10 => (any::<usize>(), 0..=100u64, any::<bool>())
            .prop_map(|(which, percent, lost)| Step::End { which, percent, lost }),
        2 => (1..90u64).prop_map(|minutes| Step::Pass { minutes }),
        2 => (0..9u8, 0..9u8, 0..30u64, window)
            .prop_map(|(which, scope, cap, window)| Step::Put { which, scope, cap, window }),
        1 => (0..9u8).prop_map(|which| Step::Remove { which }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..200)
}

/// Budget `which`, of one of nine scopes: of a tenant or any, of a kind or any.
fn of_scope(which: u8, scope: u8, cap: u64, window: BudgetWindow) -> Budget {
    let name = |of: u8| (of > 0).then(|| format!("n{}", of - 1));
    let (of_tenant, of_kind) = (name(scope / 3), name(scope % 3));
    Budget {
        tenant: of_tenant.map(|name| tenant(&name)),
        kind: of_kind.map(|name| kind(&name)),
        window,
        ..budget(&format!("b{which}"), cap)
    }
}

/// What a live attempt is known to hold, beside the ledger.
struct Live {
    kind: Kind,
    assignment: AssignmentId,
    held: Reservation,
    /// As a store would have it.
    written: Vec<BudgetShare>,
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
                let mut task = units.map(estimate).unwrap_or_default();
                if says_max {
                    std::mem::swap(&mut task.max, &mut task.estimate);
                }
                let short = self.ledger.check(self.now, &tenant, &kind, Some(&task));
                let reserved = self.ledger.reserve(self.now, &tenant, &kind, Some(&task));
                assert_eq!(short.is_none(), reserved.is_ok(), "checking and reserving agree");
                if let Ok(held) = reserved {
                    self.assignments += 1;
                    let assignment = AssignmentId(self.assignments);
                    let written = held.shares(&self.ledger);
                    self.live.push(Live { kind, assignment, held, written });
                }
            }
            Step::End { which, percent, lost } => {
                if self.live.is_empty() {
                    return;
                }
                let at = which % self.live.len();
                let Live { kind, held, .. } = self.live.swap_remove(at);
                let shares = held.shares(&self.ledger);
                // No more than was reserved of any.
                let least = shares.iter().map(|share| share.amount.0).min().unwrap_or(0);
                let cost = Micros(least * percent / 100);
                let said = Cost::from([(CostUnit::usd(), cost)]);
                let actual = if lost { Actual::Unknown(Some(&said)) } else { Actual::Final(Some(&said)) };
                let settled = self.ledger.settle(self.now, held, actual, &kind);
                for BudgetShare { budget, amount } in shares {
                    let kept = self.ledger.get(&budget).unwrap().window;
                    let of_window = (budget.to_string(), window::window(kept, self.now).start);
                    *self.sums.entry(of_window).or_default() += if lost { amount } else { cost };
                }
                self.store(settled.spent);
            }
            Step::Pass { minutes } => self.now = self.now.plus(Duration::from_secs(minutes * 60)),
            Step::Put { which, scope, cap, window } => {
                // Of a new window, or of a lower cap, what runs may be over: that is no fault of a reservation.
                let name = format!("b{which}");
                let is_used = self.ledger.views(self.now).iter().any(|view| {
                    view.budget.name == name && (view.budget.window != window || view.budget.cap > usd(cap))
                });
                if !is_used {
                    let budget = of_scope(which, scope, cap, window);
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
            Step::Restart => self.restart(),
        }
    }

    /// All is forgotten but what is declared and stored: what is spent and reserved is as before.
    fn restart(&mut self) {
        let before = self.ledger.views(self.now);
        let held = |world: &Self| -> Vec<_> { world.live.iter().map(|live| live.held.shares(&world.ledger)).collect() };
        let held_before = held(self);
        let accounts = self.ledger.accounts.iter();
        let declared: Vec<_> = accounts.map(|(_, account)| (account.budget.clone(), account.since)).collect();
        let spent: Vec<BudgetSpent> = self.stored.values().cloned().collect();
        self.ledger = Ledger::default();
        for (budget, since) in declared {
            self.ledger.put(self.now, budget, since, &spent);
        }
        for live in &mut self.live {
            live.held = self.ledger.restore(self.now, &live.written, live.assignment);
        }
        assert_eq!(held(self), held_before, "each holds what it held");
        assert_eq!(self.ledger.views(self.now), before);
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
