//! The service as tonic wants it: three methods, each a path and a codec.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{BoxFuture, BoxStream, Service, http},
    server::{Grpc, NamedService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    messages::{AGENT, Done, EXECUTE, Results, SUBMIT, Task, Tasks},
    router::Router,
};

/// The service. Clones are of the same.
#[derive(Clone)]
pub struct YardstickServer(Arc<Router>);

impl YardstickServer {
    /// Serves this router.
    pub fn new(router: Router) -> Self {
        Self(Arc::new(router))
    }
}

impl NamedService for YardstickServer {
    const NAME: &'static str = "yardstick.Router";
}

struct Execute(Arc<Router>);

impl UnaryService<Task> for Execute {
    type Response = Done;
    type Future = BoxFuture<Response<Done>, Status>;

    fn call(&mut self, request: Request<Task>) -> Self::Future {
        let router = Arc::clone(&self.0);
        Box::pin(async move { router.execute(request.into_inner()).await.map(Response::new) })
    }
}

struct Submit(Arc<Router>);

impl StreamingService<Tasks> for Submit {
    type Response = Results;
    type ResponseStream = BoxStream<Results>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Tasks>>) -> Self::Future {
        let router = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(Box::pin(router.submit(request.into_inner())) as _)) })
    }
}

struct Agent(Arc<Router>);

impl StreamingService<Results> for Agent {
    type Response = Tasks;
    type ResponseStream = BoxStream<Tasks>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Results>>) -> Self::Future {
        let router = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(Box::pin(router.agent(request.into_inner())) as _)) })
    }
}

impl Service<http::Request<Body>> for YardstickServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let router = Arc::clone(&self.0);
        match request.uri().path() {
            EXECUTE => Box::pin(async { Ok(grpc::<Done, Task>().unary(Execute(router), request).await) }),
            SUBMIT => Box::pin(async { Ok(grpc::<Results, Tasks>().streaming(Submit(router), request).await) }),
            AGENT => Box::pin(async { Ok(grpc::<Tasks, Results>().streaming(Agent(router), request).await) }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

/// Says `S` and hears `H`.
fn grpc<S, H>() -> Grpc<ProstCodec<S, H>>
where
    S: prost::Message + Default + 'static,
    H: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default())
}
