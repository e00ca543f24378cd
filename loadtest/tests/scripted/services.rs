//! The scripted coordinator's side of gRPC. What the harness does not call is not there.

use evenkeel_proto::v1::{
    agent_service_server::AgentService, cluster_service_server::ClusterService, task_service_server::TaskService, *,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Answers, Message, Scripted,
    absent::{absent, absent_but_strategies},
};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AgentService for Scripted {
    type SessionStream = Answers<CoordinatorFrame>;

    async fn session(&self, request: Request<Streaming<AgentFrame>>) -> Answer<Self::SessionStream> {
        let mut frames = request.into_inner();
        let (agent, answers) = mpsc::unbounded_channel();
        let scripted = self.clone();
        tokio::spawn(async move {
            let mut agent_id = String::new();
            while let Ok(Some(frame)) = frames.message().await {
                for message in frame.messages.into_iter().filter_map(|message| message.message) {
                    if let Message::Register(register) = message {
                        agent_id.clone_from(&register.agent_id);
                        scripted.registered(register, agent.clone());
                    } else {
                        scripted.heard(&agent_id, &agent, message);
                    }
                }
            }
            scripted.state.lock().unwrap().agents.retain(|(id, _)| *id != agent_id);
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}

#[tonic::async_trait]
impl TaskService for Scripted {
    type SubmitStreamStream = Answers<SubmitStreamResponse>;
    type WatchStream = Answers<TaskEvent>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<SubmitStreamRequest>>,
    ) -> Answer<Self::SubmitStreamStream> {
        let mut requests = request.into_inner();
        let (client, answers) = mpsc::unbounded_channel();
        let scripted = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                scripted.submitted(&client, request);
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Answer<WaitResponse> {
        if self.is_silent() {
            return Err(Status::unavailable("silent as planned"));
        }
        let state = self.state.lock().unwrap();
        let ids = request.into_inner().task_ids;
        let finished = ids.iter().filter_map(|id| state.tasks[id].finished.clone()).collect();
        Ok(Response::new(WaitResponse { finished, pending_task_ids: Vec::new() }))
    }

    absent! {
        submit(SubmitRequest) -> SubmitResponse,
        execute(ExecuteRequest) -> ExecuteResponse,
        get(GetRequest) -> GetResponse,
        watch(WatchRequest) -> Self::WatchStream,
        cancel(CancelRequest) -> CancelResponse,
        list(ListRequest) -> ListResponse,
        explain(ExplainRequest) -> Explanation,
        redrive(RedriveRequest) -> RedriveResponse,
    }
}

#[tonic::async_trait]
impl ClusterService for Scripted {
    type EventsStream = Answers<ClusterEvent>;

    async fn get_strategy(&self, _request: Request<GetStrategyRequest>) -> Answer<StrategyConfig> {
        let strategy = Some(strategy_config::Strategy::RoundRobin(RoundRobin {}));
        Ok(Response::new(StrategyConfig { strategy }))
    }

    absent! {
        set_strategy(SetStrategyRequest) -> StrategyConfig,
    }
    absent_but_strategies! {}
}
