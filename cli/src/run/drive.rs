//! Carries a ledger out: one stream to the coordinator, and another when it breaks.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use evenkeel_proto::v1;
use evenkeel_shared::{backoff::Backoff, wire};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    ledger::{Delivered, Ledger},
    plan::Plan,
};
use crate::{
    client::{Address, Clients},
    exit::{CliError, Exit, lost_connection},
    traces::{Submission, Traces},
};

/// Tasks in one batch: enough for one commit to carry many.
const BATCH_TASKS_MAX: usize = 100;
/// Bytes of payload after which a batch is closed; with one more payload of at most 1 MiB it fits into a message.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Batches handed to the connection and not sent yet.
const BATCHES_WAITING_MAX: usize = 4;
/// Waits between tries to reach the coordinator: a restart takes about a second.
const RECONNECT_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// A stream that lived for so long was sound, also if no task ended on it: the next outage is a new one.
const STREAM_SOUND: Duration = Duration::from_secs(5);

/// Where results go.
pub trait Sink {
    /// The next place in order is over.
    ///
    /// # Errors
    /// If it cannot be written.
    fn deliver(&mut self, place: usize, delivered: Delivered) -> io::Result<()>;

    /// Nothing more can be delivered for now; so many places are over.
    ///
    /// # Errors
    /// If what was delivered cannot be written.
    fn settle(&mut self, over: usize) -> io::Result<()>;

    /// The connection was lost, or is back.
    fn connected(&mut self, connected: bool);
}

/// One run.
#[derive(Debug)]
pub struct Drive<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The run's name.
    pub run: &'a str,
    /// How its tasks are treated; kind, payload and key are filled in.
    pub template: v1::TaskSpec,
    /// Where the coordinator is.
    pub address: &'a Address,
    /// How long it may be away.
    pub patience: Duration,
    /// What is told of its tasks.
    pub traces: &'a Traces,
}

/// How long nothing has come to its end, and how often the coordinator was dialled meanwhile: one that answers and breaks
/// off each time is no better than one that is away.
struct Outage {
    since: Instant,
    tries: u32,
}

impl Default for Outage {
    fn default() -> Self {
        Self { since: Instant::now(), tries: 0 }
    }
}

/// Why a stream ended before the run did.
enum Broken {
    /// It can be taken up again.
    Lost(CliError),
    /// It cannot.
    Fatal(CliError),
}

