//! Limits at work, without an engine.

use std::collections::BTreeMap;

use evenkeel_shared::{AgentId, AgentSpec, Resources};
use proptest::prelude::*;

use super::*;
use crate::admission::LimitScope;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

fn of_tenant(name: &str) -> LimitScope {
    LimitScope { tenant: Some(tenant(name)), ..LimitScope::default() }
}

fn of_kind(name: &str) -> LimitScope {
    LimitScope { kind: Some(kind(name)), ..LimitScope::default() }
}

fn concurrency(name: &str, scope: LimitScope, max: u32) -> Limit {
    Limit { name: name.into(), scope, concurrency_max: Some(max), rate_per_s: None, burst: 1 }
}

fn rate(name: &str, scope: LimitScope, per_s: f64, burst: u32) -> Limit {
    Limit { name: name.into(), scope, concurrency_max: None, rate_per_s: Some(per_s), burst }
}

fn agent(id: &str, labels: &[(&str, &str)]) -> AgentSpec {
    AgentSpec {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..AgentSpec::of(AgentId::new(id).unwrap(), Resources::slots(1))
    }
}

/// Limits with their clock, agents and what is assigned.
struct Bench {
    gates: Gates,
    now: Timestamp,
    agents: BTreeMap<AgentIx, AgentSpec>,
    assigned: Vec<(AgentIx, Tenant, Kind, Option<LaneIx>)>,
}

impl Bench {
    fn new(limits: impl IntoIterator<Item = Limit>) -> Self {
        let mut bench = Self { gates: Gates::default(), now: START, agents: BTreeMap::new(), assigned: Vec::new() };
        for limit in limits {
            bench.put(limit);
        }
        bench
    }

    fn recount(&mut self) {
        let agents = self.agents.iter().map(|(ix, spec)| (*ix, spec));
        let assigned = self.assigned.iter_mut().map(|(agent, tenant, kind, lane)| (*agent, &*tenant, &*kind, lane));
        self.gates.recount(self.now, agents, assigned);
    }

    fn put(&mut self, limit: Limit) {
        limit.validate().unwrap();
        self.gates.put(self.now, limit);
        self.recount();
    }

    fn remove(&mut self, name: &str) {
        assert!(self.gates.remove(name));
        self.recount();
    }

    fn join(&mut self, n: u32, labels: &[(&str, &str)]) -> AgentIx {
        let (ix, spec) = (AgentIx(n), agent(&format!("a{n}"), labels));
        self.gates.set_agent(self.now, ix, &spec, 0);
        self.agents.insert(ix, spec);
        ix
    }

    fn may(&mut self, who: &str, what: &str) -> bool {
        let lane = self.gates.lane(self.now, &tenant(who), &kind(what));
        lane.is_none_or(|lane| self.gates.lane_shut(lane).is_none())
    }

    fn take_on(&mut self, who: &str, what: &str, agent: AgentIx) -> bool {
        if !self.may(who, what) || self.gates.agent_shut(agent).is_some() {
            return false;
        }
        let lane = self.gates.lane(self.now, &tenant(who), &kind(what));
        self.gates.take(self.now, lane, agent);
        self.assigned.push((agent, tenant(who), kind(what), lane));
        true
    }

    fn take(&mut self, who: &str, what: &str) -> bool {
        self.take_on(who, what, AgentIx(0))
    }

    fn give_back(&mut self, n: usize) {
        let (agent, _, _, lane) = self.assigned.remove(n);
        self.gates.give_back(self.now, lane, agent);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.gates.open_due(self.now);
    }
}

#[test]
fn a_concurrency_limit_holds_its_own_tenant_alone() {
    let mut bench = Bench::new([concurrency("l", of_tenant("t"), 2)]);
    assert!(bench.take("t", "k") && bench.take("t", "other") && !bench.take("t", "k"));
    assert!(bench.take("u", "k"));
    let turned = bench.gates.take_turned();
    assert_eq!(turned.len(), 1, "it says once that it is shut");
    assert!(turned[0].shut && turned[0].site == Site::Tenant(tenant("t"), None));
    bench.give_back(0);
    assert!(!bench.gates.take_turned()[0].shut && bench.take("t", "k"));
}

#[test]
fn a_task_needs_a_permit_of_every_limit_that_covers_it() {
    let both = LimitScope { kind: Some(kind("k")), ..of_tenant("t") };
    let mut bench = Bench::new([concurrency("a", of_kind("k"), 3), concurrency("b", both, 1)]);
    assert!(bench.take("t", "k") && !bench.take("t", "k"), "one of the pair");
    assert!(bench.take("u", "k") && bench.take("u", "k") && !bench.take("u", "k"), "three of the kind");
    assert!(bench.take("t", "other"));
    bench.give_back(0);
    assert!(bench.take("t", "k"), "both have a place again");
}

