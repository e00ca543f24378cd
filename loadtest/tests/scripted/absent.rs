//! Calls that a service of a test does not have.

/// Methods of a service that answer UNIMPLEMENTED. The names that it uses are those of whoever calls it.
macro_rules! absent {
    ($($name:ident($request:ty) -> $response:ty),+ $(,)?) => {
        $(
            fn $name<'a, 'b>(
                &'a self,
                _request: Request<$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
            }
        )+
    };
}

/// All of a cluster's calls but those about its strategy.
macro_rules! absent_but_strategies {
    () => {
        absent! {
            list_agents(evenkeel_proto::v1::ListAgentsRequest) -> evenkeel_proto::v1::ListAgentsResponse,
            describe_agent(evenkeel_proto::v1::DescribeAgentRequest) -> evenkeel_proto::v1::Agent,
            cordon_agent(evenkeel_proto::v1::CordonAgentRequest) -> evenkeel_proto::v1::Agent,
            drain_agent(evenkeel_proto::v1::DrainAgentRequest) -> evenkeel_proto::v1::Agent,
            resume_agent(evenkeel_proto::v1::ResumeAgentRequest) -> evenkeel_proto::v1::Agent,
            status(evenkeel_proto::v1::StatusRequest) -> evenkeel_proto::v1::ClusterStatus,
            events(evenkeel_proto::v1::EventsRequest) -> Self::EventsStream,
        }
    };
}

pub(crate) use {absent, absent_but_strategies};
