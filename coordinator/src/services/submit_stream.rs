//! Submissions on a stream, with their results on the same stream for those who ask.
//!
//! A few batches are on their way at a time, so that a client need not wait for one commit after the other. Reading stops
//! while too many tasks of the stream are unfinished, and the stream is cut off when its results are not read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use evenkeel_core::engine::FinishedTask;
use evenkeel_proto::v1;
use evenkeel_shared::{
    Error, TaskId,
    wire::status::{to_item_error, to_status},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    scope::Scope,
    submission::{self, Answers},
    unreadable, view,
};
use crate::{
    connections::Peer,
    gateway::Gateway,
    lifecycle::Lifecycle,
    metrics::{Metrics, SlowConsumer},
    telemetry::Call,
    waiters::{ResultSink, Results, Waiting},
};

/// Responses on their way to the client, beyond what its connection holds.
pub const OUTBOUND_MAX: usize = 16;
/// Streams at a time, of all clients: each holds some 30 KiB even if it is idle.
pub const STREAMS_MAX: usize = 4_096;
/// Batches submitted and not answered.
const BATCHES_MAX: usize = 8;
/// Tasks of one stream whose results are still to come. Beyond it nothing more is read.
const UNFINISHED_MAX: usize = 65_536;
/// Bytes of results that the client has not taken.
const RESULT_BYTES_MAX: usize = 64 << 20;
/// Results in one response.
const RESULTS_PER_RESPONSE: usize = 256;
/// Bytes of output after which a response is full; one more may be in it. Small, because [`OUTBOUND_MAX`] of them wait for
/// a client that is slow.
const RESPONSE_BYTES: usize = 1 << 20;
/// When a client that was cut off may come back.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

type Response = Result<v1::SubmitStreamResponse, Status>;

/// One stream of submissions.
pub struct SubmitStream {
    gateway: Gateway,
    metrics: Metrics,
    outbound: mpsc::Sender<Response>,
    sink: ResultSink,
    results: Results,
    /// Results that came before the answer that names their tasks: a client could make nothing of them yet.
    early: HashMap<TaskId, Arc<FinishedTask>>,
    /// What its client may submit.
    scope: Scope,
    /// Where it comes from.
    call: Call,
}

/// A batch that was answered.
struct Answered {
    batch_id: u64,
    count: usize,
    want_results: bool,
    answers: Result<Answers, Error>,
}

/// Why a stream ends early.
enum End {
    /// The client has gone.
    Gone,
    /// With this error.
    Failed(Error),
}

impl SubmitStream {
    /// A stream that answers here.
    #[must_use]
    pub fn new(gateway: Gateway, metrics: Metrics, outbound: mpsc::Sender<Response>, scope: Scope, call: Call) -> Self {
        // Room for the results of what is unfinished, and of the batches that are being submitted when that is reached.
        let tasks_max = UNFINISHED_MAX + BATCHES_MAX * evenkeel_shared::limits::SUBMIT_TASKS_MAX;
        let (sink, results) = gateway.waiters.open(tasks_max, RESULT_BYTES_MAX);
        Self { gateway, metrics, outbound, sink, results, early: HashMap::new(), scope, call }
    }

    /// Serves the stream until the client has ended it and has had every result that it asked for.
    pub async fn run(mut self, inbound: Streaming<v1::SubmitStreamRequest>, peer: Option<Peer>) {
        let waiters = self.gateway.waiters.clone();
        // Registered by the dispatcher as tasks are accepted; forgotten here if the stream ends before they do.
        let mut waiting = Waiting::register(&waiters, self.sink.clone(), &[]);
        let (outbound, lifecycle) = (self.outbound.clone(), self.gateway.lifecycle.clone());
        let end = tokio::select! {
            end = self.serve(inbound, &mut waiting) => end,
            () = lifecycle.closed() => Err(End::Failed(Lifecycle::restarting())),
            () = outbound.closed() => Err(End::Gone),
        };
        drop(waiting);
        // The results of a client that does not read are many; they are not held until it does.
        drop(self);
        // A client that has gone needs no reason.
        let Err(End::Failed(error)) = end else { return };
        let told = async {
            let _ = outbound.send(Err(to_status(&error))).await;
            outbound.closed().await;
        };
        match peer {
            Some(peer) => peer.takes_end(told).await,
            None => told.await,
        }
    }

