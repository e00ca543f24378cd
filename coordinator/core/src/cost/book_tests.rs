use evenkeel_shared::{Cost, LabelRule};

use super::*;

/// The beginning of a minute.
const NOW: Timestamp = Timestamp::from_unix_millis(1_795_276_800_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn usd(units: f64) -> Micros {
    Micros::from_units(units)
}

fn minutes(n: u32) -> Timestamp {
    NOW.plus(STRETCH * n)
}

fn prices() -> Prices {
    Prices {
        agent_hour: usd(8.0),
        agent_prices: vec![(LabelRule::equals("gpu", "yes"), usd(80.0))],
        core_hour: usd(1.0),
        memory_gb_hour: usd(0.5),
        storage_gb_hour: usd(0.25),
        network_mb: usd(0.001),
        ..Prices::default()
    }
}

/// Ends attempts on an agent of four slots.
struct Fleet {
    book: Book,
    labels: Labels,
    had: Resources,
}

impl Fleet {
    fn with(prices: Prices) -> Self {
        let mut book = Book::default();
        book.set_prices(NOW, prices);
        Self { book, labels: Labels::new(), had: Resources::slots(1) }
    }

    fn ends(&mut self, now: Timestamp, task: u128, tenant: &str, run: Duration, usage: Option<&Usage>) {
        let attempt = EndedAttempt {
            task: TaskId::from_u128(task),
            tenant: &Tenant::new(tenant).unwrap(),
            kind: &Kind::new("infer").unwrap(),
            agent: &AgentId::new("a1").unwrap(),
            labels: &self.labels,
            slots: 4,
            had: &self.had,
            run,
            payload_bytes: 0,
            usage,
        };
        self.book.attempt(now, attempt);
    }

    /// Resources and reported, of this subject and unit.
    fn check(&self, subject: &str, unit: &str, resources: f64, reported: f64) {
        let entries = self.book.entries();
        let entry = entries.iter().find(|entry| entry.subject == subject && entry.unit.as_str() == unit);
        let found = entry.map(|entry| (entry.resources, entry.reported));
        assert_eq!(found, Some((usd(resources), usd(reported))), "{subject} in {unit}: {entries:?}");
    }
}

fn reported(costs: &[(&str, f64)]) -> Usage {
    let cost: Cost = costs.iter().map(|(unit, amount)| (CostUnit::new(unit).unwrap(), usd(*amount))).collect();
    Usage { cost, ..Usage::default() }
}

#[test]
fn an_attempt_costs_its_share_of_the_agent_and_what_it_had_reserved() {
    let mut fleet = Fleet::with(prices());
    fleet.had = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, ..Resources::slots(1) };
    fleet.had.custom.insert(STORAGE_RESOURCE.into(), 8);
    fleet.ends(NOW, 1, "acme", HOUR, None);
    // A quarter of the agent 2, two cores 2, four gigabytes of memory 2, eight of storage 2.
    for subject in ["tenant:acme", "kind:infer", "agent:a1", "fleet"] {
        fleet.check(subject, "usd", 8.0, 0.0);
    }
}

#[test]
fn what_was_measured_counts_before_what_was_reserved() {
    let mut fleet = Fleet::with(Prices { agent_hour: Micros::ZERO, ..prices() });
    fleet.had = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, ..Resources::slots(1) };
    let usage = Usage { cpu: HOUR / 2, memory_max_bytes: 1 << 30, cost: Cost::new() };
    fleet.ends(NOW, 1, "acme", HOUR, Some(&usage));
    fleet.check("fleet", "usd", 0.5 + 0.5, 0.0);
}

#[test]
fn the_first_rule_that_holds_prices_an_agent() {
    let mut fleet = Fleet::with(prices());
    fleet.labels.insert("gpu".into(), "yes".into());
    fleet.ends(NOW, 1, "acme", HOUR, None);
    fleet.check("fleet", "usd", 20.0, 0.0);
}

#[test]
fn what_executors_report_is_kept_by_unit_and_needs_no_prices() {
    let mut fleet = Fleet::with(Prices::default());
    fleet.ends(NOW, 1, "acme", HOUR, None);
    assert!(!fleet.book.is_priced() && fleet.book.entries().is_empty(), "it costs nothing");
    fleet.ends(NOW, 1, "acme", HOUR, Some(&reported(&[("usd", 0.5), ("tokens", 1_000.0)])));
    fleet.ends(NOW, 2, "acme", HOUR, Some(&reported(&[("usd", 0.25)])));
    fleet.check("tenant:acme", "usd", 0.0, 0.75);
    fleet.check("tenant:acme", "tokens", 0.0, 1_000.0);
    let of_prices = fleet.book.entries().into_iter().find(|entry| entry.unit == CostUnit::usd()).unwrap();
    assert_eq!((of_prices.attempts, of_prices.at), (2, NOW));
}

