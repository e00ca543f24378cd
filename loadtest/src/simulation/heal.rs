//! The end of a run: the faults stop, and the cluster has so long to be whole again.

use std::time::Duration;

use evenkeel_core::engine::AdminCommand;
use evenkeel_shared::{AdminState, AgentId, Health, Timestamp};

use super::{
    trace::About,
    world::{What, World},
};

/// Between two looks whether all is well.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A cluster that is whole stays so: it is watched for as long again.
const QUIET: Duration = Duration::from_secs(30);

impl World {
    /// From now on nothing goes wrong any more, and what was broken is mended.
    pub(super) fn chaos_ends(&mut self) {
        self.note(About::Fault, || "no more faults".to_owned());
        self.calm = true;
        self.troubles.all(self.now, self.now);
        self.disk.mend(self.now);
        self.clients.cut_until = self.now;
        self.clients.clock_ahead_us = 0;
        self.coordinator.crash_at = None;
        self.coordinator.paused_until = self.now;
        self.mend_links();
        for agent in &mut self.agents {
            agent.paused_until = self.now;
            agent.clock_ahead_us = 0;
        }
        for impostor in self.plan.agents..self.agents.len() {
            self.end_process(impostor);
        }
        self.later(LOOK_INTERVAL, What::HealCheck);
    }

    pub(super) fn heal_check(&mut self) {
        let calm_for = self.elapsed().saturating_sub(self.plan.chaos);
        let ill = self.ills();
        match (ill, self.healed_after) {
            (None, None) => {
                self.healed_after = Some(calm_for);
                self.note(About::Fault, || format!("all is well after {calm_for:?}"));
                self.later(LOOK_INTERVAL, What::HealCheck);
            }
            (None, Some(healed)) if calm_for >= healed + QUIET => self.over = true,
            (Some(ill), Some(healed)) if calm_for < healed + QUIET && is_grave(&ill) => {
                self.breach("stays-healed", None, ill);
                self.over = true;
            }
            (Some(ill), None) if calm_for >= self.plan.heal_within => {
                self.breach("heals-within-bound", None, format!("after {calm_for:?}: {ill}"));
                self.over = true;
            }
            _ => {
                self.resume_agents();
                self.later(LOOK_INTERVAL, What::HealCheck);
            }
        }
        if self.over {
            self.check_invariants();
        }
    }

    /// The operator wants every agent to be used again.
    fn resume_agents(&mut self) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        for (id, view) in core.engine.take_changed_agents() {
            match view {
                Some(view) => drop(core.views.insert(id, view)),
                None => drop(core.views.remove(&id)),
            }
        }
        let idle = |(id, view): (&AgentId, &evenkeel_core::model::AgentView)| {
            (view.admin != AdminState::Active).then(|| id.clone())
        };
        let resting: Vec<AgentId> = core.views.iter().filter_map(idle).collect();
        for id in resting {
            self.command(id, AdminCommand::Resume);
        }
    }

    /// What is not well yet, in words; the first thing that is found.
    fn ills(&mut self) -> Option<String> {
        let now = self.engine_time();
        let Some(core) = self.coordinator.core.as_ref() else { return Some("there is no coordinator".into()) };
        let status = core.engine.status(now);
        let live = status.queued + status.assigned + status.running + status.retry_wait;
        if live > 0 {
            let queued = status.queued;
            return Some(format!("{live} tasks are live, {queued} of them queued: {}", self.some_live_task(now)));
        }
        if self.disk.store.live_tasks() > 0 {
            return Some(format!("{} tasks are live in the store", self.disk.store.live_tasks()));
        }
        let healthy = status.agents_by_health[Health::Healthy as usize];
        if healthy as usize != self.plan.agents {
            let ill = self.some_ill_agent();
            return Some(format!("of {} agents {healthy} are healthy: {ill}", self.plan.agents));
        }
        if let Some(busy) = self.agents.iter().position(|agent| !agent.impostor && !agent.is_idle()) {
            return Some(format!("agent {busy} still holds something"));
        }
        if status.slots_used > 0 {
            return Some(format!("{} slots are set aside for nothing", status.slots_used));
        }
        if !self.is_quiet() {
            return Some("the coordinator has something to say".into());
        }
        let waits = self.clients.orders.iter().position(|order| !order.done);
        waits.map(|order| format!("the client of order {order} still waits"))
    }

    fn some_live_task(&self, now: Timestamp) -> String {
        let Some(core) = &self.coordinator.core else { return String::new() };
        let stored = self.disk.store.tasks().find(|row| row.end.is_none() && core.engine.task_is_live(row.task.id));
        let why = stored.and_then(|row| core.engine.explain(now, row.task.id, 3));
        why.map(|why| format!("{why:?}")).unwrap_or_default()
    }

    fn some_ill_agent(&mut self) -> String {
        self.resume_agents();
        let Some(core) = &self.coordinator.core else { return String::new() };
        let ill = core.views.values().find(|view| view.health != Health::Healthy);
        ill.map(|view| format!("{} is {}: {:?}", view.spec.id, view.health, view.conditions)).unwrap_or_default()
    }
}

/// Whether something may not happen to a cluster that is whole: all but an agent's passing strain.
fn is_grave(ill: &str) -> bool {
    !ill.starts_with("of ")
}
