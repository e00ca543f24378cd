//! The bodies of requests: of the right type, bounded, and in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use evenkeel_shared::{Code, Error};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// A body takes so long at most: a slow one holds memory and a connection. 2 MiB in it are 1.7 Mbit/s.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of all bodies that are being read or answered: 32 of the largest, or as many small ones as there are connections.
const ALL_BYTES_MAX: usize = 64 << 20;
/// When one that found no room may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The unit in which room is counted, so that it fits the semaphore's numbers.
const UNIT_BYTES: usize = 1 << 10;

/// Room for bodies.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

/// A body, and the room that it takes for as long as it is there.
#[derive(Debug)]
pub struct Taken {
    /// What was sent.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BYTES_MAX / UNIT_BYTES)))
    }
}

impl Room {
    /// Reads a body of at most `most` bytes.
    ///
    /// # Errors
    /// 408, 413, 415 or 429; 400 if it breaks off.
    pub async fn read(&self, headers: &HeaderMap, body: Body, most: usize) -> Result<Taken, Problem> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|bytes: usize| bytes > most) {
            return Err(too_large(most));
        }
        let read = tokio::time::timeout(WITHIN, self.read_all(headers, body, most)).await;
        let late = |_| {
            let what = format!("the body was not there within {} s", WITHIN.as_secs());
            Problem::with_status(StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, what)
        };
        read.map_err(late)?
    }

    async fn read_all(&self, headers: &HeaderMap, mut body: Body, most: usize) -> Result<Taken, Problem> {
        let (mut bytes, mut room) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        let mut units = 0;
        while let Some(frame) = body.frame().await {
            let broken = |error| Error::new(Code::InvalidArgument, format!("the body breaks off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.is_empty() && !data.is_empty() {
                check_type(headers)?;
            }
            if bytes.len() + data.len() > most {
                return Err(too_large(most));
            }
            bytes.extend_from_slice(&data);
            let more = bytes.len().div_ceil(UNIT_BYTES) - units;
            if more > 0 {
                units += more;
                let more = self.take(more)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
        }
        Ok(Taken { bytes: bytes.freeze(), _room: room })
    }

    fn take(&self, units: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let full = || Error::exhausted("too many bodies are being read at once", RETRY_AFTER);
        let units = u32::try_from(units).map_err(|_| full())?;
        Ok(Arc::clone(&self.0).try_acquire_many_owned(units).map_err(|_| full())?)
    }
}

fn too_large(most: usize) -> Problem {
    let what = format!("the body is larger than {most} bytes");
    Problem::with_status(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument, what)
}

/// JSON and nothing else: what a form of a web page can send is refused.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported =
        |what: &str| Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, what);
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(unsupported("the body must be of the type `application/json`"));
    }
    let coding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("the body must not be compressed"));
    }
    Ok(())
}