#[test]
fn each_has_its_own_and_a_limit_that_names_one_takes_its_place() {
    let each = LimitScope { each_tenant: true, ..LimitScope::default() };
    let mut bench = Bench::new([concurrency("each", each, 1), concurrency("named", of_tenant("big"), 3)]);
    for who in ["a", "b"] {
        assert!(bench.take(who, "k") && !bench.take(who, "k") && !bench.take(who, "other"));
    }
    assert_eq!((0..5).filter(|_| bench.take("big", "k")).count(), 3);
    bench.remove("named");
    assert!(!bench.take("big", "k"), "three are out, and now it is one of each");
    while !bench.assigned.is_empty() {
        bench.give_back(0);
    }
    assert!(bench.take("big", "k") && !bench.take("big", "k"));
}

#[test]
fn a_rate_limit_opens_by_itself_and_not_for_every_token() {
    let mut bench = Bench::new([rate("l", of_kind("k"), 1_000.0, 100)]);
    assert_eq!((0..200).filter(|_| bench.take("t", "k")).count(), 100);
    bench.gates.take_turned();
    let due = bench.gates.next_due().unwrap();
    assert_eq!(due, bench.now.plus(REFILL_PAUSE), "ten tokens come in ten milliseconds");
    bench.wait(9);
    assert!(!bench.take("t", "k"));
    bench.wait(1);
    assert_eq!((0..20).filter(|_| bench.take("t", "k")).count(), 10);
    assert_eq!(bench.gates.take_turned().iter().map(|turned| turned.shut).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_place_that_comes_free_does_not_shorten_the_wait_for_tokens() {
    let mut limit = rate("l", of_tenant("t"), 10.0, 1);
    limit.concurrency_max = Some(1);
    let mut bench = Bench::new([limit]);
    assert!(bench.take("t", "k") && bench.gates.next_due().is_none(), "it waits for the place");
    bench.wait(50);
    bench.give_back(0);
    assert!(!bench.take("t", "k"));
    bench.wait(50);
    assert!(bench.take("t", "k"));
}

#[test]
fn agents_of_a_label_share_and_the_place_that_comes_free_goes_to_who_freed_it() {
    let scope = LimitScope { agent_label: Some(("gpu".into(), "yes".into())), ..LimitScope::default() };
    let mut bench = Bench::new([concurrency("l", scope, 2)]);
    let [a, b, c] = [0, 1, 2].map(|n| bench.join(n, &[("gpu", "yes")]));
    let other = bench.join(3, &[]);
    assert!(bench.take_on("t", "k", a) && bench.take_on("t", "k", b));
    assert_eq!(bench.gates.take_turned()[0].site, Site::Group(0));
    assert!(!bench.take_on("t", "k", c) && bench.take_on("t", "k", other));
    bench.give_back(0);
    assert!(bench.gates.take_turned().is_empty() && bench.gates.agent_shut(b).is_some());
    assert!(bench.take_on("t", "k", a), "it is lent to the one that freed it");
    assert!(!bench.take_on("t", "k", a) && !bench.take_on("t", "k", b), "and to no more than one task");
    bench.give_back(0);
    bench.wait(20);
    assert!(!bench.gates.take_turned().last().unwrap().shut, "after a while it is anybody's");
    assert!(bench.take_on("t", "k", c) && !bench.take_on("t", "k", a));
}

#[test]
fn each_agent_has_its_own_and_takes_its_work_along_when_it_comes_back_with_other_labels() {
    let gpu = LimitScope { agent_label: Some(("gpu".into(), "yes".into())), ..LimitScope::default() };
    let each = LimitScope { each_agent: true, ..LimitScope::default() };
    let mut bench = Bench::new([concurrency("each", each, 2), concurrency("gpu", gpu, 1)]);
    let a = bench.join(0, &[("gpu", "yes")]);
    assert!(bench.take_on("t", "k", a) && !bench.take_on("t", "k", a));
    let plain = agent("a0", &[]);
    bench.gates.set_agent(bench.now, a, &plain, 1);
    assert!(bench.take_on("t", "k", a) && !bench.take_on("t", "k", a), "two of its own, and no group");
    let b = bench.join(1, &[("gpu", "yes")]);
    bench.wait(20);
    assert!(bench.take_on("t", "k", b), "what left the group does not count there");
}

#[test]
fn a_changed_limit_counts_what_runs_and_keeps_its_bucket() {
    let mut bench = Bench::new([]);
    (0..5).for_each(|_| assert!(bench.take("t", "k")));
    bench.put(concurrency("l", of_tenant("t"), 6));
    assert!(bench.take("t", "k") && !bench.take("t", "k"));
    bench.put(concurrency("l", of_tenant("t"), 3));
    (0..3).for_each(|_| bench.give_back(0));
    assert!(!bench.take("t", "k"), "three still run");
    bench.give_back(0);
    assert!(bench.take("t", "k"));
    bench.put(rate("r", of_tenant("t"), 1.0, 2));
    bench.remove("l");
    assert!(bench.take("t", "k") && bench.take("t", "k") && !bench.take("t", "k"));
    bench.put(rate("r", of_tenant("t"), 1.0, 2));
    assert!(!bench.take("t", "k"), "to put it again does not open it");
    bench.wait(1_000);
    assert!(bench.take("t", "k") && !bench.take("t", "k"), "nor fill it");
}

#[test]
fn idle_pairs_are_forgotten_and_busy_ones_are_not() {
    let each = LimitScope { each_tenant: true, ..LimitScope::default() };
    let mut bench = Bench::new([concurrency("each", each, 1)]);
    assert!(bench.take("busy", "k"));
    for n in 0..3 * LANES_KEPT {
        assert!(bench.may(&format!("t{n}"), "k"));
    }
    assert!(bench.gates.lanes.len() <= LANES_KEPT + 1 && bench.gates.gates.len() <= LANES_KEPT + 1);
    assert!(!bench.take("busy", "k"));
    bench.give_back(0);
    assert!(bench.take("busy", "k"));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u32, bool),
    Remove(u8),
    Take(u8, u8, u8),
    GiveBack(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..8u8, 0..8u8, 1..4u32, any::<bool>()).prop_map(|(n, scope, max, rate)| Step::Put(n, scope, max, rate)),
        1 => (0..8u8).prop_map(Step::Remove),
        8 => (0..3u8, 0..3u8, 0..4u8).prop_map(|(t, k, a)| Step::Take(t, k, a)),
        5 => any::<usize>().prop_map(Step::GiveBack),
        3 => (1..60u64).prop_map(Step::Wait),
    ]
}

