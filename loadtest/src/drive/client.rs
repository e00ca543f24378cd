//! The client of a scenario: sends what is due, and follows each task to its end.
//!
//! One loop owns the books. Nothing in it waits for the coordinator: streams are opened and ends are asked for in futures
//! beside it, so that tasks fall due, windows close and faults are done in time while nobody answers. What was not answered
//! when a stream broke is sent again under the same keys; of what was accepted on it, the ends are asked for.

use std::{
    future::pending,
    mem,
    time::{Duration, Instant},
};

use evenkeel_proto::v1::task_service_client::TaskServiceClient;
use evenkeel_proto::v1::{self, SubmitResult, SubmitStreamRequest, SubmitStreamResponse};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{
    TaskId,
    limits::{MESSAGE_BYTES_MAX, SUBMIT_TASKS_MAX},
    wire,
};
use fastrand::Rng;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::sleep_until;
use tonic::Status;

use super::{
    books::{Books, Tally},
    monitor::Monitor,
    plan::ScenarioPlan,
};
use crate::{
    client::{
        ASK_INTERVAL, QUIET_MAX,
        ask::{self, Answers},
        backlog::Backlog,
        broken_protocol, passes,
        redial::Redial,
        stream::{self, Stream},
        task_id,
    },
    error::LoadtestError,
    oracle::{Notice, Verified},
    plan::SPEC_BYTES,
    record::{Histograms, MarkKind},
    scenario::Network,
    task_time::mix,
};

/// How often faults, churn and open tasks are looked after.
const TICK: Duration = Duration::from_millis(50);
/// Length of a window.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Bytes of one message: half of what is allowed, for one more task of the largest payload and what protobuf adds.
const BATCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// A pause doubles so often, at most.
const DOUBLINGS_MAX: u32 = 10;
/// What keeps the client's draws apart from those of arrivals.
const CLIENT_SALT: u64 = 0xc11e;

/// What is left of a run when it is over.
pub(crate) struct Driven {
    pub tally: Tally,
    /// Latencies since the last window.
    pub latencies: Histograms,
    pub verified: Verified,
}

