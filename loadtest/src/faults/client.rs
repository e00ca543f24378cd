//! Calls to the coordinator under test, and shorthand for what faults ask often.

use std::time::Duration;

use evenkeel_proto::v1::{self, cluster_service_client::ClusterServiceClient, task_service_client::TaskServiceClient};
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use super::lab::{FaultError, until};

/// Longest single call.
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// Longest wait for agents to have a session.
const AGENTS_MAX: Duration = Duration::from_secs(60);

/// Clients of a coordinator.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Of tasks.
    pub tasks: TaskServiceClient<Channel>,
    /// Of the fleet.
    pub cluster: ClusterServiceClient<Channel>,
    channel: Channel,
    http: String,
}

impl Clients {
    /// Clients that dial this URL, and ask `http` for metrics.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(url: &str, http: String) -> Result<Self, FaultError> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| FaultError::Other(error.to_string()))?;
        let channel = endpoint.connect_timeout(CALL_MAX).timeout(CALL_MAX).tcp_nodelay(true).connect_lazy();
        Ok(Self {
            tasks: TaskServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            cluster: ClusterServiceClient::new(channel.clone()),
            channel,
            http,
        })
    }

    /// The connection that they share.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How things stand.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn status(&mut self) -> Result<v1::ClusterStatus, FaultError> {
        let answer = self.cluster.status(v1::StatusRequest {}).await;
        Ok(answer.map_err(FaultError::call("Status"))?.into_inner())
    }

    /// An agent, if the coordinator knows it.
    pub async fn agent(&mut self, id: &str) -> Option<v1::Agent> {
        let request = v1::DescribeAgentRequest { agent_id: id.into() };
        Some(self.cluster.describe_agent(request).await.ok()?.into_inner())
    }

    /// A task with its attempts.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn task(&mut self, id: &str) -> Result<v1::Task, FaultError> {
        let request = v1::GetRequest { task_id: id.into(), include_payload: false, include_attempts: true };
        let answer = self.tasks.get(request).await.map_err(FaultError::call("Get"))?;
        answer.into_inner().task.ok_or_else(|| FaultError::Other(format!("Get answered no task for {id}")))
    }

    /// Every beginning and end of an agent's session that the coordinator still knows of, in order.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn fleet_events(&self) -> Result<Vec<v1::ClusterEvent>, FaultError> {
        use v1::ClusterEventType::{AgentJoined, AgentLeft, AgentLost, AgentReturned};
        let types = [AgentJoined, AgentReturned, AgentLost, AgentLeft].map(Into::into).to_vec();
        let request = v1::EventsRequest { types, ..v1::EventsRequest::default() };
        let failed = FaultError::call;
        let mut stream = self.cluster.clone().events(request).await.map_err(failed("Events"))?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await.map_err(failed("Events"))? {
            events.push(event);
        }
        Ok(events)
    }

    /// Waits until so many agents have a session.
    ///
    /// # Errors
    /// If they never are.
    pub async fn until_agents(&self, count: u32) -> Result<(), FaultError> {
        let what = format!("{count} agents have a session");
        let there = || {
            let mut clients = self.clone();
            async move {
                let status = clients.status().await.ok()?;
                // Agents whose tasks have failed, as they were told to, count as degraded for a while.
                let there = status.agents_healthy + status.agents_degraded + status.agents_unhealthy;
                (there >= count).then_some(())
            }
        };
        until(&what, AGENTS_MAX, there).await
    }

    /// The value of a metric by its name and labels as they are written, such as `evenkeel_tasks_accepted_total`; the sum
    /// where the name has several. 0 where it is not shown.
    ///
    /// # Errors
    /// If the metrics cannot be had.
    pub async fn metric(&self, name: &str) -> Result<f64, FaultError> {
        let (_, text) = self.http_get("/metrics").await?;
        let values = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' ') || (rest.starts_with('{') && !name.contains('{')))
        });
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Asks for a page; answers status and body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn http_get(&self, path: &str) -> Result<(u16, String), FaultError> {
        let failed = |error: std::io::Error| FaultError::Other(format!("GET {path} failed: {error}"));
        let asked = async {
            let mut stream = TcpStream::connect(&self.http).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: coordinator\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = match timeout(CALL_MAX, asked).await {
            Ok(text) => text.map_err(failed)?,
            Err(_) => return Err(FaultError::Never { what: format!("GET {path} is answered"), waited: CALL_MAX }),
        };
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        Ok((status.unwrap_or(0), body))
    }
}
