//! Tasks that are to be sent again, and batches that are not answered.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Instant,
};

/// What was sent and may have to be sent again. Bounded by the tasks in flight.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    now: VecDeque<u32>,
    later: BinaryHeap<Reverse<(Instant, u32)>>,
    batches: BTreeMap<u64, Vec<u32>>,
    batches_sent: u64,
}

impl Backlog {
    /// A task can be sent again now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.now.is_empty() || self.later.peek().is_some_and(|Reverse((at, _))| *at <= now)
    }

    /// Up to `max` tasks that can be sent again now.
    pub(crate) fn take_due(&mut self, now: Instant, max: usize) -> Vec<u32> {
        let mut due = Vec::new();
        while due.len() < max {
            match self.now.pop_front().or_else(|| self.pop_later(now)) {
                Some(number) => due.push(number),
                None => break,
            }
        }
        due
    }

    fn pop_later(&mut self, now: Instant) -> Option<u32> {
        let due = self.later.peek().is_some_and(|Reverse((at, _))| *at <= now);
        let Reverse((_, number)) = due.then(|| self.later.pop())??;
        Some(number)
    }

    /// The task is to be sent again, and not before `until`.
    pub(crate) fn put_off(&mut self, number: u32, until: Instant) {
        self.later.push(Reverse((until, number)));
    }

    /// These tasks are sent as one batch; the batch's id.
    pub(crate) fn sent(&mut self, numbers: Vec<u32>) -> u64 {
        self.batches_sent += 1;
        self.batches.insert(self.batches_sent, numbers);
        self.batches_sent
    }

    /// The tasks of a batch that is answered; `None` if no such batch waits for an answer.
    pub(crate) fn answered(&mut self, batch_id: u64) -> Option<Vec<u32>> {
        self.batches.remove(&batch_id)
    }

    /// The tasks of all batches that wait for an answer.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = u32> {
        self.batches.values().flatten().copied()
    }

    /// No answer comes any more: all tasks of unanswered batches are to be sent again, in their order.
    pub(crate) fn stream_lost(&mut self) {
        let unanswered = std::mem::take(&mut self.batches);
        self.now.extend(unanswered.into_values().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_not_answered_is_sent_again_in_order_and_what_was_is_not() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let first = backlog.sent(vec![0, 1]);
        backlog.sent(vec![2, 3]);
        backlog.sent(vec![4]);
        assert_eq!(backlog.answered(first), Some(vec![0, 1]));
        assert_eq!(backlog.answered(first), None);
        assert!(!backlog.is_due(now));
        backlog.stream_lost();
        assert_eq!(backlog.take_due(now, 2), [2, 3]);
        assert_eq!(backlog.take_due(now, 2), [4]);
        assert!(!backlog.is_due(now));
    }

    #[test]
    fn what_is_put_off_waits_for_its_time() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        backlog.put_off(7, later);
        backlog.put_off(6, now);
        assert_eq!(backlog.take_due(now, 9), [6]);
        assert!(!backlog.is_due(now) && backlog.is_due(later));
        assert_eq!(backlog.take_due(later, 9), [7]);
    }
}
