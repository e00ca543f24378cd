//! What must hold between quotas, breakers and what they act on; see [`crate::engine::invariants`].

use super::super::Engine;

impl Engine {
    /// Whatever is not as it should be, in words. Walks everything.
    pub(in crate::engine) fn check_guards(&self, wrong: &mut Vec<String>) {
        if !self.guarding.enabled {
            return;
        }
        for (ix, row) in self.agents.iter() {
            let (id, shut) = (&row.spec.id, self.agent_closed(ix));
            // Of a key that many share some are looked at with a later event.
            if row.quota_shut != shut.is_some() && !self.guarding.unseen.contains(&ix) {
                wrong.push(format!("{id} is shut by its quotas: {}, and they say {shut:?}", row.quota_shut));
            }
            for key in &row.spec.quota_keys {
                if !self.guarding.members.get(key).is_some_and(|members| members.contains(&ix)) {
                    wrong.push(format!("{id} draws on {key}, and is not found by it"));
                }
            }
        }
        for class in self.queue.classes() {
            let Some((kind, _)) = self.router.asks_for(class) else { continue };
            let shut = self.allocation.limits.kind_shut(kind) || self.guards_shut(class);
            if self.allocation.is_class_shut(class) != shut {
                wrong.push(format!("class {class} of kind {kind} is shut: {shut}, and the queue has it otherwise"));
            }
        }
        let armed = self.guarding.timer.map(|(at, _)| at);
        if let Some(due) = self.guarding.guards.next_due()
            && armed.is_none_or(|at| at > due)
        {
            wrong.push(format!("a guard is due at {due}, and nobody calls: {armed:?}"));
        }
    }
}
