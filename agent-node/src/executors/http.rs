//! Posts tasks to a local HTTP service.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use evenkeel_shared::QuotaKey;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Request, StatusCode, Uri, body::Incoming, http::uri::Scheme};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{ExecutorConfigError, check_output_limit, output_bytes_max};
use crate::task::{ExecutionError, Executor, TaskContext};

/// Longest wait for a connection: the service is near, or it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What an attempt cost, in a service's answer.
const COST_HEADER: &str = "evenkeel-cost";
/// Which upstream quota a 429 is about.
const QUOTA_HEADER: &str = "evenkeel-quota";
/// How long a quota counts as used up when an answer of 429 does not say.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(10);
/// What is shown of an error's body.
const ERROR_BODY_BYTES: usize = 512;
/// What is read of an error's body to show some of it.
const ERROR_BODY_BYTES_READ: usize = 64 << 10;
/// Client errors that pass: Request Timeout, Too Early, Too Many Requests.
const RETRYABLE_CLIENT_ERRORS: [StatusCode; 3] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// A service that does the work of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to post to. Plain HTTP: this is for a service beside the agent.
    pub url: String,
    /// Longest output, 1 byte to 1 MiB. A longer answer fails the task.
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: usize,
}

impl HttpConfig {
    /// This URL, with every other setting at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), output_bytes_max: output_bytes_max() }
    }
}

/// Posts the payload; the body of a 2xx answer is the output. A header `evenkeel-cost: usd=0.12, tokens=1500` says what the
/// attempt cost, whatever the status. 429 means that the task's upstream quotas (or the one that a header `evenkeel-quota` names)
/// are used up for as long as `retry-after` says in seconds. Answers of 408, 425, 429 and all but 4xx are worth another
/// attempt. Redirects are not followed. A cancelled attempt closes the connection.
#[derive(Clone, Debug)]
pub struct HttpExecutor {
    url: Uri,
    output_bytes_max: usize,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpExecutor {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The setting at fault.
    pub fn new(config: HttpConfig) -> Result<Self, ExecutorConfigError> {
        let refuse = |problem: String| ExecutorConfigError::Url { url: config.url.clone(), problem };
        let url: Uri = config.url.parse().map_err(|error| refuse(format!("{error}")))?;
        if url.scheme() != Some(&Scheme::HTTP) || url.host().is_none_or(str::is_empty) {
            return Err(refuse("it is not an absolute http URL".into()));
        }
        check_output_limit(config.output_bytes_max)?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { url, output_bytes_max: config.output_bytes_max, client })
    }

    fn request(&self, task: &TaskContext) -> Result<Request<Full<Bytes>>, ExecutionError> {
        let attempt = task.attempt;
        let mut request = Request::post(&self.url)
            .header("content-type", "application/octet-stream")
            .header("x-evenkeel-task-id", attempt.task.to_string())
            .header("x-evenkeel-attempt", attempt.attempt.0)
            .header("x-evenkeel-assignment-id", attempt.assignment.0)
            .header("x-evenkeel-kind", task.kind.as_str())
            .header("x-evenkeel-tenant", task.tenant.as_str())
            .header("x-evenkeel-timeout-ms", u64::try_from(task.timeout.as_millis()).unwrap_or(u64::MAX));
        if let Some(trace) = task.trace.as_deref() {
            request = request.header("traceparent", trace.parent());
            if !trace.state().is_empty() {
                request = request.header("tracestate", trace.state());
            }
        }
        request
            .body(Full::new(task.payload.clone()))
            .map_err(|error| ExecutionError::non_retryable(format!("the task makes no HTTP request: {error}")))
    }

    async fn post(&self, task: &TaskContext) -> Result<Bytes, ExecutionError> {
        let url = &self.url;
        let unreachable = |error| ExecutionError::retryable(format!("no answer from {url}: {}", with_causes(&error)));
        let answer = self.client.request(self.request(task)?).await.map_err(unreachable)?;
        let status = answer.status();
        report_costs(answer.headers(), task);
        if !status.is_success() {
            let quota = (status == StatusCode::TOO_MANY_REQUESTS).then(|| Quota::of(answer.headers(), task));
            let said = error_text(answer.into_body()).await;
            let message = format!("{url} answered {status}{said}");
            if let Some(error) = quota.and_then(|quota| quota.report(task, &message)) {
                return Err(error);
            }
            let lasting = status.is_client_error() && !RETRYABLE_CLIENT_ERRORS.contains(&status);
            return Err(if lasting {
                ExecutionError::non_retryable(message)
            } else {
                ExecutionError::retryable(message)
            });
        }
        match Limited::new(answer.into_body(), self.output_bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ExecutionError::non_retryable(format!(
                "the answer of {url} is longer than the output limit of {} bytes",
                self.output_bytes_max
            ))),
            Err(error) => Err(ExecutionError::retryable(format!(
                "the answer of {url} broke off: {}",
                with_causes(error.as_ref())
            ))),
        }
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let cancelled = task.cancelled();
        tokio::select! {
            result = self.post(&task) => result,
            () = cancelled.cancelled() => Err(ExecutionError::retryable("the request was dropped")),
        }
    }
}

/// What the service says that it cost. A part that is not understood is logged and ignored: the work is done.
fn report_costs(headers: &HeaderMap, task: &TaskContext) {
    let values = headers.get_all(COST_HEADER).iter();
    for part in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        let said = part.split_once('=').and_then(|(unit, amount)| Some((unit.trim(), amount.trim().parse().ok()?)));
        let reported = said.map(|(unit, amount)| task.report_cost(unit, amount));
        if !matches!(reported, Some(Ok(()))) {
            warn!(task = %task.attempt.task, part, "a cost in a service's answer is ignored; write unit=number");
        }
    }
}

/// Upstream quotas that a service found used up.
struct Quota {
    keys: Vec<QuotaKey>,
    retry_after: Duration,
}

impl Quota {
    fn of(headers: &HeaderMap, task: &TaskContext) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let named = text(QUOTA_HEADER).and_then(|key| QuotaKey::new(key.trim()).ok());
        // A date instead of seconds counts as not said: services that limit rates say seconds.
        let seconds = text("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        Self {
            keys: named.map_or_else(|| task.quota_keys.clone(), |key| vec![key]),
            retry_after: seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs),
        }
    }

    /// Reports all of them; `None` if it is not known which.
    fn report(self, task: &TaskContext, message: &str) -> Option<ExecutionError> {
        let mut errors = self.keys.iter().map(|key| task.quota_exhausted(key, self.retry_after, message));
        let first = errors.next();
        errors.for_each(drop);
        first
    }
}

/// The beginning of an error's body, for its message; nothing if it cannot be had.
async fn error_text(body: Incoming) -> String {
    let Ok(body) = Limited::new(body, ERROR_BODY_BYTES_READ).collect().await else { return String::new() };
    let body = body.to_bytes();
    let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_BODY_BYTES)]).trim().to_owned();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// An error and what caused it; the client's own message says little.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
