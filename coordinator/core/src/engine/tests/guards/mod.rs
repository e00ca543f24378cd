//! Upstream quotas, circuit breakers, and slots that follow latency.

mod breakers;
mod quotas;
mod slots;

use std::sync::Arc;

use evenkeel_shared::{Code, FailureClass, QuotaKey, TaskId, TaskState};

use super::{super::*, fixture::*};
use crate::{
    admission::{BreakerId, breaker::BreakerState},
    model::{ClusterEventKind, Record},
};

fn key(name: &str) -> QuotaKey {
    QuotaKey::new(name).unwrap()
}

/// A task that draws on an upstream quota.
fn drawing(name: &str) -> TaskBuilder {
    let mut task = task("work");
    Arc::make_mut(&mut task.0.spec).requirements.quota_keys = vec![key(name)];
    task
}

/// An agent all of whose work draws on an upstream quota.
fn sharing(id: &str, name: &str) -> AgentBuilder {
    let mut agent = agent(id);
    agent.spec.quota_keys = vec![key(name)];
    agent
}

impl Cluster {
    fn used_up(&mut self, agent: &str, name: &str, retry_after_ms: u64) {
        let session = self.sessions[agent];
        let (key, retry_after) = (key(name), ms(retry_after_ms));
        self.handle(Event::QuotaExhausted { session, key, retry_after, reason: "429".into() });
    }

    fn waits_for(&self, task: TaskId) -> String {
        self.explain(task).waiting_for.unwrap_or_default()
    }

    fn breaker(&self, id: &BreakerId) -> Option<BreakerState> {
        self.engine.breaker_views(self.now).into_iter().find(|view| view.id == *id).map(|view| view.state)
    }

    /// Everything that is assigned fails so, again and again, until nothing is.
    fn fail_all(&mut self, class: FailureClass) {
        while let Some((&task, _)) = self.placements().iter().next() {
            self.fail(task, class);
        }
    }
}

#[test]
fn what_breakers_and_quotas_do_is_in_the_history() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    cluster.used_up("a", "openai", 5_000);
    let records: Vec<_> = cluster
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Record(record) => match &**record {
                Record::Allocation(it) => Some((it.what, it.subject.clone(), it.message.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let words = "the upstream quota `openai` is used up for 5.0s, says a: 429";
    assert_eq!(records, [("cooldown", "quota:openai".to_owned(), words.to_owned())]);
}

#[test]
fn without_guards_routing_goes_on_as_before() {
    let mut cluster = Cluster::with(Settings { guards: false, ..Settings::default() });
    cluster.join(agent("a").slots(30));
    cluster.used_up("a", "openai", 5_000);
    let task = cluster.submit(drawing("openai"));
    cluster.expect(task, TaskState::Assigned);
    let refused = cluster.control(ControlCommand::ReportQuota(key("openai"), ms(5))).unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    cluster.fail(task, FailureClass::QuotaExhausted);
    cluster.expect(task, TaskState::RetryWait);
}
