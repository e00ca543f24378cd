//! Which agents are there: the curve of the fleet, churn, breaks of connections, and those that a fault took.
//!
//! Pure: time is an argument, and what is random is drawn from the seed. Agents are numbered so that a fleet that shrinks
//! by its curve loses the last ones.

use fastrand::Rng;

use crate::{
    agent::Away,
    scenario::{Churn, Curve, Scenario},
    task_time::mix,
};

/// Draws that are made to find an agent that is there, at most: then there is hardly one.
const DRAWS_MAX: u32 = 16;
/// What keeps these draws apart from those of arrivals.
const PRESENCE_SALT: u64 = 0x9e51;

/// What an agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go.
    Leave(u32, Away),
    /// Come back.
    Come(u32),
    /// Your connection breaks; dial again.
    Break(u32),
}

/// The fleet's presence.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    curve: Curve,
    churn: Churn,
    breaks_per_s: f64,
    duration_s: f64,
    rng: Rng,
    /// Of each agent: whether it was told to be there, and until when it is away otherwise.
    agents: Vec<(bool, f64)>,
    next_departure_s: f64,
    next_break_s: f64,
}

impl Presence {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut presence = Self {
            curve: scenario.fleet.curve.clone(),
            churn: scenario.fleet.churn.clone(),
            breaks_per_s: scenario.network.agent_breaks_per_minute / 60.0,
            duration_s: scenario.duration_s,
            rng: Rng::with_seed(mix(seed ^ PRESENCE_SALT)),
            agents: vec![(false, 0.0); scenario.fleet.agents as usize],
            next_departure_s: 0.0,
            next_break_s: 0.0,
        };
        let wanted = presence.wanted(0.0);
        presence.agents[..wanted].fill((true, 0.0));
        presence.next_departure_s = presence.gap_s(presence.churn.per_minute / 60.0);
        presence.next_break_s = presence.gap_s(presence.breaks_per_s);
        presence
    }

    /// Nobody is there, and nobody comes.
    pub(crate) fn nobody(scenario: &Scenario, seed: u64) -> Self {
        let never = f64::INFINITY;
        let presence = Self::new(scenario, seed);
        Self { agents: Vec::new(), next_departure_s: never, next_break_s: never, ..presence }
    }

    /// Agents by the curve alone. One is always there: its fleet is never empty for good.
    fn wanted(&self, now_s: f64) -> usize {
        let share = self.curve.at((now_s / self.duration_s).min(1.0));
        ((self.agents.len() as f64 * share).round() as usize).max(1).min(self.agents.len())
    }

    fn gap_s(&mut self, per_s: f64) -> f64 {
        if per_s > 0.0 { -(1.0 - self.rng.f64()).ln() / per_s } else { f64::INFINITY }
    }

    /// The agent is there.
    pub(crate) fn is_there(&self, agent: u32) -> bool {
        self.agents.get(agent as usize).is_some_and(|(is_there, _)| *is_there)
    }

    /// What agents are told by now. Once the run is over nobody leaves any more, and those who were away come back.
    pub(crate) fn step(&mut self, now_s: f64, is_open: bool) -> Vec<Order> {
        let mut orders = Vec::new();
        while is_open && self.next_break_s <= now_s {
            self.next_break_s += self.gap_s(self.breaks_per_s);
            orders.extend(self.draw_present().map(Order::Break));
        }
        while is_open && self.next_departure_s <= now_s {
            self.next_departure_s += self.gap_s(self.churn.per_minute / 60.0);
            let orderly = self.rng.f64() < self.churn.orderly_share;
            if let Some(agent) = self.draw_present() {
                let how = if orderly { Away::Orderly } else { Away::Abrupt };
                orders.push(self.leave(agent, now_s + self.churn.away_s, how));
            }
        }
        let wanted = self.wanted(now_s);
        for (number, (is_there, back_s)) in (0..).zip(&mut self.agents) {
            let shall = (number as usize) < wanted && (*back_s <= now_s || !is_open);
            if shall != *is_there {
                *is_there = shall;
                orders.push(if shall { Order::Come(number) } else { Order::Leave(number, Away::Orderly) });
            }
        }
        orders
    }

    fn draw_present(&mut self) -> Option<u32> {
        let len = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        (0..DRAWS_MAX).map(|_| self.rng.u32(0..len)).find(|agent| self.agents[*agent as usize].0)
    }

    /// The agent is gone until then.
    pub(crate) fn leave(&mut self, agent: u32, back_s: f64, how: Away) -> Order {
        let (is_there, until_s) = &mut self.agents[agent as usize];
        *is_there = false;
        *until_s = until_s.max(back_s);
        Order::Leave(agent, how)
    }

    /// A share of the agents that `may` lets through, drawn at random, in their order.
    pub(crate) fn choose(&mut self, share: f64, may: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut chosen: Vec<u32> =
            (0..).zip(&self.agents).map(|(number, _)| number).filter(|agent| may(*agent)).collect();
        let count = (chosen.len() as f64 * share).round() as usize;
        self.rng.shuffle(&mut chosen);
        chosen.truncate(count);
        chosen.sort_unstable();
        chosen
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
