//! The thread that sends what is queued.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::watch,
    time::{timeout, timeout_at},
};

use super::{
    context::said,
    health::{Counts, ExporterHealth},
    queue::{BATCH_SPANS_MAX, Queue, Taker},
    send::Sender,
    span::{Span, wall_clock},
};
use crate::{
    dial::{Security, Way},
    shown::without_secrets,
    time::Timestamp,
};

/// How long spans wait for others to go with them: people look at traces seconds later.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How often a batch is sent again that found nobody, and the wait before that, doubled each time: a collector that restarts
/// is back by then. Longer would only fill the queue.
const TRIES_MAX: u32 = 3;
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// What a program that ends without a word leaves its spans.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Where spans go, and within what bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector, as `http://host:port`: OTLP over gRPC.
    pub endpoint: String,
    /// Spans that wait, at most; further ones are dropped.
    pub queue_spans_max: usize,
    /// Longest wait for the collector's answer to a batch.
    pub timeout: Duration,
}

/// Whose spans they are: the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `service.name`.
    pub service: &'static str,
    /// `service.instance.id`.
    pub instance: String,
    /// `service.version`.
    pub version: &'static str,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is none.
    #[error("`{endpoint}` is no address of a collector: {problem}; write it as http://127.0.0.1:4317")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No thread.
    #[error("cannot start the thread that sends spans: {0}")]
    Thread(#[from] io::Error),
}

/// The way to a collector. Clones share it; when the last one is gone, so is the thread, soon.
#[derive(Clone, Debug)]
pub struct Exporter {
    queue: Arc<Queue>,
    stop: Arc<watch::Sender<Option<Instant>>>,
    done: watch::Receiver<bool>,
    endpoint: Arc<str>,
}

impl Settings {
    /// The way to the collector. With `https://` it is with TLS, by the files that the variables of OpenTelemetry name.
    ///
    /// # Errors
    /// What is wrong with the address or with those.
    pub fn check(&self) -> Result<Way, StartError> {
        let refused =
            |problem: String| StartError::Endpoint { endpoint: without_secrets(&self.endpoint).into_owned(), problem };
        let file = |name| said(name).map(PathBuf::from);
        let security = match self.endpoint.starts_with("https://") {
            true => Security {
                ca_file: file("OTEL_EXPORTER_OTLP_CERTIFICATE"),
                cert_file: file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
                key_file: file("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
                ..Security::default()
            },
            false => Security::default(),
        };
        let way = Way::new(&self.endpoint, security).map_err(|error| refused(error.to_string()))?;
        way.endpoint().map_err(|error| refused(error.to_string()))?;
        Ok(way)
    }
}

impl Exporter {
    /// Starts the thread. Nobody is dialled before there is a span.
    ///
    /// # Errors
    /// If the address is none, or there is no thread to be had.
    pub fn start(settings: &Settings, source: &Source) -> Result<Self, StartError> {
        let way = settings.check()?;
        let queue = Arc::new(Queue::new(settings.queue_spans_max));
        let (stop, stopped) = watch::channel(None);
        let (finished, done) = watch::channel(false);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = (Taker(Arc::clone(&queue)), source.clone(), settings.timeout);
        thread::Builder::new().name("spans".into()).spawn(move || {
            let (queue, source, timeout) = worker;
            runtime.block_on(async {
                match Sender::new(&way, &source, timeout) {
                    Ok(sender) => Worker { queue, stopped, sender }.run().await,
                    Err(error) => tracing::error!(%error, "spans cannot be sent, and are dropped"),
                }
            });
            // What still hangs on a collector must not hold up the end.
            runtime.shutdown_background();
            let _ = finished.send(true);
        })?;
        Ok(Self { queue, stop: Arc::new(stop), done, endpoint: without_secrets(&settings.endpoint).into() })
    }

    /// Sends a span, some time. Never waits: without room it is dropped, and counted.
    pub fn send(&self, span: Span) {
        self.queue.put([span]);
    }

    /// The same of several, at the cost of one.
    pub fn send_all(&self, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.queue.put(spans);
        }
    }

