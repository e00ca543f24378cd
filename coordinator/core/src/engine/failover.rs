//! What becomes of the work of an agent that is gone.
//!
//! A stream that ends is a death notice, and the agent's attempts wait only for a short grace for it to dial again. An
//! agent that stays connected but falls silent is given up when its lease runs out. In both cases its attempts end as
//! lost and their tasks move on, each counted as crashed if it held a place. When most of the fleet goes at once the
//! fault is likelier on this side: failover is then let through slowly, so that agents that come back find their work.

use evenkeel_shared::{AdminState, AttemptEnd, Code, Error, Failure, FailureClass, Health, TaskState, Timestamp};

use super::{
    Engine, Sabotage, Timer,
    agent::{Agent, AgentTimer},
    attempts::Ran,
    effects::{Effects, Message},
    limits,
};
use crate::{
    ix::{AgentIx, TaskIx},
    model::ClusterEventKind,
    retry::Setback,
    routing::Room,
};

impl Engine {
    /// The agent has no session any more.
    pub(super) fn detach(&mut self, agent: AgentIx, kind: ClusterEventKind, reason: &str, out: &mut Effects) {
        let fleet = self.agents.connected();
        self.agents.close_session(agent);
        for timer in [AgentTimer::Lease, AgentTimer::Ramp] {
            self.clear_agent_timer(agent, timer);
        }
        if self.agents[agent].health == Health::Unhealthy {
            self.unhealthy -= 1;
        }
        self.agents[agent].health = Health::Healthy;
        self.held.remove(agent);
        if !self.agents[agent].leaving {
            self.panic.lost(self.now, fleet);
        }
        self.refresh(agent);
        let words = format!("{}: {reason}", self.agents[agent].spec.id);
        self.announce(kind, Some(agent), words, out);
        self.watch_load_panic(out);
    }

    /// The agent goes in order, with nothing left to do: it is no longer part of the fleet.
    pub(super) fn leave(&mut self, agent: AgentIx, out: &mut Effects) {
        self.detach(agent, ClusterEventKind::AgentLeft, "left after draining", out);
        self.drop_dead_holdings(agent);
        self.forget(agent);
    }

    pub(super) fn agent_timer(&mut self, agent: AgentIx, timer: AgentTimer, out: &mut Effects) {
        match timer {
            AgentTimer::Lease => self.lease_timer(agent, out),
            AgentTimer::Grace if self.lacks(Sabotage::ReaperGuard) => self.reap_unguarded(agent, out),
            AgentTimer::Grace => self.give_up(agent, out),
            AgentTimer::Ramp => self.ramp_on(agent, out),
            AgentTimer::Drain => self.drain_timer(agent, out),
            AgentTimer::Ejection => self.end_ejections(out),
            AgentTimer::Forget => self.forget(agent),
        }
    }

    fn lease_timer(&mut self, agent: AgentIx, out: &mut Effects) {
        let ends = self.agents[agent].lease.expires_with(&self.lag);
        let Some(session) = self.agents[agent].session else { return };
        if ends > self.now {
            self.set_agent_timer(agent, AgentTimer::Lease, ends);
            return;
        }
        self.counters.leases_expired += 1;
        self.look_for_silence();
        let silence = self.now.since(self.agents[agent].last_heard_at);
        let words = format!("nothing was heard of it for {silence:.1?}");
        self.detach(agent, ClusterEventKind::AgentLost, &words, out);
        let error = Error::new(Code::DeadlineExceeded, format!("{words}; its work moves on, register again"));
        out.messages.push(Message::CloseSession { session, error });
        self.give_up(agent, out);
    }

    /// A lease has run out: is it one agent, or most of the fleet? This walks the fleet, so not for each of many.
    fn look_for_silence(&mut self) {
        let now = self.now;
        if self.panic.active(now) || now < self.silence_looked_at.plus(limits::SILENCE_LOOK_INTERVAL) {
            return;
        }
        self.silence_looked_at = now;
        let suspicious = |row: &Agent| now.since(row.last_heard_at) >= row.lease_settings.silence_of_all_but_one();
        let connected = self.agents.iter().filter(|(_, row)| row.session.is_some());
        let silent = connected.filter(|(_, row)| suspicious(row)).count();
        self.panic.silent(now, silent, self.agents.connected());
    }

    /// The agent is taken for dead: its work moves on.
    fn give_up(&mut self, agent: AgentIx, out: &mut Effects) {
        let forget_at = self.now.plus(self.settings.lost_agent_memory);
        self.set_agent_timer(agent, AgentTimer::Forget, forget_at);
        let row = &mut self.agents[agent];
        row.was_given_up = row.registered && !row.leaving;
        let tasks: Vec<TaskIx> = row.holdings.values().filter_map(|holding| holding.task).collect();
        self.drop_dead_holdings(agent);
        if self.panic.active(self.now) && !tasks.is_empty() {
            self.awaiting_failover.extend(tasks.iter().map(|&task| self.tasks[task].id));
            self.fail_over_next(out);
            return;
        }
        for task in tasks {
            self.fail_over(task, out);
        }
    }

