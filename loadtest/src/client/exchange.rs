//! What is heard on a submit stream, whoever's books it goes into.
//!
//! The client of a run and the client of a scenario do the same with it. Answers find the tasks of their batch; what is
//! refused and may pass is put off; when a stream breaks, what was not answered is sent again, and of what was accepted the
//! ends are asked for. What a refusal leads to, and what is counted, is a matter of the books ([`Keeper`]).

use std::{
    mem,
    time::{Duration, Instant},
};

use evenkeel_proto::v1::{self, SubmitResult, SubmitStreamResponse};
use evenkeel_shared::{Error, TaskId, wire};
use fastrand::Rng;
use tonic::Status;

use super::{backlog::Backlog, broken_protocol, redial::Redial, task_id};
use crate::{error::LoadtestError, oracle::Notice};

/// Notices that stay away for so long are asked for.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How often ends are asked for while notices cannot come.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Who keeps the books.
pub(crate) trait Keeper {
    /// The coordinator answered the submission with an id.
    fn accepted(&mut self, number: u32, id: TaskId, now: Instant);

    /// The coordinator refused the task. The shortest pause before it is sent again; `None` if it is not, and is entered as
    /// refused.
    fn pause_after(&mut self, number: u32, error: &Error, now: Instant) -> Option<Duration>;

    /// The coordinator says that a task is over. `true` if that is news.
    fn finished(&mut self, notice: Notice, now: Instant) -> bool;

    /// Why a task did not succeed.
    fn failure(&mut self, why: &str);

    /// Accepted tasks whose end is not known.
    fn open(&self) -> Vec<TaskId>;
}

/// What a client keeps of its streams, from one to the next.
pub(crate) struct Exchange {
    pub backlog: Backlog,
    /// When the next stream may be opened.
    pub redial: Redial,
    /// Tasks whose notices went to a stream that is gone.
    pub orphans: Vec<TaskId>,
    /// When something was accepted, refused for good or ended last.
    pub last_news: Instant,
    /// When ends were asked for last.
    pub last_asked: Instant,
    pub rng: Rng,
}

impl Exchange {
    pub(crate) fn new(now: Instant, rng: Rng) -> Self {
        Self {
            backlog: Backlog::default(),
            redial: Redial::new(now),
            orphans: Vec::new(),
            last_news: now,
            last_asked: now,
            rng,
        }
    }

    /// Enters what was heard on a stream.
    ///
    /// # Errors
    /// The coordinator breaks the protocol.
    pub(crate) fn heard(
        &mut self,
        keeper: &mut impl Keeper,
        response: SubmitStreamResponse,
        now: Instant,
    ) -> Result<(), LoadtestError> {
        self.redial.answered();
        if let Some(batch) = response.batch {
            for (number, result) in self.backlog.answered(batch)? {
                self.answered(keeper, number, result, now)?;
            }
        }
        response.finished.into_iter().try_for_each(|finished| self.finished(keeper, finished, now).map(drop))
    }

    fn answered(
        &mut self,
        keeper: &mut impl Keeper,
        number: u32,
        result: SubmitResult,
        now: Instant,
    ) -> Result<(), LoadtestError> {
        if let Some(error) = result.error.map(wire::status::from_item_error) {
            match keeper.pause_after(number, &error, now) {
                Some(pause) => self.backlog.put_off(number, now + pause.mul_f64(1.0 + self.rng.f64())),
                None => self.last_news = now,
            }
            return Ok(());
        }
        let id = task_id(&result.task_id)?;
        keeper.accepted(number, id, now);
        self.last_news = now;
        if result.duplicate {
            // It may have ended before this stream asked for notices of it.
            self.orphans.push(id);
        }
        Ok(())
    }

    /// Enters the end of a task. `true` if it is news.
    ///
    /// # Errors
    /// The coordinator breaks the protocol.
    pub(crate) fn finished(
        &mut self,
        keeper: &mut impl Keeper,
        finished: v1::TaskFinished,
        now: Instant,
    ) -> Result<bool, LoadtestError> {
        let state = wire::enums::task_state(finished.state).filter(|state| state.is_terminal());
        let state = state.ok_or_else(|| broken_protocol(format!("a task ended in state {}", finished.state)))?;
        if let Some(failure) = &finished.failure {
            keeper.failure(&failure.message);
        }
        let notice = Notice {
            id: task_id(&finished.task_id)?,
            state,
            attempts_made: finished.attempts_made,
            agent_id: finished.agent_id,
            output: finished.output,
        };
        let news = keeper.finished(notice, now);
        if news {
            self.last_news = now;
        }
        Ok(news)
    }

    /// The stream is gone: what was not answered is sent again, the ends of what was accepted are asked for. How many tasks
    /// were not answered.
    ///
    /// # Errors
    /// Another stream would fare no better.
    pub(crate) fn broken(&mut self, keeper: &impl Keeper, status: &Status) -> Result<usize, LoadtestError> {
        self.redial.broke(status, self.rng.f64())?;
        let unanswered = self.backlog.unanswered().count();
        self.backlog.stream_lost();
        self.orphans = keeper.open();
        Ok(unanswered)
    }

    /// Tasks whose ends are to be asked for now: their notices cannot come, or should have come.
    pub(crate) fn due_questions(&mut self, keeper: &impl Keeper, now: Instant) -> Option<Vec<TaskId>> {
        let quiet = now.saturating_duration_since(self.last_news) > QUIET_MAX;
        let lately = now.saturating_duration_since(self.last_asked) < ASK_INTERVAL;
        if lately || (self.orphans.is_empty() && !quiet) {
            return None;
        }
        self.last_asked = now;
        let orphans = mem::take(&mut self.orphans);
        Some(if quiet { keeper.open() } else { orphans })
    }
}
