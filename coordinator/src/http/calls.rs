//! Calls of the gRPC services from within the process: what a route asks goes through the same code as what a client asks
//! over the wire, with its checks, its counters and its errors.
//!
//! A service takes an HTTP request with a framed message in its body, and answers with framed messages and a status in the
//! headers or the trailers; none of it touches a socket. Rejected: calling the services' methods, which would need a line of
//! code for each that the table of routes and the descriptors already have.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{Extensions, HeaderMap, HeaderValue, Request, Response, header},
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use evenkeel_proto::v1::{
    admin_service_server::AdminServiceServer, cluster_service_server::ClusterServiceServer,
    resource_service_server::ResourceServiceServer, task_service_server::TaskServiceServer,
};
use evenkeel_shared::{Code, Error, limits::MESSAGE_BYTES_MAX, wire::status::from_status};
use http_body_util::BodyExt as _;
use tonic::{Status, codegen::Service};

use crate::{
    connections::Peer,
    security::{Gate, PeerCertificate, Secured},
    services::{admin::Admin, cluster::Cluster, resource::Resources, task::Tasks},
};

/// Before each message: whether it is compressed, and its length in bytes.
const FRAME_HEAD_BYTES: usize = 5;

/// The place in a trace that a request is made from.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// What a request says of who makes it and from where: its credentials, its place in a trace, and what is known of its
/// connection.
#[derive(Clone, Default)]
pub struct Who {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Who {
    /// Who has made this request.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let mut who = Self::default();
        for value in headers.get_all(header::AUTHORIZATION) {
            who.headers.append(header::AUTHORIZATION, value.clone());
        }
        for name in TRACE_HEADERS {
            if let Some(value) = headers.get(name) {
                who.headers.insert(name, value.clone());
            }
        }
        if let Some(peer) = extensions.get::<Peer>() {
            who.extensions.insert(peer.clone());
        }
        if let Some(certificate) = extensions.get::<PeerCertificate>() {
            who.extensions.insert(certificate.clone());
        }
        who
    }
}

/// The services.
#[derive(Clone)]
pub struct Calls {
    tasks: Secured<TaskServiceServer<Tasks>>,
    cluster: Secured<ClusterServiceServer<Cluster>>,
    resources: Secured<ResourceServiceServer<Resources>>,
    admin: Secured<AdminServiceServer<Admin>>,
    gate: Gate,
}

impl Calls {
    /// Of these, behind this gate.
    pub fn new(tasks: Tasks, cluster: Cluster, resources: Resources, admin: Admin, gate: Gate) -> Self {
        let tasks = TaskServiceServer::new(tasks).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self {
            tasks: Secured::new(tasks, gate.clone()),
            cluster: Secured::new(ClusterServiceServer::new(cluster), gate.clone()),
            resources: Secured::new(ResourceServiceServer::new(resources), gate.clone()),
            admin: Secured::new(AdminServiceServer::new(admin), gate.clone()),
            gate,
        }
    }

    /// Whether the call would be let in, before the body of its request is read.
    ///
    /// # Errors
    /// What the call would be refused with.
    pub fn check(&self, service: &str, method: &str, who: &Who) -> Result<(), Error> {
        self.gate.check(&format!("/{service}/{method}"), &who.headers, &who.extensions)
    }

    /// Makes a call (`evenkeel.v1.TaskService`, `Get`) with an encoded message, as who asks, and returns its answers, `most`
    /// of them.
    ///
    /// # Errors
    /// What the service says.
    pub async fn call(
        &self,
        service: &str,
        method: &str,
        who: Who,
        message: &[u8],
        most: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let mut request = framed(service, method, message)?.map(tonic::body::Body::new);
        for (name, value) in &who.headers {
            request.headers_mut().append(name, value.clone());
        }
        *request.extensions_mut() = who.extensions;
        let answer = match service {
            "evenkeel.v1.TaskService" => ask(self.tasks.clone(), request).await,
            "evenkeel.v1.ClusterService" => ask(self.cluster.clone(), request).await,
            "evenkeel.v1.ResourceService" => ask(self.resources.clone(), request).await,
            "evenkeel.v1.AdminService" => ask(self.admin.clone(), request).await,
            _ => return Err(Error::new(Code::Unimplemented, format!("there is no service {service}"))),
        };
        messages(answer, most).await
    }
}

async fn ask<S>(mut service: S, request: Request<tonic::body::Body>) -> Response<tonic::body::Body>
where
    S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Error = Infallible>,
{
    // These services are always ready, and their error cannot be made.
    match service.call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn framed(service: &str, method: &str, message: &[u8]) -> Result<Request<Body>, Error> {
    let bad = |_| Error::new(Code::InvalidArgument, "the request is too large");
    let mut body = BytesMut::with_capacity(FRAME_HEAD_BYTES + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(bad)?);
    body.put_slice(message);
    let mut request = Request::post(format!("/{service}/{method}"));
    if let Some(headers) = request.headers_mut() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    let unmade = |_| Error::new(Code::Internal, format!("no call can be made of {service}/{method}"));
    request.body(Body::from(body.freeze())).map_err(unmade)
}

/// The messages of an answer, or the error that it ends with.
async fn messages(answer: Response<tonic::body::Body>, most: usize) -> Result<Vec<Bytes>, Error> {
    let (head, mut body) = answer.into_parts();
    ended(Status::from_header_map(&head.headers))?;
    let (mut read, mut found) = (BytesMut::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|status| from_status(&status))?;
        match frame.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => ended(frame.trailers_ref().and_then(Status::from_header_map))?,
        }
        while let Some(message) = take_message(&mut read) {
            found.push(message);
            if found.len() == most {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn ended(status: Option<Status>) -> Result<(), Error> {
    match status {
        Some(status) if status.code() != tonic::Code::Ok => Err(from_status(&status)),
        _ => Ok(()),
    }
}

fn take_message(read: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(read.get(1..FRAME_HEAD_BYTES)?.try_into().ok()?) as usize;
    if read.len() - FRAME_HEAD_BYTES < length {
        return None;
    }
    read.advance(FRAME_HEAD_BYTES);
    Some(read.split_to(length).freeze())
}
