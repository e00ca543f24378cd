//! An address to which decisions are posted.
//!
//! A post that is not answered is tried again, so the same decision may come twice: its number is in the body and in the
//! header `idempotency-key`. It goes the way that clients go ([`evenkeel_shared::dial`]): with TLS 1.3 where the address says
//! https, whose certificate must be of the system's authorities or of those in `ca_file`; and never with a token in the open.
//! Each post has a connection of its own: they are minutes apart, and what was renewed in a file counts at once.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use evenkeel_core::capacity::Decision;
use evenkeel_shared::{
    Violation,
    dial::{DialError, Security, Way},
    shown::without_secrets,
};
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Actuator, ActuatorError, Order, timeout_ms};

/// Posts of one decision: it is made anew by the policy if all fail.
const ATTEMPTS_MAX: u32 = 3;
/// Before the second post; then it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Settings of `webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post, as `https://HOST:PORT/PATH` or `http://HOST:PORT/PATH`.
    pub url: String,
    /// The authorities that the certificate of an https address may be of, in PEM. Not set: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with a token that is sent as `authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
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
        let url = |what: String| Violation::new("scaling.actuator.url", what);
        let whole = self.uri().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if whole.is_none() {
            return Err(url(format!(
                "is `{}`; an address such as https://scaler.example/scale or http://127.0.0.1:9000/scale is needed",
                without_secrets(&self.url)
            )));
        }
        self.way().map_err(|error| url(error.to_string()))?;
        timeout_ms("scaling.actuator.timeout_ms", self.timeout_ms)
    }
}

impl WebhookConfig {
    fn uri(&self) -> Option<Uri> {
        self.url.parse().ok()
    }

    fn way(&self) -> Result<Way, DialError> {
        let (ca_file, token_file) = (self.ca_file.clone(), self.token_file.clone());
        Way::new(&self.url, Security { ca_file, token_file, ..Security::default() })
    }
}

/// Posts each decision.
pub struct Webhook {
    config: WebhookConfig,
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
    pub const fn new(config: WebhookConfig) -> Self {
        Self { config }
    }

    async fn post(&self, key: &str, body: &Bytes) -> Result<(), Failed> {
        let within = Duration::from_millis(self.config.timeout_ms);
        let late = |_| Failed::Again(format!("no answer within {} ms", within.as_millis()));
        match timeout(within, self.answer(key, body)).await.map_err(late)?? {
            status if status.is_success() => Ok(()),
            status => {
                let again = status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
                let words = format!("answered {status}");
                Err(if again { Failed::Again(words) } else { Failed::ForGood(words) })
            }
        }
    }

    /// Posts once, and answers with the status: the body is left to the connection, which is closed with it.
    async fn answer(&self, key: &str, body: &Bytes) -> Result<StatusCode, Failed> {
        let undialled = |error: DialError| match error {
            // A server that is starting, or a file that is being renewed.
            DialError::Reach { .. } | DialError::Handshake { .. } | DialError::File { .. } => {
                Failed::Again(words(&error))
            }
            _ => Failed::ForGood(words(&error)),
        };
        let way = self.config.way().map_err(undialled)?;
        let authorization = way.authorization().map_err(undialled)?;
        let uri = self.config.uri().unwrap_or_default();
        let host = uri.authority().map_or("", |authority| without_user(authority.as_str()));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header("idempotency-key", key)
            .body(Full::new(body.clone()))
            .map_err(|error| Failed::ForGood(error.to_string()))?;
        if let Some(token) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let stream = way.http().await.map_err(undialled)?;
        let broken = |error: hyper::Error| Failed::Again(words(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer, or with whoever waits for that.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        sender.send_request(request).await.map(|answer| answer.status()).map_err(broken)
    }
}

/// What stands before an `@` is no part of a host.
fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
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
                    tracing::warn!(url = %without_secrets(&self.config.url), reason, "a decision could not be posted; it is tried again");
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
