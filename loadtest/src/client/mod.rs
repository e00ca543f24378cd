//! The client of a run: submits the tasks and follows each to its end.
//!
//! One task drives one SubmitStream. When the stream breaks, what was not answered is submitted again under the same keys,
//! on a new stream; of what was accepted, the ends are asked for, because notices go to the stream that submitted. The
//! same is done when notices stay away, so that a notice that never comes is told apart from a task that never ends.

pub(crate) mod ask;
pub(crate) mod backlog;
pub(crate) mod redial;
pub(crate) mod stream;

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_proto::v1::{self, SubmitResult, SubmitStreamResponse, TaskSpec, task_service_client::TaskServiceClient};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{Code, TaskId, limits::MESSAGE_BYTES_MAX, wire};
use fastrand::Rng;
use tokio::time::sleep_until;
use tonic::Status;

use self::{backlog::Backlog, redial::Redial, stream::Stream};
use crate::{
    error::LoadtestError,
    ledger::Ledger,
    oracle::{Notice, Oracle, Verified},
    plan::{KIND, RUN_LABEL, RunPlan, TENANT},
    progress::{Progress, Stage},
    report::ClientTotals,
};

/// How often progress is told and open tasks are looked after.
const TICK: Duration = Duration::from_millis(100);
/// Notices that stay away for so long are asked for.
pub(crate) const QUIET_MAX: Duration = Duration::from_secs(5);
/// How often ends are asked for while notices cannot come.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after a refusal that says no time.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_millis(100);
/// A task that nobody took for so long is given up: an aborted run must not leave work that only its agents could take.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The client of one run.
pub(crate) struct Client<'a> {
    plan: &'a RunPlan,
    ledger: &'a Ledger,
    calls: TaskServiceClient<Channel>,
    payload: Bytes,
    oracle: Oracle<'a>,
    backlog: Backlog,
    totals: ClientTotals,
    rng: Rng,
    /// Tasks whose notices went to a stream that is gone.
    orphans: Vec<TaskId>,
    /// When something was accepted or ended last.
    last_news: Instant,
    last_asked: Instant,
    /// When the next stream may be opened, and how often that failed.
    redial: Redial,
}