    /// What a dead agent had that no task waits for.
    fn drop_dead_holdings(&mut self, agent: AgentIx) {
        let ended: Vec<_> =
            self.agents[agent].holdings.iter().filter(|(_, h)| h.task.is_none()).map(|(&a, _)| a).collect();
        for assignment in ended {
            self.free_place(agent, assignment);
        }
    }

    /// Lets the next of the waiting failovers through, as panic mode permits.
    pub(super) fn fail_over_next(&mut self, out: &mut Effects) {
        while let Some(&id) = self.awaiting_failover.front() {
            if let Err(at) = self.panic.permit(self.now) {
                // One timer is enough, however many agents are given up meanwhile.
                if !std::mem::replace(&mut self.failover_due, true) {
                    self.timers.insert(at, Timer::Failover);
                }
                return;
            }
            self.awaiting_failover.pop_front();
            let lost = self.tasks.find(id).filter(|&task| {
                let agent = self.tasks[task].current.map(|current| current.agent);
                agent.is_some_and(|agent| self.agents[agent].session.is_none())
            });
            if let Some(task) = lost {
                self.fail_over(task, out);
            }
        }
    }

    /// Takes a task from its dead agent.
    fn fail_over(&mut self, task: TaskIx, out: &mut Effects) {
        let Some(current) = self.tasks[task].current else { return };
        let holding = self.free_place(current.agent, current.attempt.assignment);
        let crashed = holding.is_some_and(|holding| holding.room == Room::Now);
        if crashed {
            let id = self.tasks[task].id;
            self.agents[current.agent].blamed_for.push(id);
        }
        let words = format!("moved on from {}", self.agents[current.agent].spec.id);
        self.announce_task(
            ClusterEventKind::Failover,
            Some(current.agent),
            Some(self.tasks[task].id),
            format!("task {} {words}", self.tasks[task].id),
            out,
        );
        self.lose_attempt(task, crashed, "its agent is gone", out);
    }

    /// The live attempt is lost. It counts as a crash if it may have run.
    pub(super) fn lose_attempt(&mut self, task: TaskIx, crashed: bool, why: &str, out: &mut Effects) {
        debug_assert!(matches!(self.tasks[task].state, TaskState::Assigned | TaskState::Running));
        self.counters.attempts_lost += 1;
        let failure = Failure::new(FailureClass::AgentLost, why);
        if crashed {
            self.tasks[task].crashes += 1;
        }
        self.end_attempt(task, AttemptEnd::AgentLost, Some(failure.clone()), Ran::default(), out);
        let setback = if crashed { Setback::Failed(FailureClass::AgentLost) } else { Setback::HandedBack };
        self.follow_up(task, setback, failure, out);
    }

    fn forget(&mut self, agent: AgentIx) {
        if !self.agents[agent].holdings.is_empty() {
            let at = self.now.plus(self.settings.lost_agent_memory);
            self.set_agent_timer(agent, AgentTimer::Forget, at);
            return;
        }
        for timer in [AgentTimer::Drain, AgentTimer::Ejection, AgentTimer::Grace] {
            self.clear_agent_timer(agent, timer);
        }
        if self.agents[agent].registered {
            self.router.remove(agent);
        }
        self.outliers.forget(self.now, agent);
        self.leave_quotas(agent);
        self.allocation.limits.remove_agent(self.now, agent, 0);
        self.allocation.statistics.agents.remove(agent);
        let row = self.agents.remove(agent);
        if row.wanted.state != AdminState::Active {
            self.wanted.insert(row.spec.id.clone(), row.wanted);
        }
    }

    pub(super) fn eject(&mut self, agent: AgentIx, until: Timestamp, out: &mut Effects) {
        self.counters.ejections += 1;
        self.note_ejected(agent, until);
        self.refresh(agent);
        let words = format!(
            "{} fails far more than others: gets nothing for {:.0?}",
            self.agents[agent].spec.id,
            until.since(self.now)
        );
        self.announce(ClusterEventKind::AgentEjected, Some(agent), words, out);
    }

    fn end_ejections(&mut self, out: &mut Effects) {
        while let Some(agent) = self.outliers.release_due(self.now) {
            self.try_ejected(agent);
            self.refresh(agent);
            self.offer(agent, out);
        }
    }

    /// Says when panic mode begins and ends.
    pub(super) fn watch_panic(&mut self, out: &mut Effects) {
        let panics = self.panic.active(self.now);
        if panics == self.was_panicking {
            return;
        }
        self.was_panicking = panics;
        let words =
            if panics { "most of the fleet is gone at once: failover is slowed down" } else { "failover is as usual" };
        self.announce(ClusterEventKind::PanicMode, None, words.to_owned(), out);
        if !panics {
            self.fail_over_next(out);
        }
    }
}
