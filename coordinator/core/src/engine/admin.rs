//! The operator's commands, and an agent's own wish to go.

use evenkeel_shared::{AdminState, AgentId, AttemptEnd, Error, Failure, FailureClass, SessionEpoch, StrategyConfig};

use super::{
    Engine,
    agent::{AgentTimer, Wanted},
    control::because,
    effects::{AgentMessage, Change, Effects, Message, Reply},
    event::{AdminCommand, RequestId},
};
use crate::{
    ix::{AgentIx, TaskIx},
    model::ClusterEventKind,
    retry::Setback,
};

impl Engine {
    pub(super) fn admin(
        &mut self,
        request: RequestId,
        id: &AgentId,
        command: AdminCommand,
        reason: String,
        out: &mut Effects,
    ) {
        let answer = match self.agents.find(id) {
            Some(agent) => {
                self.want(agent, command, reason, out);
                Ok(())
            }
            // It is away; what was wanted of it is kept for when it comes back, and can be changed until then.
            None if self.wanted.contains_key(id) => {
                let wanted = self.wanted_by(command, reason);
                self.say_wanted(id, &wanted, None, out);
                self.wanted.insert(id.clone(), wanted);
                Ok(())
            }
            None => Err(Error::not_found("agent", id.as_str())),
        };
        out.messages.push(Message::Reply { request, reply: Reply::Done(answer) });
    }

    fn want(&mut self, agent: AgentIx, command: AdminCommand, reason: String, out: &mut Effects) {
        let wanted = self.wanted_by(command, reason);
        let id = self.agents[agent].spec.id.clone();
        self.say_wanted(&id, &wanted, Some(agent), out);
        self.agents[agent].wanted = wanted;
        self.clear_agent_timer(agent, AgentTimer::Drain);
        if self.agents[agent].wanted.state != AdminState::Active {
            self.held.remove(agent);
        }
        self.repeat_drain(agent, out);
        self.refresh(agent);
        self.offer(agent, out);
    }

    fn wanted_by(&self, command: AdminCommand, reason: String) -> Wanted {
        match command {
            AdminCommand::Cordon => Wanted { state: AdminState::Cordoned, drain_deadline: None, reason },
            AdminCommand::Drain(time) => {
                let deadline = self.now.plus(time.unwrap_or(self.settings.drain_deadline));
                Wanted { state: AdminState::Draining, drain_deadline: Some(deadline), reason }
            }
            AdminCommand::Resume => Wanted::default(),
        }
    }

    fn say_wanted(&mut self, id: &AgentId, wanted: &Wanted, agent: Option<AgentIx>, out: &mut Effects) {
        out.changes.push(Change::Admin {
            agent: id.clone(),
            state: wanted.state,
            drain_deadline: wanted.drain_deadline,
            reason: wanted.reason.clone(),
        });
        let words = because(format!("{id} is {}", wanted.state), &wanted.reason);
        self.announce(ClusterEventKind::AgentAdmin, agent, words, out);
    }

    /// Tells an agent that is to drain that it is, now or when it registers.
    pub(super) fn repeat_drain(&mut self, agent: AgentIx, out: &mut Effects) {
        let wanted = &self.agents[agent].wanted;
        let Some(deadline) = wanted.drain_deadline else { return };
        let message = AgentMessage::Drain { deadline: Some(deadline), reason: wanted.reason.clone() };
        self.set_agent_timer(agent, AgentTimer::Drain, deadline);
        self.send(agent, message, out);
    }

    /// The operator's patience is over: what is left on the agent moves on.
    pub(super) fn drain_timer(&mut self, agent: AgentIx, out: &mut Effects) {
        let tasks: Vec<TaskIx> = self.agents[agent].holdings.values().filter_map(|holding| holding.task).collect();
        for task in tasks {
            let words = "its agent was drained, and the deadline passed";
            self.call_off(task, AttemptEnd::Cancelled, words, out);
            let failure = Failure::new(FailureClass::Retryable, words);
            self.follow_up(task, Setback::HandedBack, failure, out);
        }
    }

    /// The agent itself wants nothing new.
    pub(super) fn agent_draining(&mut self, session: SessionEpoch, reason: &str, out: &mut Effects) {
        let Some(agent) = self.heard(session) else { return };
        self.agents[agent].leaving = true;
        self.held.remove(agent);
        self.refresh(agent);
        let words = because(format!("{} drains", self.agents[agent].spec.id), reason);
        self.announce(ClusterEventKind::AgentAdmin, Some(agent), words, out);
        self.send(agent, AgentMessage::Drain { deadline: None, reason: "nothing new will come".into() }, out);
    }

    /// Takes effect with the next decision. What is queued keeps its order: no strategy has a say in that.
    pub(super) fn set_strategy(&mut self, request: RequestId, strategy: StrategyConfig, out: &mut Effects) {
        let answer = strategy.validate().map_err(Error::from);
        if answer.is_ok() {
            self.router.set_strategy(&strategy);
            out.changes.push(Change::Strategy(strategy.clone()));
            self.announce(ClusterEventKind::Strategy, None, format!("the strategy is {}", strategy.name()), out);
        }
        let changed = answer.is_ok();
        out.messages.push(Message::Reply { request, reply: Reply::Done(answer) });
        if changed {
            self.offer_all(out);
        }
    }
}