impl Drive<'_> {
    /// Runs until all is delivered.
    ///
    /// # Errors
    /// If the coordinator refuses for good or is away for longer than the patience, or the sink fails.
    pub async fn run(&self, mut clients: Clients, ledger: &mut Ledger, sink: &mut impl Sink) -> Result<(), CliError> {
        let mut outage = Outage::default();
        loop {
            let (before, begun) = (ledger.over(), Instant::now());
            let error = match self.stream(&mut clients, ledger, sink).await {
                Ok(()) => return Ok(()),
                Err(Broken::Fatal(error)) => return Err(error),
                Err(Broken::Lost(error)) => error,
            };
            tracing::info!("{error}");
            ledger.disconnected();
            if ledger.over() > before || begun.elapsed() > STREAM_SOUND {
                outage = Outage::default();
            }
            sink.connected(false);
            clients = self.reconnect(&mut outage, error).await?;
            sink.connected(true);
        }
    }

    /// Dials until somebody answers.
    async fn reconnect(&self, outage: &mut Outage, mut error: CliError) -> Result<Clients, CliError> {
        let backoff = Backoff::new(RECONNECT_WAIT.0, RECONNECT_WAIT.1, 2.0);
        while outage.since.elapsed() < self.patience {
            tokio::time::sleep(backoff.delay(outage.tries, fastrand::f64())).await;
            outage.tries += 1;
            match self.address.connect().await {
                Ok(clients) => return Ok(clients),
                Err(next) => error = next,
            }
        }
        Err(error.hint("run the same command again when the coordinator is back: it goes on where it stopped"))
    }

    async fn stream(&self, clients: &mut Clients, ledger: &mut Ledger, sink: &mut impl Sink) -> Result<(), Broken> {
        let (batches, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
        let mut sent = Sent::default();
        let mut waiting = self.next_batch(ledger, &mut sent);
        // The first batch goes along with the call: a server may answer only once it has one.
        if let Some(batch) = waiting.take() {
            batches.try_send(batch).map_err(|_| Broken::Lost(ended()))?;
        }
        let answers = clients.tasks.submit_stream(ReceiverStream::new(receiver)).await.map_err(|s| broken(&s))?;
        let mut answers: Streaming<v1::SubmitStreamResponse> = answers.into_inner();
        loop {
            while let Some((place, delivered)) = ledger.pop() {
                sink.deliver(place, delivered).map_err(|error| Broken::Fatal(error.into()))?;
            }
            sink.settle(ledger.over()).map_err(|error| Broken::Fatal(error.into()))?;
            if ledger.is_done() {
                return Ok(());
            }
            if waiting.is_none() {
                waiting = self.next_batch(ledger, &mut sent);
            }
            let retry_at = ledger.next_due();
            tokio::select! {
                permit = batches.reserve(), if waiting.is_some() => {
                    let permit = permit.map_err(|_| Broken::Lost(ended()))?;
                    if let Some(batch) = waiting.take() {
                        permit.send(batch);
                    }
                }
                answer = answers.message() => {
                    let answer = answer.map_err(|status| broken(&status))?;
                    sent.book(answer.ok_or_else(|| Broken::Lost(ended()))?, ledger, self.traces);
                }
                () = sleep_until(retry_at), if retry_at.is_some() => {}
            }
        }
    }

    /// What is due now, as one batch.
    fn next_batch(&self, ledger: &mut Ledger, sent: &mut Sent) -> Option<v1::SubmitStreamRequest> {
        let (mut places, mut tasks, mut bytes) = (Vec::new(), Vec::new(), 0);
        while tasks.len() < BATCH_TASKS_MAX && bytes < BATCH_BYTES_MAX {
            let Some((place, generation)) = ledger.due(Instant::now(), 1).pop() else { break };
            let item = &self.plan.items[place];
            let payload = self.plan.payload(item);
            bytes += payload.len();
            let idempotency_key = Plan::key(self.run, item, generation);
            tasks.push(v1::TaskSpec { payload, idempotency_key, ..self.template.clone() });
            places.push(place);
        }
        if tasks.is_empty() {
            return None;
        }
        let submission = self.traces.begins(&mut tasks);
        Some(v1::SubmitStreamRequest { batch_id: sent.add(places, submission), tasks, want_results: true })
    }
}

/// Batches on the present stream that are not answered yet, and whose places they hold.
#[derive(Default)]
struct Sent {
    last: u64,
    places: HashMap<u64, (Vec<usize>, Submission)>,
}

impl Sent {
    fn add(&mut self, places: Vec<usize>, submission: Submission) -> u64 {
        self.last += 1;
        self.places.insert(self.last, (places, submission));
        self.last
    }

    fn book(&mut self, answer: v1::SubmitStreamResponse, ledger: &mut Ledger, traces: &Traces) {
        if let Some(batch) = answer.batch {
            let known = self.places.remove(&batch.batch_id);
            let places = known.map(|(places, submission)| {
                traces.ends(submission, None);
                places
            });
            for (place, result) in places.unwrap_or_default().into_iter().zip(batch.results) {
                match result.error {
                    None => ledger.accepted(place, result.task_id, result.duplicate),
                    Some(error) => ledger.refused(place, &wire::status::from_item_error(error), Instant::now()),
                }
            }
        }
        for task in answer.finished {
            ledger.finished(task);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// A stream that the other side ended without a word.
fn ended() -> CliError {
    CliError::new(Exit::Unreachable, "the coordinator ended the stream before the run was over")
}

/// A restart, a cut-off of a slow reader and a lost connection can be gone on from; anything else comes again.
fn broken(status: &tonic::Status) -> Broken {
    use tonic::Code;
    let error = CliError::status("submit tasks", status);
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Cancelled => Broken::Lost(error),
        _ if lost_connection(status) => Broken::Lost(error),
        _ => Broken::Fatal(error),
    }
}
