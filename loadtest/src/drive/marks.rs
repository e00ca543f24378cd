//! What is worth a mark on the axis of time, written down by whoever sees it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::record::{Mark, MarkKind};

/// Marks of a run, at most: a picture with more shows nothing. What comes beyond is only counted.
const MARKS_MAX: usize = 1_000;

/// The marks; clones share them.
#[derive(Clone)]
pub(crate) struct Marks {
    started: Instant,
    marks: Arc<Mutex<(Vec<Mark>, u64)>>,
}

impl Marks {
    pub(crate) fn new(started: Instant) -> Self {
        Self { started, marks: Arc::default() }
    }

    /// Something happens now.
    pub(crate) fn add(&self, kind: MarkKind, text: String) {
        let at_s = Instant::now().saturating_duration_since(self.started).as_secs_f64();
        self.push(Mark { at_s, kind, text });
    }

    /// Something happened.
    pub(crate) fn push(&self, mark: Mark) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.0.len() < MARKS_MAX {
            marks.0.push(mark);
        } else {
            marks.1 += 1;
        }
    }

    /// All marks, in order.
    pub(crate) fn finish(&self) -> Vec<Mark> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut all, beyond) = (marks.0.clone(), marks.1);
        all.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        if let Some(last) = all.last_mut().filter(|_| beyond > 0) {
            last.text.push_str(&format!(" (and {beyond} more marks)"));
        }
        all
    }
}
