//! The cluster service: what operators ask about the fleet, and want of it.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use evenkeel_core::{engine::AdminCommand, model::AgentView};
use evenkeel_proto::v1::{self, cluster_service_server::ClusterService};
use evenkeel_shared::{
    AdminState, AgentId, Error, EventPosition, Health, Kind, LabelRule, StrategyConfig, Violation,
    limits::REQUIRED_RULES_MAX,
    wire::{
        cut_note, enums,
        labels::label_rules,
        quantities::{duration, to_unix_ms},
        strategy::{strategy, to_strategy},
    },
};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{page_size, refuse, task::kept, view, watchers::ClusterEvents};
use crate::{
    actors::publisher::{Describe, Publisher},
    gateway::Gateway,
    hub::Hub,
    lifecycle::Lifecycle,
    metrics::Metrics,
    snapshot::Snapshot,
    store::ClusterEventFilter,
    watch::{OUTBOUND_MAX, Watcher},
};

/// Agents of a page, where nothing is said, and at most.
const PAGE_MAX: u32 = 1_000;
/// When an operator who asked together with too many others may ask again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The service.
#[derive(Clone)]
pub struct Cluster {
    /// The way to the coordinator.
    pub gateway: Gateway,
    /// What is shown.
    pub snapshot: Snapshot,
    /// Who shows it.
    pub publisher: Addr<Publisher>,
    /// Those who watch.
    pub hub: Hub<evenkeel_core::model::ClusterEvent>,
    /// Who this coordinator is.
    pub identity: Arc<Identity>,
    /// The strategy in force. Its lock also puts changes of it in one order.
    pub strategy: Arc<Mutex<StrategyConfig>>,
    /// Counters.
    pub metrics: Metrics,
}

/// Who a coordinator is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, made anew at each start.
    pub coordinator_id: String,
    /// Its program's version.
    pub version: &'static str,
    /// Where its data is.
    pub data_dir: String,
    /// It makes spans: of an attempt's trace, agents are told the attempt's own.
    pub traces: bool,
}

impl Cluster {
    fn refuse(&self, error: &Error) -> Status {
        refuse(&self.metrics, error)
    }

    /// The numbers of the whole, and who this is.
    #[must_use]
    fn status_now(&self) -> v1::ClusterStatus {
        v1::ClusterStatus {
            coordinator_id: self.identity.coordinator_id.clone(),
            version: self.identity.version.to_owned(),
            started_unix_ms: to_unix_ms(self.gateway.clock.started_at()),
            ready: self.gateway.lifecycle.is_ready(),
            data_directory: self.identity.data_dir.clone(),
            ..view::status(&self.snapshot.status())
        }
    }

    /// A page of the fleet.
    ///
    /// # Errors
    /// The field at fault.
    pub fn agents(&self, request: v1::ListAgentsRequest) -> Result<v1::ListAgentsResponse, Violation> {
        let size = page_size(request.page_size, PAGE_MAX, PAGE_MAX)? as usize;
        let after = request.page_token.clone();
        let filter = AgentFilter::read(request)?;
        let mut agents = self.snapshot.agents(&after, size + 1, |agent| filter.wants(agent));
        let more = agents.len() > size;
        agents.truncate(size);
        let last = agents.last().filter(|_| more);
        Ok(v1::ListAgentsResponse {
            next_page_token: last.map(|agent| agent.spec.id.as_str().to_owned()).unwrap_or_default(),
            agents: agents.iter().map(|agent| view::agent(agent)).collect(),
        })
    }

    /// One agent.
    ///
    /// # Errors
    /// An illegal id, or NOT_FOUND.
    pub fn agent(&self, id: &str) -> Result<v1::Agent, Error> {
        let id = AgentId::new(id)?;
        let agent = self.snapshot.agent(&id).ok_or_else(|| Error::not_found("agent", id.as_str()))?;
        Ok(view::agent(&agent))
    }

    async fn command(&self, agent_id: &str, command: AdminCommand, reason: String) -> Result<v1::Agent, Error> {
        let agent = AgentId::new(agent_id)?;
        self.gateway.admin(agent.clone(), command, cut_note(reason)).await?;
        // The publisher, not the snapshot: its answer has the change in it.
        let (answer, view) = oneshot::channel();
        let asked = self.publisher.try_send(Describe { agent, answer });
        asked.map_err(|_| {
            Error::exhausted("it is done, but too many ask for agents at once; list them later", RETRY_AFTER)
        })?;
        let view = view.await.map_err(|_| Lifecycle::restarting())?;
        view.map(|agent| view::agent(&agent)).ok_or_else(|| Error::not_found("agent", agent_id))
    }