    /// What became of spans.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.queue.state.counts()
    }

    /// How the export is doing.
    #[must_use]
    pub fn health(&self) -> ExporterHealth {
        let failing = self.queue.state.failing(Instant::now());
        ExporterHealth { endpoint: self.endpoint.to_string(), failing, counts: self.counts() }
    }

    /// Sends what is queued, for so long at most, and ends. What comes later, or did not get away, is dropped. Answers
    /// with what became of all.
    pub async fn stop(&self, within: Duration) -> Counts {
        let until = Instant::now() + within;
        self.stop.send_replace(Some(until));
        let mut done = self.done.clone();
        // The thread gives up by itself; this is for one that is not given the processor.
        let _ = timeout_at((until + LAST_MOMENT).into(), done.wait_for(|done| *done)).await;
        self.counts()
    }

    /// The time of day, for programs that have no clock of their own.
    #[must_use]
    pub fn wall_clock() -> Timestamp {
        wall_clock()
    }
}

/// The thread.
struct Worker {
    queue: Taker,
    stopped: watch::Receiver<Option<Instant>>,
    sender: Sender,
}

impl Worker {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_SPANS_MAX);
        while self.gather(&mut batch).await {
            self.deliver(&mut batch).await;
        }
        // There is an end: what is queued still goes, as far as there is time.
        let until = self.stopped.borrow().unwrap_or_else(|| Instant::now() + LAST_MOMENT);
        self.queue.0.close();
        loop {
            self.queue.0.take(&mut batch);
            if batch.is_empty() {
                return;
            }
            match timeout_at(until.into(), self.sender.send(&batch)).await {
                Ok(outcome) => self.book(batch.len(), outcome),
                Err(_) => self.give_up(batch.len()),
            }
            batch.clear();
        }
    }

    /// Waits for a batch; false: there is an end.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let Self { queue: Taker(queue), stopped, .. } = self;
        let fills = async {
            queue.has(1).await;
            // Late is as good as full: what there is goes.
            let _ = timeout(BATCH_WAIT, queue.has(BATCH_SPANS_MAX)).await;
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(Option::is_some) => return false,
            () = fills => {}
        }
        queue.take(batch);
        true
    }

    /// Sends a batch, again if nobody took it. Ends early, with the batch as it was, if there is no more time.
    async fn deliver(&mut self, batch: &mut Vec<Span>) {
        let mut wait = RETRY_WAIT;
        for tries in 1..=TRIES_MAX {
            let outcome = tokio::select! {
                biased;
                outcome = self.sender.send(batch) => outcome,
                () = over(&mut self.stopped) => return,
            };
            let again = matches!(&outcome, Err(error) if error.may_pass && tries < TRIES_MAX);
            if !again {
                self.book(batch.len(), outcome);
                batch.clear();
                return;
            }
            if let Err(error) = outcome {
                self.say(Some(error.message));
            }
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(Option::is_some) => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait *= 2;
        }
    }

    fn book(&self, count: usize, outcome: Result<u64, super::send::SendError>) {
        let (count, state) = (count as u64, &self.queue.0.state);
        state.queued.fetch_sub(count, Ordering::Relaxed);
        match outcome {
            Ok(refused) => {
                let refused = refused.min(count);
                state.failed.fetch_add(refused, Ordering::Relaxed);
                state.exported.fetch_add(count - refused, Ordering::Relaxed);
                self.say((refused > 0).then(|| format!("the collector refused {refused} of {count} spans")));
            }
            Err(error) => {
                state.failed.fetch_add(count, Ordering::Relaxed);
                self.say(Some(error.message));
            }
        }
    }

    fn give_up(&self, count: usize) {
        self.queue.0.state.queued.fetch_sub(count as u64, Ordering::Relaxed);
        self.queue.0.state.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// One line when it begins to fail, and one when it goes well again.
    fn say(&self, error: Option<String>) {
        let shown = error.clone();
        if self.queue.0.state.went(error, Instant::now()) {
            match shown {
                Some(error) => tracing::warn!(error, "spans cannot be sent; they are dropped until they can"),
                None => tracing::info!("spans are sent again"),
            }
        }
    }
}

/// Waits until there is an end, and the time that was left for it is over.
async fn over(stopped: &mut watch::Receiver<Option<Instant>>) {
    // An error: everybody who could have said so is gone.
    let until = stopped.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    tokio::time::sleep_until(until.unwrap_or_else(|| Instant::now() + LAST_MOMENT).into()).await;
}

#[cfg(test)]
#[path = "exporter_tests.rs"]
mod tests;
