//! Which tasks have ended, and when each was submitted.

use std::time::Instant;

use super::Trouble;

/// One bit and one time for each task.
pub(super) struct Marks {
    ended: Vec<u64>,
    /// Nanoseconds since `since`.
    submitted: Vec<u64>,
    since: Instant,
    open: u64,
}

impl Marks {
    /// For so many tasks, none of which is submitted.
    pub(super) fn new(tasks: u64) -> Self {
        let tasks = usize::try_from(tasks).unwrap_or(usize::MAX);
        Self { ended: vec![0; tasks.div_ceil(64)], submitted: vec![0; tasks], since: Instant::now(), open: 0 }
    }

    /// Nanoseconds on its clock.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A task is submitted.
    pub(super) fn submitted(&mut self, number: u64, now: u64) {
        self.submitted[number as usize] = now;
        self.open += 1;
    }

    /// A task has ended: for so many nanoseconds it was under way.
    ///
    /// # Errors
    /// It had ended before, or was never submitted: then somebody made it up.
    pub(super) fn ended(&mut self, output: &[u8], now: u64) -> Result<u64, Trouble> {
        let number = super::super::wire::number(output)
            .filter(|number| self.submitted.get(*number as usize).is_some_and(|submitted| *submitted > 0))
            .ok_or_else(|| Trouble::broken(format!("a result of no task of this run: {output:?}")))?;
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.ended[word] & bit != 0 {
            return Err(Trouble::broken(format!("task {number} got a second result")));
        }
        self.ended[word] |= bit;
        self.open -= 1;
        Ok(now - self.submitted[number as usize].min(now))
    }

    /// Tasks that were submitted and have not ended.
    pub(super) fn open(&self) -> u64 {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_of_three() -> Marks {
        let mut marks = Marks::new(3);
        marks.submitted(0, 10);
        marks.submitted(1, 20);
        marks
    }

    fn end(marks: &mut Marks, number: u64) -> Result<u64, Trouble> {
        marks.ended(&number.to_be_bytes(), 50)
    }

    #[test]
    fn each_result_is_timed_from_its_own_submission() {
        let mut marks = two_of_three();
        assert_eq!(end(&mut marks, 1).unwrap(), 30);
        assert_eq!(end(&mut marks, 0).unwrap(), 40);
        assert_eq!(marks.open(), 0);
    }

    #[test]
    fn a_second_result_is_a_broken_promise() {
        let mut marks = two_of_three();
        end(&mut marks, 1).unwrap();
        let trouble = end(&mut marks, 1).unwrap_err();
        assert!(trouble.broken && trouble.why.contains("second"), "{trouble:?}");
        assert_eq!(marks.open(), 1);
    }

    #[test]
    fn a_result_of_a_task_that_nobody_submitted_is_a_broken_promise() {
        for number in [2, 3, u64::MAX] {
            assert!(end(&mut two_of_three(), number).unwrap_err().broken);
        }
        assert!(two_of_three().ended(b"what?", 50).unwrap_err().broken);
    }
}