/// What is left after the ends of tasks were asked for.
struct Asked {
    /// Those whose end is not known.
    open: Vec<TaskId>,
    /// Those of them of which the coordinator said nothing.
    unanswered: Vec<TaskId>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(plan: &'a RunPlan, ledger: &'a Ledger, channel: Channel) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let mut payload = vec![0; plan.payload_bytes as usize];
        rng.fill(&mut payload);
        let calls = TaskServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let now = Instant::now();
        Self {
            plan,
            ledger,
            calls,
            payload: payload.into(),
            oracle: Oracle::new(ledger),
            backlog: Backlog::default(),
            totals: ClientTotals::default(),
            rng,
            orphans: Vec::new(),
            last_news: now,
            last_asked: now,
            redial: Redial::new(now),
        }
    }

    /// Submits all tasks and follows them, until all are over or nothing moves any more.
    ///
    /// # Errors
    /// The coordinator refuses the calls themselves, or breaks the protocol.
    pub(crate) async fn run(mut self, progress: &dyn Progress) -> Result<(ClientTotals, Verified), LoadtestError> {
        let mut stream: Option<Stream> = None;
        let mut tick = Instant::now();
        self.last_news = tick;
        while !self.is_over() && self.last_news.elapsed() < self.plan.stall_timeout {
            if stream.is_none() && self.may_submit() && self.redial.is_due(Instant::now()) {
                stream = self.open().await?;
            }
            let requests = stream.as_ref().filter(|_| self.may_submit()).map(|stream| stream.requests.clone());
            tokio::select! {
                response = stream::response(&mut stream) => match response {
                    Ok(response) => self.heard(response)?,
                    Err(status) => {
                        stream = None;
                        self.broken(&status)?;
                    }
                },
                // A stream that takes no more ends its responses too, which is dealt with there.
                Ok(room) = stream::room(requests) => {
                    room.send(self.next_batch(Instant::now()));
                }
                () = sleep_until(tick.into()) => {
                    tick = Instant::now() + TICK;
                    self.look_after().await?;
                    let totals = self.oracle.totals();
                    let (over, accepted) = (totals.over(), totals.accepted);
                    progress.at(Stage::Running { over, accepted, wanted: self.plan.tasks });
                }
            }
        }
        drop(stream);
        let open = self.oracle.open();
        let unanswered = self.ask(open).await?.unanswered;
        self.oracle.unverified(&unanswered);
        Ok((self.totals, self.oracle.close()))
    }

    /// Opens a stream, with the first batch on it: a server may answer only when it has read something.
    async fn open(&mut self) -> Result<Option<Stream>, LoadtestError> {
        let first = self.next_batch(Instant::now());
        match Stream::open(&mut self.calls, first).await {
            Ok(stream) => Ok(Some(stream)),
            Err(status) => {
                self.broken(&status)?;
                Ok(None)
            }
        }
    }

    /// The stream is gone: what was not answered is sent again, the ends of what was accepted are asked for.
    fn broken(&mut self, status: &Status) -> Result<(), LoadtestError> {
        self.redial.broke(status, self.rng.f64())?;
        self.totals.reconnects += 1;
        self.backlog.stream_lost();
        self.orphans = self.oracle.open();
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
        for finished in response.finished {
            self.finished(finished, now)?;
        }
        Ok(())
    }

    fn answered(&mut self, number: u32, result: SubmitResult, now: Instant) -> Result<(), LoadtestError> {
        let Some(error) = result.error.map(wire::status::from_item_error) else {
            let id = task_id(&result.task_id)?;
            self.oracle.accepted(number, id, now);
            self.last_news = now;
            if result.duplicate {
                // It may have ended before this stream asked for notices of it.
                self.orphans.push(id);
            }
            return Ok(());
        };
        if passes(error.code) {
            let hint = error.retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
            self.totals.retried += 1;
            self.backlog.put_off(number, now + hint.mul_f64(1.0 + self.rng.f64()));
        } else {
            self.oracle.refused(number, &format!("{}: {}", error.code, error.message));
            self.last_news = now;
        }
        Ok(())
    }

    /// Takes the end of a task into the books. `true` if it is news.
    fn finished(&mut self, finished: v1::TaskFinished, now: Instant) -> Result<bool, LoadtestError> {
        let state = wire::enums::task_state(finished.state).filter(|state| state.is_terminal());
        let state = state.ok_or_else(|| broken_protocol(format!("a task ended in state {}", finished.state)))?;
        if let Some(failure) = &finished.failure {
            self.oracle.failure(&failure.message);
        }
        let notice = Notice {
            id: task_id(&finished.task_id)?,
            state,
            attempts_made: finished.attempts_made,
            agent_id: finished.agent_id,
            output: finished.output,
        };
        let news = self.oracle.finished(notice, now);
        if news {
            self.last_news = now;
        }
        Ok(news)
    }

    /// Asks for ends whose notices cannot come, or should have come.
    async fn look_after(&mut self) -> Result<(), LoadtestError> {
        let quiet = self.last_news.elapsed() > QUIET_MAX;
        if self.last_asked.elapsed() < ASK_INTERVAL || (self.orphans.is_empty() && !quiet) {
            return Ok(());
        }
        let asked = if quiet { self.oracle.open() } else { mem::take(&mut self.orphans) };
        self.orphans = self.ask(asked).await?.open;
        self.last_asked = Instant::now();
        Ok(())
    }

    /// Asks for the ends of these tasks.
    async fn ask(&mut self, ids: Vec<TaskId>) -> Result<Asked, LoadtestError> {
        let answers = ask::ended(&self.calls, &ids).await;
        for finished in answers.ended {
            if self.finished(finished, Instant::now())? {
                self.totals.notices_missed += 1;
            }
        }
        let open = ids.into_iter().filter(|id| self.oracle.is_open(*id)).collect();
        Ok(Asked { open, unanswered: answers.unanswered })
    }

    fn is_over(&self) -> bool {
        let totals = self.oracle.totals();
        totals.submitted == self.plan.tasks && totals.in_flight() == 0
    }

    /// There is a new task to send, and room for it.
    fn has_new(&self) -> bool {
        let totals = self.oracle.totals();
        totals.submitted < self.plan.tasks && totals.in_flight() < self.plan.in_flight()
    }

    /// There is a task to send now.
    fn may_submit(&self) -> bool {
        self.has_new() || self.backlog.is_due(Instant::now())
    }

    /// The next batch: what is to be sent again, then new tasks as far as the bound on tasks in flight allows.
    fn next_batch(&mut self, now: Instant) -> v1::SubmitStreamRequest {
        let batch_max = self.plan.batch as usize;
        let mut numbers = self.backlog.take_due(now, batch_max);
        while numbers.len() < batch_max && self.has_new() {
            numbers.push(self.oracle.submitted(now));
        }
        let tasks = numbers.iter().map(|&number| self.spec(number)).collect();
        v1::SubmitStreamRequest { batch_id: self.backlog.sent(numbers), tasks, want_results: true }
    }

    fn spec(&self, number: u32) -> TaskSpec {
        let own_agents = v1::LabelRule {
            key: RUN_LABEL.into(),
            operator: v1::LabelOperator::Equals.into(),
            values: vec![self.ledger.run().to_owned()],
            weight: 0,
        };
        TaskSpec {
            idempotency_key: self.ledger.key(number),
            kind: KIND.into(),
            payload: self.payload.clone(),
            tenant: TENANT.into(),
            requirements: Some(v1::Requirements { required: vec![own_agents], ..v1::Requirements::default() }),
            delivery: wire::enums::to_delivery(self.plan.delivery).into(),
            queue_timeout_ms: wire::quantities::to_ms(QUEUE_TIMEOUT),
            ..TaskSpec::default()
        }
    }
}

/// Whether another try can help.
pub(crate) const fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            // What a connection that breaks in the middle of a message is reported as.
            | Code::Internal
    )
}

pub(crate) fn task_id(text: &str) -> Result<TaskId, LoadtestError> {
    text.parse().map_err(|violation| broken_protocol(format!("{violation}")))
}

/// The coordinator said what it must not say.
pub(crate) fn broken_protocol(what: String) -> LoadtestError {
    LoadtestError::Call { call: "SubmitStream", status: Box::new(Status::internal(what)) }
}
