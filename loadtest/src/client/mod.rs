//! The client of a run: submits the tasks and follows each to its end.
//!
//! One task drives one SubmitStream. When the stream breaks, what was not answered is submitted again under the same keys,
//! on a new stream; of what was accepted, the ends are asked for, because notices go to the stream that submitted. The
//! same is done when notices stay away, so that a notice that never comes is told apart from a task that never ends.

pub(crate) mod ask;
pub(crate) mod backlog;
pub(crate) mod exchange;
pub(crate) mod redial;
pub(crate) mod stream;

use std::time::{Duration, Instant};

use bytes::Bytes;
use evenkeel_proto::v1::{self, TaskSpec, task_service_client::TaskServiceClient};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{Code, Error, TaskId, limits::MESSAGE_BYTES_MAX, wire};
use fastrand::Rng;
use tokio::time::sleep_until;
use tonic::Status;

use self::{
    exchange::{Exchange, Keeper},
    stream::Stream,
};
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
    books: Books<'a>,
    exchange: Exchange,
}

/// Its books.
struct Books<'a> {
    oracle: Oracle<'a>,
    totals: ClientTotals,
}

impl Keeper for Books<'_> {
    fn accepted(&mut self, number: u32, id: TaskId, now: Instant) {
        self.oracle.accepted(number, id, now);
    }

    fn pause_after(&mut self, number: u32, error: &Error, _: Instant) -> Option<Duration> {
        if !passes(error.code) {
            self.oracle.refused(number, &format!("{}: {}", error.code, error.message));
            return None;
        }
        self.totals.retried += 1;
        Some(error.retry_after.unwrap_or(RETRY_AFTER_DEFAULT))
    }

    fn finished(&mut self, notice: Notice, now: Instant) -> bool {
        self.oracle.finished(notice, now)
    }

    fn failure(&mut self, why: &str) {
        self.oracle.failure(why);
    }

    fn open(&self) -> Vec<TaskId> {
        self.oracle.open()
    }
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
        Self {
            plan,
            ledger,
            calls,
            payload: payload.into(),
            books: Books { oracle: Oracle::new(ledger), totals: ClientTotals::default() },
            exchange: Exchange::new(Instant::now(), rng),
        }
    }

    /// Submits all tasks and follows them, until all are over or nothing moves any more.
    ///
    /// # Errors
    /// The coordinator refuses the calls themselves, or breaks the protocol.
    pub(crate) async fn run(mut self, progress: &dyn Progress) -> Result<(ClientTotals, Verified), LoadtestError> {
        let mut stream: Option<Stream> = None;
        let mut tick = Instant::now();
        self.exchange.last_news = tick;
        while !self.is_over() && self.exchange.last_news.elapsed() < self.plan.stall_timeout {
            if stream.is_none() && self.may_submit() && self.exchange.redial.is_due(Instant::now()) {
                stream = self.open().await?;
            }
            let requests = stream.as_ref().filter(|_| self.may_submit()).map(|stream| stream.requests.clone());
            tokio::select! {
                response = stream::response(&mut stream) => match response {
                    Ok(response) => self.exchange.heard(&mut self.books, response, Instant::now())?,
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
                    let totals = self.books.oracle.totals();
                    let (over, accepted) = (totals.over(), totals.accepted);
                    progress.at(Stage::Running { over, accepted, wanted: self.plan.tasks });
                }
            }
        }
        drop(stream);
        let open = self.books.oracle.open();
        let unanswered = self.ask(open).await?.unanswered;
        self.books.oracle.unverified(&unanswered);
        Ok((self.books.totals, self.books.oracle.close()))
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

    fn broken(&mut self, status: &Status) -> Result<(), LoadtestError> {
        self.exchange.broken(&self.books, status)?;
        self.books.totals.reconnects += 1;
        Ok(())
    }

    /// Asks for ends whose notices cannot come, or should have come.
    async fn look_after(&mut self) -> Result<(), LoadtestError> {
        if let Some(asked) = self.exchange.due_questions(&self.books, Instant::now()) {
            self.exchange.orphans = self.ask(asked).await?.open;
            self.exchange.last_asked = Instant::now();
        }
        Ok(())
    }

    /// Asks for the ends of these tasks.
    async fn ask(&mut self, ids: Vec<TaskId>) -> Result<Asked, LoadtestError> {
        let answers = ask::ended(&self.calls, &ids).await;
        for finished in answers.ended {
            if self.exchange.finished(&mut self.books, finished, Instant::now())? {
                self.books.totals.notices_missed += 1;
            }
        }
        let open = ids.into_iter().filter(|id| self.books.oracle.is_open(*id)).collect();
        Ok(Asked { open, unanswered: answers.unanswered })
    }

    fn is_over(&self) -> bool {
        let totals = self.books.oracle.totals();
        totals.submitted == self.plan.tasks && totals.in_flight() == 0
    }

    /// There is a new task to send, and room for it.
    fn has_new(&self) -> bool {
        let totals = self.books.oracle.totals();
        totals.submitted < self.plan.tasks && totals.in_flight() < self.plan.in_flight()
    }

    /// There is a task to send now.
    fn may_submit(&self) -> bool {
        self.has_new() || self.exchange.backlog.is_due(Instant::now())
    }

    /// The next batch: what is to be sent again, then new tasks as far as the bound on tasks in flight allows.
    fn next_batch(&mut self, now: Instant) -> v1::SubmitStreamRequest {
        let batch_max = self.plan.batch as usize;
        let mut numbers = self.exchange.backlog.take_due(now, batch_max);
        while numbers.len() < batch_max && self.has_new() {
            numbers.push(self.books.oracle.submitted(now));
        }
        let tasks = numbers.iter().map(|&number| self.spec(number)).collect();
        v1::SubmitStreamRequest { batch_id: self.exchange.backlog.sent(numbers), tasks, want_results: true }
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
