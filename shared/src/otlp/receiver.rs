//! A collector for tests: it takes spans over the wire and keeps them, or hangs, or refuses.
//!
//! Tests of other crates take this file in by its path: a feature for it would have all of them built twice.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as WireSpan, status::StatusCode},
};
use tokio::{net::TcpListener, sync::watch};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// What it does with spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It takes them.
    #[default]
    Takes,
    /// It takes them, and keeps their number alone.
    Counts,
    /// It never answers.
    Hangs,
    /// It refuses them for good.
    Refuses,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name` of whoever sent it.
    pub service: String,
    /// Its trace, its own id and its parent's, in hexadecimal; no parent: empty.
    pub trace: String,
    /// See `trace`.
    pub id: String,
    /// See `trace`.
    pub parent: String,
    /// What it is.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// See `start_ns`.
    pub end_ns: u64,
    /// As text.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    /// What went wrong.
    pub error: Option<String>,
}

/// The collector. Clones share it.
#[derive(Clone, Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spans: Mutex<Vec<Received>>,
    manner: Manner,
    /// How many spans have come, for those who wait.
    count: watch::Sender<usize>,
    /// How many calls have come, answered or not.
    calls: watch::Sender<usize>,
}

impl Receiver {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(manner: Manner) -> io::Result<Self> {
        Self::listen("127.0.0.1:0", manner).await
    }

    /// Listens at this address.
    ///
    /// # Errors
    /// If it is taken.
    pub async fn listen(address: &str, manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            spans: Mutex::default(),
            manner,
            count: watch::Sender::new(0),
            calls: watch::Sender::new(0),
        });
        let service = TraceServiceServer::new(Taking(Arc::clone(&shared)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come.
    #[must_use]
    pub fn spans(&self) -> Vec<Received> {
        self.shared.spans().clone()
    }

    /// How many have come.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until what has come is so.
    pub async fn until(&self, mut is_so: impl FnMut(&[Received]) -> bool) -> Vec<Received> {
        let mut count = self.shared.count.subscribe();
        loop {
            count.mark_unchanged();
            let spans = self.spans();
            if is_so(&spans) || count.changed().await.is_err() {
                return spans;
            }
        }
    }

    /// Waits until somebody has called so often.
    pub async fn called(&self, times: usize) {
        // The sender lives as long as this does.
        let _ = self.shared.calls.subscribe().wait_for(|calls| *calls >= times).await;
    }
}

impl Shared {
    fn spans(&self) -> MutexGuard<'_, Vec<Received>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Taking(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.calls.send_modify(|calls| *calls += 1);
        match self.0.manner {
            Manner::Takes | Manner::Counts => {}
            Manner::Hangs => std::future::pending().await,
            Manner::Refuses => return Err(Status::permission_denied("nothing is taken here")),
        }
        let mut received = Vec::new();
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            received.extend(spans.map(|span| read(&service, span)));
        }
        let count = received.len();
        if self.0.manner != Manner::Counts {
            self.0.spans().append(&mut received);
        }
        self.0.count.send_modify(|all| *all += count);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(service: &str, span: WireSpan) -> Received {
    let error = span.status.filter(|status| status.code() == StatusCode::Error).map(|status| status.message);
    Received {
        service: service.to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        error,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        _ => String::new(),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}
