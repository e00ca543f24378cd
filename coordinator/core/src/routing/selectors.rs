//! Which agents match which kind and label rules, whatever they are busy with.
//!
//! A selector's set is made once, when the first task of its sort comes, and then kept as agents come and go. It is made
//! from the shortest list among those of the kind and of the label values that the rules ask for, so that a rule that
//! names one machine costs nothing in a large fleet. A rule that names no value, such as `!=` or `>`, is checked for each
//! agent of that list: a new sort of task with such rules alone costs one pass over the agents of its kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_shared::{AgentSpec, Kind, LabelOperator, LabelRule};
use slab::Slab;

use super::{agent_set::AgentSet, roster::Roster};
use crate::ix::AgentIx;

/// A kind and rules that must hold, sorted and without repeats, so that their order makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Criteria {
    kind: Kind,
    rules: Vec<LabelRule>,
}

impl Criteria {
    fn new(kind: &Kind, rules: &[LabelRule]) -> Self {
        let mut rules: Vec<_> = rules.iter().map(|rule| LabelRule { weight: 1, ..rule.clone() }).collect();
        rules.sort_unstable();
        rules.dedup();
        Self { kind: kind.clone(), rules }
    }

    fn match_spec(&self, spec: &AgentSpec) -> bool {
        takes(spec, &self.kind) && self.rules.iter().all(|rule| rule.matches(&spec.labels))
    }
}

/// Whether an agent takes tasks of a kind.
pub(super) fn takes(spec: &AgentSpec, kind: &Kind) -> bool {
    spec.kinds.binary_search(kind).is_ok()
}

#[derive(Debug)]
struct Selector {
    criteria: Criteria,
    agents: AgentSet,
    refs: u32,
}

/// Which selectors an agent matches.
#[derive(Clone, Copy)]
pub(super) struct Matched<'a> {
    first: u64,
    selectors: &'a Selectors,
    agent: AgentIx,
}

impl Matched<'_> {
    /// Whether it matches this one.
    pub(super) fn has(&self, at: usize) -> bool {
        if at < REMEMBERED { self.first >> at & 1 != 0 } else { self.selectors.agents(at).contains(self.agent) }
    }
}

fn remember(matched: &mut Vec<u64>, agent: AgentIx, at: usize, matches: bool) {
    if at >= REMEMBERED {
        return;
    }
    if matched.len() <= agent.at() {
        matched.resize(agent.at() + 1, 0);
    }
    let row = &mut matched[agent.at()];
    *row = *row & !(1 << at) | u64::from(matches) << at;
}

type Agents = BTreeSet<AgentIx>;

/// Selectors of which each agent remembers whether it matches.
const REMEMBERED: usize = u64::BITS as usize;

/// All selectors, and the agents by kind and by label.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    table: Slab<Selector>,
    /// By agent: which of the first selectors it matches, a bit each. Who asks of one agent for many selectors reads this
    /// instead of a line of memory for each.
    matched: Vec<u64>,
    by_criteria: BTreeMap<Criteria, usize>,
    by_kind: BTreeMap<Kind, KindEntry>,
    by_label: BTreeMap<String, BTreeMap<String, Agents>>,
}

#[derive(Debug, Default)]
struct KindEntry {
    agents: Agents,
    selectors: BTreeSet<usize>,
}

impl Selectors {
    /// The agents that match.
    pub(super) fn agents(&self, at: usize) -> &AgentSet {
        &self.table[at].agents
    }

    /// Which of all selectors an agent matches.
    pub(super) fn matched_by(&self, agent: AgentIx) -> Matched<'_> {
        Matched { first: self.matched.get(agent.at()).copied().unwrap_or(0), selectors: self, agent }
    }

    /// The selector's place in the table; made if it is new.
    pub(super) fn acquire(&mut self, kind: &Kind, rules: &[LabelRule], roster: &Roster) -> usize {
        let criteria = Criteria::new(kind, rules);
        if let Some(&at) = self.by_criteria.get(&criteria) {
            self.table[at].refs += 1;
            return at;
        }
        let agents = self.matching(&criteria, roster);
        let at = self.table.vacant_key();
        agents.iter().for_each(|agent| remember(&mut self.matched, agent, at, true));
        self.table.insert(Selector { criteria: criteria.clone(), agents, refs: 1 });
        self.by_kind.entry(kind.clone()).or_default().selectors.insert(at);
        self.by_criteria.insert(criteria, at);
        at
    }

    /// Gives a selector back; forgotten once nobody holds it.
    pub(super) fn release(&mut self, at: usize) {
        self.table[at].refs -= 1;
        if self.table[at].refs > 0 {
            return;
        }
        let Selector { criteria, agents, .. } = self.table.remove(at);
        agents.iter().for_each(|agent| remember(&mut self.matched, agent, at, false));
        self.by_criteria.remove(&criteria);
        if let Some(entry) = self.by_kind.get_mut(&criteria.kind) {
            entry.selectors.remove(&at);
            if entry.agents.is_empty() && entry.selectors.is_empty() {
                self.by_kind.remove(&criteria.kind);
            }
        }
    }

    /// Takes an agent up.
    pub(super) fn insert(&mut self, agent: AgentIx, spec: &Arc<AgentSpec>) {
        for kind in &spec.kinds {
            let entry = self.by_kind.entry(kind.clone()).or_default();
            entry.agents.insert(agent);
            for &at in &entry.selectors {
                let selector = &mut self.table[at];
                let matches = selector.criteria.match_spec(spec);
                selector.agents.set(agent, matches);
                remember(&mut self.matched, agent, at, matches);
            }
        }
        for (key, value) in &spec.labels {
            let values = self.by_label.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(agent);
        }
    }

    /// Forgets an agent that had this spec.
    pub(super) fn remove(&mut self, agent: AgentIx, spec: &AgentSpec) {
        for kind in &spec.kinds {
            let Some(entry) = self.by_kind.get_mut(kind) else { continue };
            entry.agents.remove(&agent);
            for &at in &entry.selectors {
                self.table[at].agents.remove(agent);
                remember(&mut self.matched, agent, at, false);
            }
            if entry.agents.is_empty() && entry.selectors.is_empty() {
                self.by_kind.remove(kind);
            }
        }
        for (key, value) in &spec.labels {
            let Some(values) = self.by_label.get_mut(key) else { continue };
            if let Some(agents) = values.get_mut(value) {
                agents.remove(&agent);
                if agents.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(key);
            }
        }
    }

    /// All agents that match.
    fn matching(&self, criteria: &Criteria, roster: &Roster) -> AgentSet {
        let of_kind: Vec<&Agents> = self.by_kind.get(&criteria.kind).map(|entry| &entry.agents).into_iter().collect();
        let by_rules = criteria.rules.iter().filter_map(|rule| self.named_by(rule));
        let lists = std::iter::once(of_kind).chain(by_rules);
        let shortest = lists.min_by_key(|lists| lists.iter().map(|agents| agents.len()).sum::<usize>());
        let matches =
            |agent: &AgentIx| roster.statics(*agent).is_some_and(|statics| criteria.match_spec(&statics.spec));
        shortest.into_iter().flatten().flatten().copied().filter(matches).collect()
    }

    /// The agents with a label value that the rule names, if it asks for named values.
    fn named_by(&self, rule: &LabelRule) -> Option<Vec<&Agents>> {
        if !matches!(rule.operator, LabelOperator::Equals | LabelOperator::In) {
            return None;
        }
        let values = self.by_label.get(&rule.key);
        Some(rule.values.iter().filter_map(|value| values?.get(value)).collect())
    }
}
