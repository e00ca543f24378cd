//! Calls of the gRPC services from within the process: what a route asks goes through the same code as what a client asks
//! over the wire, with its checks, its counters and its errors.
//!
//! A service takes an HTTP request with a framed message in its body, and answers with framed messages and a status in the
//! headers or the trailers; none of it touches a socket. Rejected: calling the services' methods, which would need a line of
//! code for each that the table of routes and the descriptors already have.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, header},
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use evenkeel_proto::v1::{
    admin_service_server::AdminServiceServer, cluster_service_server::ClusterServiceServer,
    resource_service_server::ResourceServiceServer, task_service_server::TaskServiceServer,
};
use evenkeel_shared::{Code, Error, limits::MESSAGE_BYTES_MAX, wire::status::from_status};
use http_body_util::BodyExt as _;
use tonic::{Status, codegen::Service};

use crate::services::{admin::Admin, cluster::Cluster, resource::Resources, task::Tasks};

/// Before each message: whether it is compressed, and its length in bytes.
const FRAME_HEAD_BYTES: usize = 5;

/// The services.
#[derive(Clone)]
pub struct Calls {
    tasks: TaskServiceServer<Tasks>,
    cluster: ClusterServiceServer<Cluster>,
    resources: ResourceServiceServer<Resources>,
    admin: AdminServiceServer<Admin>,
}

impl Calls {
    /// Of these.
    pub fn new(tasks: Tasks, cluster: Cluster, resources: Resources, admin: Admin) -> Self {
        Self {
            tasks: TaskServiceServer::new(tasks).max_decoding_message_size(MESSAGE_BYTES_MAX),
            cluster: ClusterServiceServer::new(cluster),
            resources: ResourceServiceServer::new(resources),
            admin: AdminServiceServer::new(admin),
        }
    }

    /// Makes a call (`evenkeel.v1.TaskService`, `Get`) with an encoded message, and returns its answers, `most` of them.
    ///
    /// # Errors
    /// What the service says.
    pub async fn call(&self, service: &str, method: &str, message: &[u8], most: usize) -> Result<Vec<Bytes>, Error> {
        let request = framed(service, method, message)?;
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

async fn ask<S>(mut service: S, request: Request<Body>) -> Response<tonic::body::Body>
where
    S: Service<Request<Body>, Response = Response<tonic::body::Body>, Error = Infallible>,
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
