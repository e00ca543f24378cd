//! Calls before, at and after the moment at which the services are there.

use std::pin::pin;

use evenkeel_shared::{Code, Error, wire::status::from_status};
use futures_util::{FutureExt as _, poll};
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic_health::{pb::health_check_response::ServingStatus, server::HealthReporter};

use super::*;
use crate::health::serving::Serving;

/// Nothing in a test waits for so long.
const FOR_EVER: Duration = Duration::from_secs(3_600);
const GET: &str = "/evenkeel.v1.TaskService/Get";
/// A message without fields: asked of health, the coordinator as a whole.
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];

async fn port(wait_max: Duration) -> (Opening, HealthReporter) {
    let health = HealthReporter::new();
    Serving::default().tell(&health).await;
    (Opening::new(&health, Phase::new("recover"), wait_max), health)
}

fn request(path: &str) -> http::Request<Body> {
    let body = Body::new(http_body_util::Full::new(bytes::Bytes::from_static(EMPTY)).map_err(|never| match never {}));
    http::Request::post(path).header("content-type", "application/grpc").body(body).unwrap()
}

/// What a call ended with, if it failed.
fn failed(answer: &http::Response<Body>) -> Option<Error> {
    Status::from_header_map(answer.headers()).map(|status| from_status(&status))
}

async fn asked(port: &Opening, path: &str) -> http::Response<Body> {
    port.clone().call(request(path)).await.unwrap()
}

#[tokio::test]
async fn health_is_told_from_the_beginning_on_and_follows_the_start() {
    let (port, health) = port(Duration::ZERO).await;
    let mut watched = asked(&port, "/grpc.health.v1.Health/Watch").await.into_body();
    let mut told = async || {
        let frame = watched.frame().await.unwrap().unwrap().into_data().unwrap();
        // After the head of the frame one field, of one byte.
        ServingStatus::try_from(i32::from(frame[6])).unwrap()
    };
    assert_eq!(told().await, ServingStatus::NotServing);
    port.open(Routes::default());
    Serving { open: true, engine: true, store: true }.tell(&health).await;
    assert_eq!(told().await, ServingStatus::Serving, "on the stream from before");
}

#[tokio::test]
async fn what_finds_no_service_in_time_is_told_when_to_come_again() {
    let (port, _) = port(Duration::ZERO).await;
    let refused = failed(&asked(&port, GET).await).unwrap();
    assert_eq!((refused.code, refused.message.as_str()), (Code::Unavailable, "the coordinator is starting: recover"));
    assert!(refused.retry_after.is_some());
}

#[tokio::test]
async fn what_waits_is_served_first_and_what_comes_after_at_once() {
    let (port, _) = port(FOR_EVER).await;
    let mut waits = pin!(asked(&port, GET));
    assert!(poll!(&mut waits).is_pending());
    // Routes without services know no call: that they say so shows that they were asked.
    port.open(Routes::default());
    assert_eq!(failed(&waits.await).unwrap().code, Code::Unimplemented);
    let after = asked(&port, GET).now_or_never().expect("nothing to wait for");
    assert_eq!(failed(&after).unwrap().code, Code::Unimplemented);
}

#[tokio::test]
async fn only_so_many_wait() {
    let (port, _) = port(FOR_EVER).await;
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(asked(&port, GET))).collect();
    for call in &mut waiting {
        assert!(poll!(call).is_pending());
    }
    let refused = asked(&port, GET).now_or_never().expect("it does not wait");
    assert_eq!(failed(&refused).unwrap().code, Code::Unavailable);
    // One that goes makes room.
    drop(waiting.pop());
    assert!(asked(&port, GET).now_or_never().is_none());
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so_by_http_before_and_after_the_start() {
    let (port, _) = port(FOR_EVER).await;
    let check = || {
        let mut plain = request(GET);
        plain.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        let answer = port.clone().call(plain).now_or_never().expect("it does not wait").unwrap();
        assert_eq!((answer.status().as_u16(), failed(&answer).is_none()), (415, true));
    };
    check();
    port.open(Routes::default());
    check();
}