    async fn watcher(&self, request: v1::EventsRequest) -> Result<(ClusterEvents, EventPosition), Error> {
        let kind = |(i, number): (usize, &i32)| {
            let field = format!("types[{i}]");
            view::cluster_event_kind(*number)
                .ok_or_else(|| Violation::new(field, format!("{number} is not a type of event")))
        };
        let filter = ClusterEventFilter {
            agent: if request.agent_id.is_empty() { None } else { Some(AgentId::new(&request.agent_id)?) },
            kinds: request.types.iter().enumerate().map(kind).collect::<Result<_, _>>()?,
        };
        let after = match request.after_position {
            Some(position) => kept(&self.gateway, EventPosition(position)).await?,
            None => EventPosition::default(),
        };
        Ok((ClusterEvents { reads: self.gateway.reads.clone(), filter }, after))
    }
}

/// Which agents are listed.
struct AgentFilter {
    health: Vec<Health>,
    admin: Vec<AdminState>,
    kind: Option<Kind>,
    labels: Vec<LabelRule>,
}

impl AgentFilter {
    fn read(request: v1::ListAgentsRequest) -> Result<Self, Violation> {
        let unknown = |field: &str, i: usize, number: i32| {
            Violation::new(format!("{field}[{i}]"), format!("{number} is not known"))
        };
        let health = request.health.iter().enumerate();
        let health = health.map(|(i, number)| enums::health(*number).ok_or_else(|| unknown("health", i, *number)));
        let admin = request.admin_states.iter().enumerate();
        let admin =
            admin.map(|(i, number)| enums::admin_state(*number).ok_or_else(|| unknown("admin_states", i, *number)));
        Ok(Self {
            health: health.collect::<Result<_, _>>()?,
            admin: admin.collect::<Result<_, _>>()?,
            kind: if request.kind.is_empty() { None } else { Some(Kind::new(&request.kind)?) },
            labels: label_rules("labels", request.labels, REQUIRED_RULES_MAX)?,
        })
    }

    fn wants(&self, agent: &AgentView) -> bool {
        (self.health.is_empty() || self.health.contains(&agent.health))
            && (self.admin.is_empty() || self.admin.contains(&agent.admin))
            && self.kind.as_ref().is_none_or(|kind| agent.spec.kinds.contains(kind))
            && self.labels.iter().all(|rule| rule.matches(&agent.spec.labels))
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    type EventsStream = ReceiverStream<Result<v1::ClusterEvent, Status>>;

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        self.agents(request.into_inner()).map(Response::new).map_err(|violation| self.refuse(&violation.into()))
    }

    async fn describe_agent(&self, request: Request<v1::DescribeAgentRequest>) -> Result<Response<v1::Agent>, Status> {
        self.agent(&request.get_ref().agent_id).map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn cordon_agent(&self, request: Request<v1::CordonAgentRequest>) -> Result<Response<v1::Agent>, Status> {
        let v1::CordonAgentRequest { agent_id, reason } = request.into_inner();
        let agent = self.command(&agent_id, AdminCommand::Cordon, reason).await;
        agent.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn drain_agent(&self, request: Request<v1::DrainAgentRequest>) -> Result<Response<v1::Agent>, Status> {
        let v1::DrainAgentRequest { agent_id, deadline_ms, reason } = request.into_inner();
        let drained = async {
            let deadline = duration("deadline_ms", deadline_ms)?;
            self.command(&agent_id, AdminCommand::Drain(deadline), reason).await
        };
        drained.await.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn resume_agent(&self, request: Request<v1::ResumeAgentRequest>) -> Result<Response<v1::Agent>, Status> {
        let agent = self.command(&request.get_ref().agent_id, AdminCommand::Resume, String::new()).await;
        agent.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn get_strategy(&self, _: Request<v1::GetStrategyRequest>) -> Result<Response<v1::StrategyConfig>, Status> {
        Ok(Response::new(to_strategy(&*self.strategy.lock().await)))
    }

    async fn set_strategy(
        &self,
        request: Request<v1::SetStrategyRequest>,
    ) -> Result<Response<v1::StrategyConfig>, Status> {
        let set = async {
            let wire = request.into_inner().strategy.unwrap_or_default();
            let wanted = strategy(wire).map_err(|violation| violation.within("strategy"))?;
            let mut current = self.strategy.lock().await;
            self.gateway.set_strategy(wanted.clone()).await?;
            *current = wanted;
            Ok(to_strategy(&current))
        };
        set.await.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::ClusterStatus>, Status> {
        Ok(Response::new(self.status_now()))
    }

    async fn events(&self, request: Request<v1::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let request = request.into_inner();
        let follow = request.follow;
        let (source, after) = self.watcher(request).await.map_err(|error| self.refuse(&error))?;
        let (outbound, events) = mpsc::channel(OUTBOUND_MAX);
        let lifecycle = self.gateway.lifecycle.clone();
        let watcher = Watcher { source, hub: self.hub.clone(), outbound, lifecycle };
        tokio::spawn(watcher.run(Some(after), follow));
        Ok(Response::new(ReceiverStream::new(events)))
    }
}