    async fn serve(
        &mut self,
        mut inbound: Streaming<v1::SubmitStreamRequest>,
        waiting: &mut Waiting<'_>,
    ) -> Result<(), End> {
        let mut submitting: FuturesOrdered<BoxFuture<'static, Answered>> = FuturesOrdered::new();
        let overflow = self.results.overflow();
        let mut open = true;
        while open || !submitting.is_empty() || !waiting.is_empty() {
            let reads = open && submitting.len() < BATCHES_MAX && waiting.len() < UNFINISHED_MAX;
            tokio::select! {
                () = overflow.cancelled() => return Err(self.too_slow()),
                batch = inbound.message(), if reads => match batch {
                    Ok(Some(batch)) => submitting.push_back(Box::pin(self.submit(batch))),
                    Ok(None) => open = false,
                    Err(status) => return Err(unreadable(&status).map_or(End::Gone, End::Failed)),
                },
                Some(answered) = submitting.next(), if !submitting.is_empty() => {
                    self.answer(answered, waiting).await?;
                }
                Some(finished) = self.results.next() => self.finish(finished, waiting).await?,
            }
        }
        Ok(())
    }

    fn submit(&self, batch: v1::SubmitStreamRequest) -> impl Future<Output = Answered> + Send + 'static {
        let (gateway, metrics) = (self.gateway.clone(), self.metrics.clone());
        let (scope, call) = (self.scope.clone(), self.call.clone());
        let sink = batch.want_results.then(|| self.sink.clone());
        async move {
            let count = batch.tasks.len();
            let answers = submission::submit(&gateway, &metrics, batch.tasks, sink, &scope, &call).await;
            Answered { batch_id: batch.batch_id, count, want_results: batch.want_results, answers }
        }
    }

    async fn answer(&mut self, answered: Answered, waiting: &mut Waiting<'_>) -> Result<(), End> {
        let results = match &answered.answers {
            Ok(answers) => answers.iter().map(submission::to_result).collect(),
            Err(error) => {
                let refused = v1::SubmitResult { error: Some(to_item_error(error)), ..v1::SubmitResult::default() };
                vec![refused; answered.count.max(1)]
            }
        };
        let batch = Some(v1::SubmitBatch { batch_id: answered.batch_id, results });
        self.send(v1::SubmitStreamResponse { batch, finished: Vec::new() }).await?;
        if answered.want_results {
            self.expect(answered.answers.unwrap_or_default(), waiting).await?;
        }
        Ok(())
    }

    /// Expects the results of what was accepted. A task that existed before may be over already.
    async fn expect(&mut self, answers: Answers, waiting: &mut Waiting<'_>) -> Result<(), End> {
        let mut earlier: Vec<TaskId> = Vec::new();
        let mut ended = Vec::new();
        for submitted in answers.into_iter().flatten() {
            let is_new = waiting.adopt(submitted.task);
            match self.early.remove(&submitted.task) {
                Some(finished) => ended.push(finished),
                None if is_new && submitted.duplicate => earlier.push(submitted.task),
                None => {}
            }
        }
        if !earlier.is_empty() {
            ended.extend(self.gateway.look(&earlier).await.map_err(End::Failed)?.into_values());
        }
        for finished in ended {
            self.gateway.waiters.forget(finished.id, &self.sink);
            self.sink.push(finished);
        }
        Ok(())
    }

    /// Sends a result, and those that are there with it.
    async fn finish(&mut self, first: Arc<FinishedTask>, waiting: &mut Waiting<'_>) -> Result<(), End> {
        let mut response = v1::SubmitStreamResponse::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(finished) = next {
            if waiting.remove(finished.id) {
                bytes += finished.output.len();
                response.finished.push(view::finished(&finished));
            } else if self.early.len() < UNFINISHED_MAX {
                self.early.insert(finished.id, finished);
            }
            let full = response.finished.len() >= RESULTS_PER_RESPONSE || bytes >= RESPONSE_BYTES;
            next = if full { None } else { self.results.try_next() };
        }
        if response.finished.is_empty() { Ok(()) } else { self.send(response).await }
    }

    /// Sends, unless the client lets its results pile up meanwhile.
    async fn send(&self, response: v1::SubmitStreamResponse) -> Result<(), End> {
        let overflow = self.results.overflow();
        tokio::select! {
            sent = self.outbound.send(Ok(response)) => sent.map_err(|_| End::Gone),
            () = overflow.cancelled() => Err(self.too_slow()),
        }
    }

    fn too_slow(&self) -> End {
        self.metrics.slow_consumers(SlowConsumer::Results, 1);
        let what = "results are not read; the stream is cut off. The tasks go on: ask for them with Wait";
        End::Failed(Error::exhausted(what, RETRY_AFTER))
    }
}