/// The client.
pub(crate) struct Client<'a> {
    books: Books<'a>,
    monitor: &'a mut Monitor,
    network: Network,
    stall_timeout: Duration,
    calls: TaskServiceClient<Channel>,
    backlog: Backlog,
    rng: Rng,
    stream: Option<Stream>,
    opening: Option<BoxFuture<'static, Result<Stream, Status>>>,
    asking: Option<BoxFuture<'static, Answers>>,
    /// Tasks whose notices went to a stream that is gone, and those that are asked for now.
    orphans: Vec<TaskId>,
    asked: Vec<TaskId>,
    last_news: Instant,
    last_asked: Instant,
    redial: Redial,
    next_break: Option<Instant>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(books: Books<'a>, monitor: &'a mut Monitor, plan: &ScenarioPlan, channel: Channel) -> Self {
        let calls = TaskServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let now = Instant::now();
        Self {
            books,
            monitor,
            network: plan.scenario.network.clone(),
            stall_timeout: plan.stall_timeout,
            calls,
            backlog: Backlog::default(),
            rng: Rng::with_seed(mix(plan.seed ^ CLIENT_SALT)),
            stream: None,
            opening: None,
            asking: None,
            orphans: Vec::new(),
            asked: Vec::new(),
            last_news: now,
            last_asked: now,
            redial: Redial::new(now),
            next_break: None,
        }
    }

    /// Submits what is due and follows it, until all is over or nothing moves any more.
    ///
    /// # Errors
    /// The coordinator refuses the calls themselves, or breaks the protocol.
    pub(crate) async fn run(mut self, started: Instant) -> Result<Driven, LoadtestError> {
        let (mut next_tick, mut next_window) = (started, started + WINDOW);
        self.schedule_break(started);
        loop {
            let now = Instant::now();
            self.books.fall_due(now);
            if next_tick <= now {
                next_tick = now + TICK;
                self.tick(now);
            }
            if next_window <= now {
                next_window = (next_window + WINDOW).max(now);
                self.close_window(now);
            }
            if self.is_over(now) {
                break;
            }
            if self.stream.is_none() && self.opening.is_none() && self.may_submit(now) && self.redial.is_due(now) {
                self.open(now);
            }
            let wake = self.books.next_due().map_or(next_tick, |due| due.min(next_tick)).min(next_window);
            self.step(wake).await?;
        }
        let open = self.books.oracle.open();
        let unanswered = if open.is_empty() { Vec::new() } else { self.ask_last(open).await? };
        let (tally, latencies, verified) = self.books.close(&unanswered, Instant::now());
        Ok(Driven { tally, latencies, verified })
    }

    /// Waits for the next thing that happens, and deals with it.
    async fn step(&mut self, wake: Instant) -> Result<(), LoadtestError> {
        let may_submit = self.may_submit(Instant::now());
        let requests = self.stream.as_ref().filter(|_| may_submit).map(|stream| stream.requests.clone());
        tokio::select! {
            response = stream::response(&mut self.stream) => match response {
                Ok(response) => self.heard(response),
                Err(status) => self.broken(&status),
            },
            // A stream that takes no more ends its responses too, which is dealt with there.
            Ok(room) = stream::room(requests) => {
                if let Some(batch) = self.next_batch(Instant::now()) {
                    room.send(batch);
                }
                Ok(())
            }
            opened = done(&mut self.opening) => match opened {
                Ok(stream) => {
                    self.stream = Some(stream);
                    Ok(())
                }
                Err(status) => {
                    let unsent = self.backlog.unanswered();
                    unsent.for_each(|number| self.books.untried(number));
                    self.broken(&status)
                }
            },
            answers = done(&mut self.asking) => {
                let asked = mem::take(&mut self.asked);
                self.answered_ask(answers)?;
                self.orphans.extend(asked.into_iter().filter(|id| self.books.oracle.is_open(*id)));
                Ok(())
            }
            () = sleep_until(wake.into()) => Ok(()),
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.books.is_open(now) {
            return false;
        }
        let since = self.last_news.max(self.books.ends);
        self.books.in_flight() == 0 || now.saturating_duration_since(since) > self.stall_timeout
    }

    fn tick(&mut self, now: Instant) {
        self.monitor.tick(now, self.books.is_open(now));
        if self.monitor.is_stopped() {
            self.books.end_arrivals(now);
        }
        if self.next_break.is_some_and(|at| at <= now) && self.books.is_open(now) {
            self.schedule_break(now);
            if self.stream.is_some() {
                self.monitor.marks.add(MarkKind::Fault, "the client's stream breaks".into());
                // A broken connection passes; what it leads to is what is measured.
                let _ = self.broken(&Status::unavailable("the scenario breaks the client's stream"));
            }
        }
        let quiet = now.saturating_duration_since(self.last_news) > QUIET_MAX;
        let asks = self.asking.is_none() && now.saturating_duration_since(self.last_asked) >= ASK_INTERVAL;
        if asks && (quiet || !self.orphans.is_empty()) {
            self.asked = if quiet { self.books.oracle.open() } else { mem::take(&mut self.orphans) };
            if quiet {
                self.orphans.clear();
            }
            self.last_asked = now;
            let (calls, ids) = (self.calls.clone(), self.asked.clone());
            self.asking = Some(async move { ask::ended(&calls, &ids).await }.boxed());
        }
    }

    fn schedule_break(&mut self, now: Instant) {
        let per_s = self.network.client_breaks_per_minute / 60.0;
        let gap_s = -(1.0 - self.rng.f64()).ln() / per_s;
        self.next_break = (per_s > 0.0).then(|| now + Duration::from_secs_f64(gap_s.min(1e6)));
    }

    fn close_window(&mut self, now: Instant) {
        let latencies = mem::take(&mut self.books.latencies);
        self.monitor.close(now, self.books.tally, latencies);
    }

    /// Opens a stream, with the first batch on it: a server may answer only when it has read something.
    fn open(&mut self, now: Instant) {
        let Some(first) = self.next_batch(now) else { return };
        let mut calls = self.calls.clone();
        self.opening = Some(async move { Stream::open(&mut calls, first).await }.boxed());
    }

    /// The stream is gone: what was not answered is sent again, the ends of what was accepted are asked for.
    fn broken(&mut self, status: &Status) -> Result<(), LoadtestError> {
        self.stream = None;
        self.redial.broke(status, self.rng.f64())?;
        self.books.tally.retried += self.backlog.unanswered().count() as u64;
        self.backlog.stream_lost();
        self.orphans = self.books.oracle.open();
        Ok(())
    }

    fn heard(&mut self, response: SubmitStreamResponse) -> Result<(), LoadtestError> {
        let now = Instant::now();
        self.redial.answered();
        if let Some(batch) = response.batch {
            for (number, result) in self.backlog.answered(batch)? {
                self.answered(number, result, now)?;
            }
        }
        response.finished.into_iter().try_for_each(|finished| self.finished(finished, now))
    }

    fn answered(&mut self, number: u32, result: SubmitResult, now: Instant) -> Result<(), LoadtestError> {
        let Some(error) = result.error.map(wire::status::from_item_error) else {
            let id = task_id(&result.task_id)?;
            self.books.accepted(number, id, now);
            self.last_news = now;
            if result.duplicate {
                // It may have ended before this stream asked for notices of it.
                self.orphans.push(id);
            }
            return Ok(());
        };
        let why = format!("{}: {}", error.code, error.message);
        let tries = self.books.tries(number);
        if !passes(error.code) || tries >= self.network.tries_max {
            self.books.refused(number, &why, now);
            self.last_news = now;
            return Ok(());
        }
        let doublings = tries.saturating_sub(1).min(DOUBLINGS_MAX);
        let own = Duration::from_millis(self.network.backoff_ms) * 2_u32.pow(doublings);
        let pause = error.retry_after.unwrap_or(own).mul_f64(1.0 + self.rng.f64());
        self.books.tally.retried += 1;
        self.backlog.put_off(number, now + pause);
        Ok(())
    }

    /// Takes the end of a task into the books.
    fn finished(&mut self, finished: v1::TaskFinished, now: Instant) -> Result<(), LoadtestError> {
        let state = wire::enums::task_state(finished.state).filter(|state| state.is_terminal());
        let state = state.ok_or_else(|| broken_protocol(format!("a task ended in state {}", finished.state)))?;
        if let Some(failure) = &finished.failure {
            self.books.oracle.failure(&failure.message);
        }
        let notice = Notice {
            id: task_id(&finished.task_id)?,
            state,
            attempts_made: finished.attempts_made,
            agent_id: finished.agent_id,
            output: finished.output,
        };
        if self.books.finished(notice, now) {
            self.last_news = now;
        }
        Ok(())
    }

    fn answered_ask(&mut self, answers: Answers) -> Result<Vec<TaskId>, LoadtestError> {
        let now = Instant::now();
        answers.ended.into_iter().try_for_each(|finished| self.finished(finished, now))?;
        Ok(answers.unanswered)
    }

    /// Asks for the ends of these tasks once more; those of which the coordinator says nothing.
    async fn ask_last(&mut self, open: Vec<TaskId>) -> Result<Vec<TaskId>, LoadtestError> {
        let answers = ask::ended(&self.calls, &open).await;
        self.answered_ask(answers)
    }

    fn may_submit(&self, now: Instant) -> bool {
        !self.books.unsent.is_empty() || self.backlog.is_due(now)
    }

    /// The next batch: what is to be sent again, then what is due. `None` if all of that was given up.
    fn next_batch(&mut self, now: Instant) -> Option<SubmitStreamRequest> {
        let (mut numbers, mut bytes) = (Vec::new(), 0);
        let Self { books, backlog, network, .. } = self;
        while numbers.len() < SUBMIT_TASKS_MAX && bytes < BATCH_BYTES_MAX {
            let again = backlog.take_due(now, 1).pop();
            let Some(number) = again.or_else(|| books.unsent.pop_front()) else { break };
            if books.tried(number) > network.tries_max {
                books.refused(number, "given up after all tries", now);
                continue;
            }
            bytes += books.catalogue.payload_bytes(books.task(number)) + SPEC_BYTES;
            numbers.push(number);
        }
        let tasks: Vec<_> = numbers.iter().map(|&number| books.spec(number)).collect();
        let batch = |numbers| SubmitStreamRequest { batch_id: backlog.sent(numbers), tasks, want_results: true };
        (!numbers.is_empty()).then(|| batch(numbers))
    }
}

/// What the future comes to, which is then gone; never, where there is none.
async fn done<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = future else { return pending().await };
    let result = running.await;
    *future = None;
    result
}
