//! An address to which decisions are posted.
//!
//! A post that is not answered is tried again, so the same decision may come twice: its number is in the body and in the
//! header `idempotency-key`. Plain HTTP only: who wants TLS puts a proxy on this machine, or uses `command` with a program
//! that speaks it; a TLS stack for one request an hour was not worth its weight.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_core::capacity::Decision;
use evenkeel_shared::Violation;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{Actuator, ActuatorError, Order, timeout_ms};

/// Posts of one decision: it is made anew by the policy if all fail.
const ATTEMPTS_MAX: u32 = 3;
/// Before the second post; then it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Settings of `webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post, as `http://HOST:PORT/PATH`.
    pub url: String,
    /// How long one post may take, in milliseconds.
    #[serde(default = "timeout_default")]
    pub timeout_ms: u64,
}

/// Ten seconds: it says that it has heard, and works afterwards.
const fn timeout_default() -> u64 {
    10_000
}

impl WebhookConfig {
    pub(super) fn validate(&self) -> Result<(), Violation> {
        let uri: Option<Uri> = self.url.parse().ok();
        if !uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
            let what = format!("is `{}`; an address such as http://127.0.0.1:9000/scale is needed", self.url);
            return Err(Violation::new("scaling.actuator.url", what));
        }
        timeout_ms("scaling.actuator.timeout_ms", self.timeout_ms)
    }
}

/// Posts each decision.
pub struct Webhook {
    config: WebhookConfig,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why a post failed.
enum Failed {
    /// Another try may help.
    Again(String),
    /// It would fail again.
    ForGood(String),
}

impl Webhook {
    /// With these settings.
    #[must_use]
    pub fn new(config: WebhookConfig) -> Self {
        Self { config, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn post(&self, key: &str, body: &Bytes) -> Result<(), Failed> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.config.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Full::new(body.clone()))
            .map_err(|error| Failed::ForGood(error.to_string()))?;
        let within = Duration::from_millis(self.config.timeout_ms);
        // Only the status is read; the body is left to the connection, which is closed with it.
        match timeout(within, self.client.request(request)).await {
            Err(_) => Err(Failed::Again(format!("no answer within {} ms", within.as_millis()))),
            Ok(Err(error)) => Err(Failed::Again(words(&error))),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => {
                let status = answer.status();
                let again = status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
                let words = format!("answered {status}");
                Err(if again { Failed::Again(words) } else { Failed::ForGood(words) })
            }
        }
    }
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[tonic::async_trait]
impl Actuator for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn scale(&self, decision: &Decision) -> Result<(), ActuatorError> {
        let failed = |reason| ActuatorError::Request { url: self.config.url.clone(), reason };
        let body = serde_json::to_vec(&Order::from(decision)).map_err(|error| failed(error.to_string()))?;
        let (key, body) = (decision.id.to_string(), Bytes::from(body));
        let mut wait = RETRY_FIRST;
        for attempt in 1..=ATTEMPTS_MAX {
            match self.post(&key, &body).await {
                Ok(()) => return Ok(()),
                Err(Failed::ForGood(reason)) => return Err(failed(reason)),
                Err(Failed::Again(reason)) if attempt == ATTEMPTS_MAX => {
                    return Err(failed(format!("{reason}, after {attempt} attempts")));
                }
                Err(Failed::Again(reason)) => {
                    tracing::warn!(url = self.config.url, reason, "a decision could not be posted; it is tried again");
                    sleep(wait).await;
                    wait *= 2;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
