//! What one agent holds.
//!
//! Assignments are numbered as they are made, so new ones go to the end, and the oldest, at the front, tend to be over
//! first: a sorted queue, whose few entries are a cache line or two in a row. A tree was rejected for its large nodes, each
//! several trips to memory at every assignment and result.

use std::{collections::VecDeque, sync::Arc};

use evenkeel_shared::{AssignmentId, TaskSpec};

use crate::{admission::gates::LaneIx, ix::TaskIx, routing::Room};

/// One assignment that an agent has. It ends with the agent's word or with the agent, not with the task: a task that was
/// cancelled still takes its place until the agent has stopped it.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    /// The task, as long as this is its live attempt.
    pub task: Option<TaskIx>,
    /// For what it sets aside.
    pub spec: Arc<TaskSpec>,
    /// Whether it has its place, or waits at the agent for one.
    pub room: Room,
    /// Whether it was known, when it was assigned, how long such attempts take on this agent.
    pub measured: bool,
    /// The limits of tasks at which it counts. `None`: no limit covers it.
    pub lane: Option<LaneIx>,
}

/// All holdings of an agent, in the order of their assignment.
#[derive(Debug, Default)]
pub(super) struct Holdings(VecDeque<(AssignmentId, Holding)>);

impl Holdings {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, assignment: &AssignmentId) -> Option<&Holding> {
        self.find(*assignment).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, assignment: &AssignmentId) -> Option<&mut Holding> {
        self.find(*assignment).ok().map(|at| &mut self.0[at].1)
    }

    /// Takes a holding in. An assignment is held once: a repeat takes the place of what was there.
    pub fn insert(&mut self, assignment: AssignmentId, holding: Holding) {
        match self.find(assignment) {
            Ok(at) => self.0[at].1 = holding,
            Err(at) => self.0.insert(at, (assignment, holding)),
        }
    }

    pub fn remove(&mut self, assignment: &AssignmentId) -> Option<Holding> {
        let at = self.find(*assignment).ok()?;
        self.0.remove(at).map(|(_, holding)| holding)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&AssignmentId, &Holding)> {
        self.0.iter().map(|(assignment, holding)| (assignment, holding))
    }

    pub fn values(&self) -> impl Iterator<Item = &Holding> {
        self.0.iter().map(|(_, holding)| holding)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Holding> {
        self.0.iter_mut().map(|(_, holding)| holding)
    }

    fn find(&self, assignment: AssignmentId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&assignment, |&(held, _)| held)
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::Kind;

    use super::*;

    #[test]
    fn they_are_in_the_order_of_assignment_whatever_the_order_of_arrival() {
        let holding = |task| {
            let spec = Arc::new(TaskSpec::of_kind(Kind::new("a").unwrap()));
            Holding { task: Some(TaskIx(task)), spec, room: Room::Now, measured: true, lane: None }
        };
        let mut holdings = Holdings::default();
        for at in [5, 9, 2, 7] {
            holdings.insert(AssignmentId(at), holding(at as u32));
        }
        assert!(holdings.remove(&AssignmentId(7)).is_some() && holdings.remove(&AssignmentId(7)).is_none());
        holdings.insert(AssignmentId(9), holding(10));
        let held: Vec<_> = holdings.iter().map(|(assignment, holding)| (assignment.0, holding.task)).collect();
        assert_eq!(held, [(2, Some(TaskIx(2))), (5, Some(TaskIx(5))), (9, Some(TaskIx(10)))]);
        assert!(holdings.get(&AssignmentId(3)).is_none());
    }
}
