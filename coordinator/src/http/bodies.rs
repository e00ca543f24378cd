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
pub struct Room {
    units: Arc<Semaphore>,
    within: Duration,
}

/// A body, and the room that it takes for as long as it is there.
#[derive(Debug)]
pub struct Taken {
    /// What was sent.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self { units: Arc::new(Semaphore::new(ALL_BYTES_MAX / UNIT_BYTES)), within: WITHIN }
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
        let read = tokio::time::timeout(self.within, self.read_all(headers, body, most)).await;
        let late = |_| {
            let what = format!("the body was not there within {:?}", self.within);
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
        Ok(Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| full())?)
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const MOST: usize = 4 * UNIT_BYTES;

    fn room(units: usize, within: Duration) -> Room {
        Room { units: Arc::new(Semaphore::new(units)), within }
    }

    async fn read(room: &Room, body: Body) -> Result<Taken, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        room.read(&headers, body, MOST).await.map_err(|problem| problem.code())
    }

    fn pieces(count: usize) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        stream::iter((0..count).map(|_| Ok(Bytes::from(vec![b' '; UNIT_BYTES]))))
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_cut() {
        let body = Body::from_stream(pieces(1).chain(stream::pending()));
        assert_eq!(read(&room(8, Duration::from_millis(1)), body).await.unwrap_err(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_too_large_is_not_waited_for() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(MOST + 1));
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = room(8, WITHIN).read(&headers, never, MOST).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_body_that_says_no_size_is_counted() {
        let room = room(8, WITHIN);
        assert_eq!(read(&room, Body::from_stream(pieces(4))).await.unwrap().bytes.len(), MOST);
        assert_eq!(read(&room, Body::from_stream(pieces(5))).await.unwrap_err(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn bodies_have_so_much_room_together_and_give_it_back() {
        let room = room(6, WITHIN);
        let first = read(&room, Body::from_stream(pieces(4))).await.unwrap();
        assert_eq!(read(&room, Body::from_stream(pieces(3))).await.unwrap_err(), Code::ResourceExhausted);
        assert_eq!(read(&room, Body::from_stream(pieces(2))).await.unwrap().bytes.len(), 2 * UNIT_BYTES);
        drop(first);
        assert!(read(&room, Body::from_stream(pieces(4))).await.is_ok(), "what was refused holds nothing");
    }
}
