//! One batch of spans on its way to the collector.

use std::{str::FromStr as _, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use tonic::{
    Code, Request,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
};

use crate::dial::{Channel, DialError, Way};

use super::{
    context::said,
    exporter::Source,
    span::{Span, attribute},
};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The conventions that names of attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

pub(super) struct Sender {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    headers: MetadataMap,
    timeout: Duration,
}

/// Why a batch was not taken.
pub(super) struct SendError {
    pub message: String,
    /// It is worth trying again.
    pub may_pass: bool,
}

impl Sender {
    /// To this collector. Must be called within the runtime that will send.
    ///
    /// # Errors
    /// If the way is none, which was checked before.
    pub fn new(way: &Way, source: &Source, timeout: Duration) -> Result<Self, DialError> {
        let endpoint = way.endpoint()?.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let client = TraceServiceClient::new(way.connect_lazy(&endpoint)?);
        Ok(Self { client, resource: resource(source), headers: headers(), timeout })
    }

    /// Sends; answers how many spans the collector refused.
    pub async fn send(&mut self, spans: &[Span]) -> Result<u64, SendError> {
        let scope = InstrumentationScope {
            name: "evenkeel".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans {
            scope: Some(scope),
            spans: spans.iter().map(Span::to_wire).collect(),
            schema_url: SCHEMA_URL.into(),
        };
        let of_resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            schema_url: SCHEMA_URL.into(),
        };
        let mut request = Request::new(ExportTraceServiceRequest { resource_spans: vec![of_resource] });
        *request.metadata_mut() = self.headers.clone();
        let sent = tokio::time::timeout(self.timeout, self.client.export(request)).await;
        match sent {
            Ok(Ok(answer)) => {
                let refused = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                Ok(u64::try_from(refused).unwrap_or(0))
            }
            Ok(Err(status)) => Err(SendError { message: format!("{status}"), may_pass: may_pass(status.code()) }),
            Err(_) => {
                let message = format!("the collector did not answer within {:?}", self.timeout);
                Err(SendError { message, may_pass: true })
            }
        }
    }
}

/// What the protocol says may be tried again.
const fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
            | Code::Unknown
    )
}

fn resource(source: &Source) -> Resource {
    let name = said("OTEL_SERVICE_NAME").unwrap_or_else(|| source.service.to_owned());
    let mut attributes = vec![
        attribute("service.name", &name.into()),
        attribute("service.namespace", &"evenkeel".into()),
        attribute("service.instance.id", &source.instance.clone().into()),
        attribute("service.version", &source.version.into()),
        attribute("process.pid", &u64::from(std::process::id()).into()),
    ];
    let more = said("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    attributes.extend(pairs(&more).map(|(name, value)| attribute(name, &value.to_owned().into())));
    Resource { attributes, ..Resource::default() }
}

/// Headers for the collector, such as a token: `OTEL_EXPORTER_OTLP_HEADERS`. They are said by the environment alone, so that
/// no configuration that is shown holds them.
fn headers() -> MetadataMap {
    let mut headers = MetadataMap::new();
    let said = said("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| said("OTEL_EXPORTER_OTLP_HEADERS"));
    for (name, value) in pairs(&said.unwrap_or_default()) {
        if let (Ok(name), Ok(mut value)) = (MetadataKey::from_str(&name.to_lowercase()), MetadataValue::from_str(value))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        } else {
            tracing::warn!("a header of OTEL_EXPORTER_OTLP_HEADERS cannot be sent and is left out");
        }
    }
    headers
}

/// `a=1,b=2`.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_what_is_none_is_left_out() {
        let read: Vec<_> = pairs("a=1, b = two ,c,,d=x=y").collect();
        assert_eq!(read, [("a", "1"), ("b", "two"), ("d", "x=y")]);
        assert_eq!(pairs("").count(), 0);
    }
}
