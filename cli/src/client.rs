//! The way to a coordinator: address, channel, clients.

use std::time::Duration;

use evenkeel_proto::v1::{
    admin_service_client::AdminServiceClient, cluster_service_client::ClusterServiceClient,
    resource_service_client::ResourceServiceClient, task_service_client::TaskServiceClient,
};
use evenkeel_shared::{
    dial::{Channel, DialError, Security, Way, explain},
    limits::MESSAGE_BYTES_MAX,
};
use tonic::transport::Endpoint;

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
    way: Way,
    endpoint: Endpoint,
}

impl Address {
    /// Reads `http://host:port`, `https://host:port`, or `host:port`, of a coordinator that is trusted and shown this.
    ///
    /// # Errors
    /// If it is no address, or what is to be shown cannot be shown there.
    pub fn secured(text: &str, security: Security) -> Result<Self, CliError> {
        let wrong = |error: DialError| CliError::usage("the coordinator cannot be reached like that").because(error);
        let way = Way::new(text, security).map_err(wrong)?;
        let endpoint = way
            .endpoint()
            .map_err(wrong)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Ok(Self { way, endpoint })
    }

    /// The way there, for whoever does not speak gRPC.
    #[must_use]
    pub const fn way(&self) -> &Way {
        &self.way
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.way.url()
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if nobody answers there.
    pub async fn channel(&self) -> Result<Channel, CliError> {
        self.way.connect(&self.endpoint).await.map_err(|error| match (&error, own_fault(&error)) {
            (_, Some(fault)) => CliError::usage(format!("could not set up TLS to {}", self.url())).because(fault),
            (DialError::Connect(_), None) => {
                CliError::new(Exit::Unreachable, format!("no coordinator answers at {}", self.url()))
                    .because(root_cause(&error))
                    .hint(explain(&error).unwrap_or_else(|| UNREACHABLE_HINT.to_owned()))
            }
            _ => CliError::usage(format!("could not show {} who this is", self.url())).because(&error),
        })
    }

    /// Connects, for the coordinator's own services.
    ///
    /// # Errors
    /// As for [`Address::channel`].
    pub async fn connect(&self) -> Result<Clients, CliError> {
        self.channel().await.map(Clients::new)
    }
}

/// What is wrong on this side: with a file, say.
fn own_fault(error: &DialError) -> Option<&DialError> {
    let first: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let causes = std::iter::successors(first, |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<DialError>()).find(|fault| {
        matches!(
            fault,
            DialError::File { .. } | DialError::Unusable { .. } | DialError::NoAuthorities | DialError::Tls(_)
        )
    })
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
    /// The coordinator itself.
    pub admin: AdminServiceClient<Channel>,
}

impl Clients {
    fn new(channel: Channel) -> Self {
        let tasks = TaskServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let cluster = ClusterServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let resources = ResourceServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let admin = AdminServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { tasks, cluster, resources, admin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, CliError> {
        Address::secured(text, Security::default())
    }

    #[test]
    fn an_address_may_leave_the_scheme_out() {
        assert_eq!(address("127.0.0.1:7400").unwrap().url(), "http://127.0.0.1:7400");
        assert_eq!(address("http://example.org:7400").unwrap().url(), "http://example.org:7400");
    }

    #[test]
    fn what_is_no_address_is_a_mistake_of_usage() {
        for bad in ["", "ftp://x:1", "http://", "a b"] {
            assert_eq!(address(bad).unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
    }
}