#[test]
fn a_stretch_is_handed_out_once_and_nothing_is_counted_twice() {
    let mut fleet = Fleet::with(prices());
    fleet.ends(NOW, 1, "acme", HOUR, None);
    fleet.book.task(NOW, &Tenant::new("acme").unwrap(), &Kind::new("infer").unwrap(), None, 1_000_000);
    assert_eq!(fleet.book.ends(), Some(minutes(1)));
    let entries = fleet.book.take(minutes(1));
    let fleet_entry = entries.iter().find(|entry| entry.subject == "fleet").unwrap();
    assert_eq!((fleet_entry.tasks, fleet_entry.resources), (1, usd(2.0 + 0.001)));
    assert!(fleet.book.take(minutes(1)).is_empty() && fleet.book.ends().is_none());
    fleet.ends(minutes(5), 2, "acme", HOUR, None);
    fleet.check("tenant:acme", "usd", 2.0, 0.0);
    assert_eq!(fleet.book.entries()[0].at, minutes(5));
}

#[test]
fn free_slots_of_connected_agents_are_idle() {
    let mut book = Fleet::with(prices()).book;
    assert!(book.pays_agents());
    let (id, labels) = (AgentId::new("a1").unwrap(), Labels::new());
    let agent = |since, slots_used| PaidAgent { id: &id, labels: &labels, since, slots: 4, slots_used };
    let idle = |book: &Book| book.entries().iter().find(|entry| entry.subject == "fleet").map(|entry| entry.idle);
    // Half an hour with three slots of four free, of which it was there for ten minutes only.
    book.pay(minutes(30), std::iter::once(agent(minutes(20), 1)));
    assert_eq!(idle(&book), Some(usd(1.0)));
    // Then another ten with none in use, and with all.
    book.pay(minutes(40), std::iter::once(agent(minutes(20), 0)));
    book.pay(minutes(50), std::iter::once(agent(minutes(20), 4)));
    assert_eq!(idle(&book), Some(Micros(1_000_000 + 1_333_333)));
}

#[test]
fn names_are_bounded_and_the_sum_is_kept() {
    let mut fleet = Fleet::with(prices());
    for n in 0..NAMES_MAX + 10 {
        fleet.ends(NOW, 1, &format!("t{n}"), HOUR, None);
    }
    let entries = fleet.book.entries();
    let tenants = entries.iter().filter(|entry| entry.subject.starts_with("tenant:"));
    assert_eq!(tenants.clone().count(), NAMES_MAX + 1);
    assert_eq!(tenants.map(|entry| entry.resources).sum::<Micros>(), usd(2.0 * (NAMES_MAX + 10) as f64));
    fleet.check("tenant:(other)", "usd", 20.0, 0.0);
}

#[test]
fn the_most_expensive_tasks_of_an_hour_come_first() {
    let mut fleet = Fleet::with(prices());
    for task in 1..=300 {
        fleet.ends(NOW, task, "acme", Duration::from_secs(task as u64), None);
    }
    // Two attempts are one task.
    fleet.ends(NOW, 100, "acme", Duration::from_secs(1_000), Some(&reported(&[("tokens", 5.0)])));
    let tasks = fleet.book.expensive(NOW);
    let subject = |task| format!("task:{}", TaskId::from_u128(task));
    assert_eq!(tasks[0].subject, subject(100));
    assert_eq!((tasks[0].attempts, tasks[1].unit.as_str()), (2, "tokens"));
    assert_eq!(tasks[2].subject, subject(300));
    assert!(tasks.iter().all(|entry| entry.subject != subject(1)), "the cheapest are dropped");
    assert!(fleet.book.expensive(NOW.plus(HOUR * 2)).is_empty());
    fleet.book.take(NOW.plus(HOUR * 2));
    fleet.ends(NOW.plus(HOUR * 2), 1, "acme", Duration::from_secs(1), None);
    assert_eq!(fleet.book.expensive(NOW.plus(HOUR * 2)).len(), 1);
}
