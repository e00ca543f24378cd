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

use evenkeel_proto::v1::SubmitStreamRequest;
use evenkeel_proto::v1::task_service_client::TaskServiceClient;
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{
    Error, TaskId,
    limits::{MESSAGE_BYTES_MAX, SUBMIT_TASKS_MAX},
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
        ask::{self, Answers},
        exchange::{Exchange, Keeper},
        passes,
        stream::{self, Stream},
    },
    error::LoadtestError,
    oracle::{Notice, Verified},
    plan::SPEC_BYTES,
    record::{Histograms, MarkKind},
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
    stall_timeout: Duration,
    calls: TaskServiceClient<Channel>,
    exchange: Exchange,
    stream: Option<Stream>,
    opening: Option<BoxFuture<'static, Result<Stream, Status>>>,
    asking: Option<BoxFuture<'static, Answers>>,
    /// Tasks whose ends are asked for now.
    asked: Vec<TaskId>,
    next_break: Option<Instant>,
}

impl Keeper for Books<'_> {
    fn accepted(&mut self, number: u32, id: TaskId, now: Instant) {
        self.accepted(number, id, now);
    }

    fn pause_after(&mut self, number: u32, error: &Error, now: Instant) -> Option<Duration> {
        let tries = self.tries(number);
        if !passes(error.code) || tries >= self.network.tries_max {
            self.refused(number, &format!("{}: {}", error.code, error.message), now);
            return None;
        }
        self.tally.retried += 1;
        let doublings = tries.saturating_sub(1).min(DOUBLINGS_MAX);
        let own = Duration::from_millis(self.network.backoff_ms) * 2_u32.pow(doublings);
        Some(error.retry_after.unwrap_or(own))
    }

    fn finished(&mut self, notice: Notice, now: Instant) -> bool {
        self.finished(notice, now)
    }

    fn failure(&mut self, why: &str) {
        self.oracle.failure(why);
    }

    fn open(&self) -> Vec<TaskId> {
        self.oracle.open()
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(books: Books<'a>, monitor: &'a mut Monitor, plan: &ScenarioPlan, channel: Channel) -> Self {
        let calls = TaskServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self {
            books,
            monitor,
            stall_timeout: plan.stall_timeout,
            calls,
            exchange: Exchange::new(Instant::now(), Rng::with_seed(mix(plan.seed ^ CLIENT_SALT))),
            stream: None,
            opening: None,
            asking: None,
            asked: Vec::new(),
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
            if self.stream.is_none()
                && self.opening.is_none()
                && self.may_submit(now)
                && self.exchange.redial.is_due(now)
            {
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
                Ok(response) => self.exchange.heard(&mut self.books, response, Instant::now()),
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
                    let unsent = self.exchange.backlog.unanswered();
                    unsent.for_each(|number| self.books.untried(number));
                    self.broken(&status)
                }
            },
            answers = done(&mut self.asking) => {
                let asked = mem::take(&mut self.asked);
                self.answered_ask(answers)?;
                self.exchange.orphans.extend(asked.into_iter().filter(|id| self.books.oracle.is_open(*id)));
                Ok(())
            }
            () = sleep_until(wake.into()) => Ok(()),
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.books.is_open(now) {
            return false;
        }
        let since = self.exchange.last_news.max(self.books.ends);
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
        if self.asking.is_none()
            && let Some(asked) = self.exchange.due_questions(&self.books, now)
        {
            self.asked.clone_from(&asked);
            let calls = self.calls.clone();
            self.asking = Some(async move { ask::ended(&calls, &asked).await }.boxed());
        }
    }

    fn schedule_break(&mut self, now: Instant) {
        let per_s = self.books.network.client_breaks_per_minute / 60.0;
        let gap_s = -(1.0 - self.exchange.rng.f64()).ln() / per_s;
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

    fn broken(&mut self, status: &Status) -> Result<(), LoadtestError> {
        self.stream = None;
        self.books.tally.retried += self.exchange.broken(&self.books, status)? as u64;
        Ok(())
    }

    fn answered_ask(&mut self, answers: Answers) -> Result<Vec<TaskId>, LoadtestError> {
        let now = Instant::now();
        for finished in answers.ended {
            self.exchange.finished(&mut self.books, finished, now)?;
        }
        Ok(answers.unanswered)
    }

    /// Asks for the ends of these tasks once more; those of which the coordinator says nothing.
    async fn ask_last(&mut self, open: Vec<TaskId>) -> Result<Vec<TaskId>, LoadtestError> {
        let answers = ask::ended(&self.calls, &open).await;
        self.answered_ask(answers)
    }

    fn may_submit(&self, now: Instant) -> bool {
        !self.books.unsent.is_empty() || self.exchange.backlog.is_due(now)
    }

    /// The next batch: what is to be sent again, then what is due. `None` if all of that was given up.
    fn next_batch(&mut self, now: Instant) -> Option<SubmitStreamRequest> {
        let (mut numbers, mut bytes) = (Vec::new(), 0);
        let Self { books, exchange: Exchange { backlog, .. }, .. } = self;
        while numbers.len() < SUBMIT_TASKS_MAX && bytes < BATCH_BYTES_MAX {
            let again = backlog.take_due(now, 1).pop();
            let Some(number) = again.or_else(|| books.unsent.pop_front()) else { break };
            if books.tried(number) > books.network.tries_max {
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