fn scope(n: u8) -> LimitScope {
    let base = LimitScope::default();
    match n {
        0 => of_tenant("t0"),
        1 => of_kind("k0"),
        2 => LimitScope { kind: Some(kind("k1")), ..of_tenant("t1") },
        3 => LimitScope { each_tenant: true, ..base },
        4 => LimitScope { each_kind: true, ..base },
        5 => LimitScope { agent: Some(AgentId::new("a0").unwrap()), ..base },
        6 => LimitScope { agent_label: Some(("zone".into(), "x".into())), ..base },
        _ => LimitScope { each_agent: true, ..base },
    }
}

proptest! {
    /// Whatever is put, removed, taken and given back: no gate lets more through than it may, each counts exactly what is
    /// assigned under it, and one that could be open is open, or will be looked at.
    #[test]
    fn counts_are_exact(steps in prop::collection::vec(step(), 1..150)) {
        let mut bench = Bench::new([]);
        for n in 0..4 {
            bench.join(n, if n < 2 { &[("zone", "x")] } else { &[] });
        }
        for step in steps {
            match step {
                Step::Put(n, of, max, true) => bench.put(rate(&format!("l{n}"), scope(of), 50.0, max)),
                Step::Put(n, of, max, false) => bench.put(concurrency(&format!("l{n}"), scope(of), max)),
                Step::Remove(n) if bench.gates.find(&format!("l{n}")).is_some() => bench.remove(&format!("l{n}")),
                Step::Take(t, k, a) => drop(bench.take_on(&format!("t{t}"), &format!("k{k}"), AgentIx(a.into()))),
                Step::GiveBack(n) if !bench.assigned.is_empty() => bench.give_back(n % bench.assigned.len()),
                Step::Wait(ms) => bench.wait(ms),
                Step::Remove(_) | Step::GiveBack(_) => {}
            }
            let mut counted: BTreeMap<GateIx, u32> = BTreeMap::new();
            for (agent, _, _, lane) in &bench.assigned {
                for gate in bench.gates.covering(*lane, *agent) {
                    *counted.entry(gate).or_default() += 1;
                }
            }
            for (at, gate) in &bench.gates.gates {
                prop_assert_eq!(gate.in_use, counted.get(&GateIx(at)).copied().unwrap_or(0), "{:?}", gate);
                let may_open = gate.has_place() && gate.has_token(bench.now);
                prop_assert!(gate.shut || may_open, "it is open and used up: {:?}", gate);
                prop_assert!(!gate.shut || !may_open || gate.due.is_some(), "it is shut for ever: {:?}", gate);
            }
        }
    }
}
