//! Request sizes: what tasks of a kind reserve, whatever their clients ask for.
//!
//! They are the engine's, which is asked for them: what is stored says no more.

use evenkeel_core::{
    engine::{ControlCommand, Put},
    sizing::Size,
};
use evenkeel_proto::v1;
use evenkeel_shared::{Error, Kind, Violation, wire::cut_note};

use super::Resources;

pub(super) async fn list_request_sizes(
    resources: &Resources,
    request: v1::ListRequestSizesRequest,
) -> Result<v1::ListRequestSizesResponse, Error> {
    let matches = |size: &Size| request.kind.is_empty() || size.kind.as_str() == request.kind;
    let found = sizes(resources).await?.into_iter().filter(|(size, _)| matches(size));
    Ok(v1::ListRequestSizesResponse { sizes: found.map(to_size).collect() })
}

pub(super) async fn put_request_size(
    resources: &Resources,
    request: v1::PutRequestSizeRequest,
) -> Result<v1::RequestSize, Error> {
    let said = request.size.ok_or_else(|| Violation::new("size", "is required"))?;
    let size = read_size(said).map_err(|violation| violation.within("size"))?;
    size.validate()?;
    let show = |put: &Put| match put {
        Put::Size(size, version) => Some(to_size((size.clone(), *version))),
        _ => None,
    };
    resources.gateway.put(ControlCommand::PutSize(size), cut_note(request.reason), show).await
}

pub(super) async fn delete_request_size(
    resources: &Resources,
    request: v1::DeleteRequestSizeRequest,
) -> Result<v1::DeleteRequestSizeResponse, Error> {
    let kind = Kind::new(&request.kind).map_err(|wrong| Violation::new("kind", wrong.description))?;
    resources.gateway.control(ControlCommand::RemoveSize(kind), cut_note(request.reason)).await?;
    Ok(v1::DeleteRequestSizeResponse {})
}

/// The size of a kind that is in force.
pub(super) async fn size(resources: &Resources, kind: &Kind) -> Result<Option<Size>, Error> {
    let kind = kind.clone();
    resources.gateway.look_at(move |engine, _| engine.size(&kind).cloned()).await
}

/// Puts a size in force; one that says nothing is removed.
pub(super) async fn declare(resources: &Resources, size: Size, reason: String) -> Result<(), Error> {
    let command = if size.is_empty() { ControlCommand::RemoveSize(size.kind) } else { ControlCommand::PutSize(size) };
    resources.gateway.control(command, reason).await
}

async fn sizes(resources: &Resources) -> Result<Vec<(Size, u64)>, Error> {
    resources.gateway.look_at(|engine, _| engine.sizes()).await
}

fn read_size(said: v1::RequestSize) -> Result<Size, Violation> {
    let v1::RequestSize { kind, cpu_millis, memory_bytes, version: _ } = said;
    let kind = Kind::new(&kind).map_err(|wrong| Violation::new("kind", wrong.description))?;
    let set = |amount: u64| (amount > 0).then_some(amount);
    Ok(Size { kind, cpu_millis: set(cpu_millis), memory_bytes: set(memory_bytes) })
}

fn to_size((size, version): (Size, u64)) -> v1::RequestSize {
    v1::RequestSize {
        kind: size.kind.as_str().to_owned(),
        cpu_millis: size.cpu_millis.unwrap_or(0),
        memory_bytes: size.memory_bytes.unwrap_or(0),
        version,
    }
}
