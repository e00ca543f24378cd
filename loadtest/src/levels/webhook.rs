//! Sends alerts by HTTP POST, without ever being waited for.
//!
//! Alerts go through a bounded queue to a task of their own: a receiver that is slow or gone costs the run nothing but the
//! alerts, and how many were not delivered is told at the end. Plain HTTP alone, as the rest of the program has no client
//! with TLS; a relay beside the harness can speak to receivers elsewhere. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri, http::uri::Scheme};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{LevelError, Severity};

/// Alerts that wait for a slow receiver. A run has some dozens; more is a level that flaps.
const QUEUE_MAX: usize = 256;
/// Longest try to deliver one, the connection included.
const TRY_MAX: Duration = Duration::from_secs(2);
/// Tries for each alert; a receiver that fails three times in a row is not to be had in time.
const TRIES_MAX: u32 = 3;
/// Pause before the second try; doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// What still waits at the end of the run may take so long.
const LAST_MAX: Duration = Duration::from_secs(5);
/// Client errors that pass: Request Timeout, Too Early, Too Many Requests.
const RETRYABLE_CLIENT_ERRORS: [StatusCode; 3] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum About {
    /// A service level is violated, beyond its grace.
    LevelViolated,
    /// It holds again.
    LevelRecovered,
    /// The change under test is in force.
    ChangeMade,
    /// What was before is in force again.
    ChangeUndone,
    /// The service levels hold again after it.
    ChangeRecovered,
    /// The change could not be made, undone or judged.
    ChangeFailed,
    /// The run ends before its time.
    RunStopped,
    /// The verdict.
    Verdict,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Alert {
    pub(super) event: About,
    pub(super) scenario: String,
    pub(super) run: String,
    /// Seconds since the start of the run.
    pub(super) at_s: f64,
    pub(super) text: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<AlertLevel>,
}

/// What an alert says of a level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AlertLevel {
    pub(super) level: String,
    pub(super) severity: Severity,
    pub(super) measure: String,
    pub(super) value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_least: Option<f64>,
    pub(super) since_s: f64,
}

/// Checks the address of a webhook.
///
/// # Errors
/// It is no address that alerts can be posted to.
pub(super) fn check(url: &str) -> Result<Uri, LevelError> {
    let wrong = |problem| LevelError::Webhook { url: url.to_owned(), problem };
    let uri: Uri = url.parse().map_err(|_| wrong("is no URL; write it as http://HOST:PORT/PATH"))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS => {
            return Err(wrong("needs TLS, which alerts do not speak; post to a relay on this machine instead"));
        }
        _ => return Err(wrong("is no http URL; write it as http://HOST:PORT/PATH")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("names no host; write it as http://HOST:PORT/PATH"));
    }
    Ok(uri)
}

/// Where alerts go. Dropping it gives up what is not delivered.
#[derive(Debug)]
pub(super) struct Webhook {
    url: Uri,
    queue: mpsc::Sender<Bytes>,
    sender: JoinHandle<()>,
    results: mpsc::UnboundedReceiver<Result<(), String>>,
    offered: u64,
}

impl Webhook {
    /// Starts the task that sends; within a runtime.
    pub(super) fn start(url: Uri) -> Self {
        let (queue, alerts) = mpsc::channel(QUEUE_MAX);
        // As bounded as the run: one for each alert that the queue took.
        let (told, results) = mpsc::unbounded_channel();
        let sender = tokio::spawn(send_all(url.clone(), alerts, told));
        Self { url, queue, sender, results, offered: 0 }
    }

    /// Sends an alert, some time.
    pub(super) fn send(&mut self, alert: &Alert) {
        self.offered += 1;
        if let Ok(body) = serde_json::to_vec(alert) {
            // A full queue is counted: what has no result is undelivered.
            let _ = self.queue.try_send(body.into());
        }
    }

    /// Waits a little for what is under way; says how many alerts were not delivered, if any were not.
    pub(super) async fn close(self) -> Option<String> {
        self.close_within(LAST_MAX).await
    }

    async fn close_within(self, wait_max: Duration) -> Option<String> {
        let Self { url, queue, mut sender, mut results, offered } = self;
        drop(queue);
        if timeout(wait_max, &mut sender).await.is_err() {
            sender.abort();
        }
        let (mut delivered, mut error) = (0, None);
        while let Ok(result) = results.try_recv() {
            match result {
                Ok(()) => delivered += 1,
                Err(failure) => error = Some(failure),
            }
        }
        let undelivered = offered - delivered;
        let because = error.map(|error| format!(": {error}")).unwrap_or_default();
        (undelivered > 0).then(|| format!("{undelivered} of {offered} alerts were not delivered to {url}{because}"))
    }
}

async fn send_all(url: Uri, mut alerts: mpsc::Receiver<Bytes>, told: mpsc::UnboundedSender<Result<(), String>>) {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(TRY_MAX));
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    while let Some(body) = alerts.recv().await {
        if told.send(deliver(&client, &url, &body).await).is_err() {
            return;
        }
    }
}

async fn deliver(client: &Client<HttpConnector, Full<Bytes>>, url: &Uri, body: &Bytes) -> Result<(), String> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let failure = match timeout(TRY_MAX, post(client, url, body)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure,
            Err(_) => Failure { text: format!("no answer within {} s", TRY_MAX.as_secs()), lasting: false },
        };
        if failure.lasting || tries >= TRIES_MAX {
            return Err(failure.text);
        }
        sleep(pause).await;
        pause *= 2;
        tries += 1;
    }
}

struct Failure {
    text: String,
    /// Another try would end the same way.
    lasting: bool,
}

async fn post(client: &Client<HttpConnector, Full<Bytes>>, url: &Uri, body: &Bytes) -> Result<(), Failure> {
    let request = Request::post(url).header("content-type", "application/json").body(Full::new(body.clone()));
    let request = request.map_err(|error| Failure { text: error.to_string(), lasting: true })?;
    let answer = client.request(request).await;
    let answer = answer.map_err(|error| Failure { text: with_causes(&error), lasting: false })?;
    let status = answer.status();
    let lasting = !status.is_server_error() && !RETRYABLE_CLIENT_ERRORS.contains(&status);
    if status.is_success() { Ok(()) } else { Err(Failure { text: format!("it answered {status}"), lasting }) }
}

/// An error and what caused it; the client's own message says little.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
