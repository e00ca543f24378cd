//! The way to a coordinator: address, channel, clients.

use std::time::Duration;

use evenkeel_proto::v1::{
    cluster_service_client::ClusterServiceClient, resource_service_client::ResourceServiceClient,
    task_service_client::TaskServiceClient,
};
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use tonic::transport::{Channel, Endpoint};

use crate::exit::{CliError, Exit, UNREACHABLE_HINT};

/// Longest wait for a connection: a coordinator within reach answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is tried, so that a dead coordinator is noticed while a call waits for hours.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long an answer to that may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a coordinator is.
#[derive(Clone, Debug)]
pub struct Address {
    url: String,
    endpoint: Endpoint,
}

impl Address {
    /// Reads `http://host:port` or `host:port`.
    ///
    /// # Errors
    /// If it is no address.
    pub fn new(text: &str) -> Result<Self, CliError> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| {
            CliError::usage(format!("`{text}` is not the address of a coordinator"))
                .because(error)
                .hint("write it as http://127.0.0.1:7400")
        })?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(CliError::usage(format!("`{text}` does not begin with http://"))
                .because("this build speaks gRPC without TLS only")
                .hint("write it as http://127.0.0.1:7400"));
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Ok(Self { url, endpoint })
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if nobody answers there.
    pub async fn connect(&self) -> Result<Clients, CliError> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            CliError::new(Exit::Unreachable, format!("no coordinator answers at {}", self.url))
                .because(root_cause(&error))
                .hint(UNREACHABLE_HINT)
        })?;
        Ok(Clients::new(channel))
    }
}

/// The innermost error, which says what really happened ("connection refused").
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The clients of one connection.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Tasks.
    pub tasks: TaskServiceClient<Channel>,
    /// The fleet.
    pub cluster: ClusterServiceClient<Channel>,
    /// Limits, budgets, scaling, measurements, advice.
    pub resources: ResourceServiceClient<Channel>,
}

impl Clients {
    fn new(channel: Channel) -> Self {
        let tasks = TaskServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let cluster = ClusterServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let resources = ResourceServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { tasks, cluster, resources }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_the_scheme_out() {
        assert_eq!(Address::new("127.0.0.1:7400").unwrap().url(), "http://127.0.0.1:7400");
        assert_eq!(Address::new("http://example.org:7400").unwrap().url(), "http://example.org:7400");
    }

    #[test]
    fn what_is_no_address_is_a_mistake_of_usage() {
        for bad in ["", "https://x:1", "http://", "a b"] {
            assert_eq!(Address::new(bad).unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
    }
}
