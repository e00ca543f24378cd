//! Tasks that are to be sent again, and batches that are not answered.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Instant,
};

use evenkeel_proto::v1;

use super::broken_protocol;
use crate::error::LoadtestError;

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

    /// The tasks of a batch, each with its answer.
    ///
    /// # Errors
    /// If there are not as many answers as tasks; none were asked for where no such batch waits for any.
    pub(crate) fn answered(
        &mut self,
        batch: v1::SubmitBatch,
    ) -> Result<impl Iterator<Item = (u32, v1::SubmitResult)> + use<>, LoadtestError> {
        let numbers = self.batches.remove(&batch.batch_id).unwrap_or_default();
        if numbers.len() != batch.results.len() {
            let (asked, answered) = (numbers.len(), batch.results.len());
            return Err(broken_protocol(format!("a batch of {asked} tasks has {answered} answers")));
        }
        Ok(numbers.into_iter().zip(batch.results))
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
        let answers = |count| v1::SubmitBatch { batch_id: first, results: vec![v1::SubmitResult::default(); count] };
        let answered: Vec<u32> = backlog.answered(answers(2)).unwrap().map(|(number, _)| number).collect();
        assert_eq!(answered, [0, 1]);
        assert!(backlog.answered(answers(2)).is_err(), "they were answered once");
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
