use std::{future::IntoFuture as _, net::SocketAddr, sync::Arc};

use axum::{Router, http::HeaderMap, routing::post};
use evenkeel_shared::FailureClass;
use tokio::{net::TcpListener, sync::Notify};

use super::*;
use crate::executors::testing::task;

/// Serves `router` on a port of its own; gives its address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

async fn run(config: HttpConfig, payload: &'static str) -> Result<Bytes, ExecutionError> {
    HttpExecutor::new(config).unwrap().execute(task(payload).0).await
}

async fn check_status(status: u16, class: FailureClass) {
    let status = StatusCode::from_u16(status).unwrap();
    let url = serve(Router::new().route("/", post(move || async move { (status, "because") }))).await;
    let error = run(HttpConfig::new(url), "").await.unwrap_err();
    assert_eq!(error.failure().class, class, "{error}");
    assert!(error.to_string().ends_with(&format!("answered {status}: because")), "{error}");
}

#[tokio::test]
async fn the_payload_is_posted_and_the_body_is_the_output() {
    let shout = |body: String| async move { body.to_uppercase() };
    let url = serve(Router::new().route("/shout", post(shout))).await;
    assert_eq!(run(HttpConfig::new(format!("{url}/shout")), "hello").await, Ok(Bytes::from("HELLO")));
}

#[tokio::test]
async fn the_headers_say_which_attempt_it_is() {
    let names = ["task-id", "attempt", "assignment-id", "kind", "tenant", "timeout-ms"];
    let echo = move |headers: HeaderMap| async move {
        let value = |name| headers[format!("x-evenkeel-{name}")].to_str().unwrap().to_owned();
        names.map(value).join(" ")
    };
    let url = serve(Router::new().route("/", post(echo))).await;
    let expected = "00000000-0000-0000-0000-000000000007 1 70 test default 60000";
    assert_eq!(run(HttpConfig::new(url), "").await, Ok(Bytes::from(expected)));
}

#[tokio::test]
async fn the_status_decides_about_another_attempt() {
    for lasting in [400, 404, 422] {
        check_status(lasting, FailureClass::NonRetryable).await;
    }
    for passing in [408, 425, 429, 500, 503, 302] {
        check_status(passing, FailureClass::Retryable).await;
    }
}

#[tokio::test]
async fn an_answer_up_to_the_limit_is_taken_and_a_longer_one_is_not() {
    let url = serve(Router::new().route("/", post(|body: String| async { body }))).await;
    let limited = HttpConfig { output_bytes_max: 4, ..HttpConfig::new(url) };
    assert_eq!(run(limited.clone(), "1234").await, Ok(Bytes::from("1234")));
    let error = run(limited, "12345").await.unwrap_err();
    assert_eq!(error.failure().class, FailureClass::NonRetryable);
    assert!(error.to_string().contains("limit of 4 bytes"), "{error}");
}

#[tokio::test]
async fn a_service_that_is_away_is_worth_another_attempt() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(run(HttpConfig::new(url), "").await.unwrap_err().failure().class, FailureClass::Retryable);
}

#[tokio::test]
async fn a_cancelled_attempt_drops_its_request() {
    let (arrived, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (on_arrival, on_drop) = (Arc::clone(&arrived), Arc::clone(&dropped));
    let hang = move || {
        let guard = NotifyOnDrop(Arc::clone(&on_drop));
        on_arrival.notify_one();
        async move {
            let _guard = guard;
            std::future::pending::<String>().await
        }
    };
    let url = serve(Router::new().route("/", post(hang))).await;
    let (task, token) = task("");
    let executor = HttpExecutor::new(HttpConfig::new(url)).unwrap();
    let execution = tokio::spawn(async move { executor.execute(task).await });
    arrived.notified().await;
    token.cancel();
    assert!(execution.await.unwrap().is_err());
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, dropped.notified()).await.expect("the service still works on the request");
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[test]
fn useless_configurations_are_refused() {
    for url in ["", "/path", "https://127.0.0.1/", "http://", "127.0.0.1:80"] {
        let refused = HttpExecutor::new(HttpConfig::new(url)).map(drop).unwrap_err();
        assert!(matches!(refused, ExecutorConfigError::Url { .. }), "{refused}");
    }
}

#[tokio::test]
async fn costs_are_said_in_a_header_whatever_the_status() {
    for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let answer = move || async move { (status, [("evenkeel-cost", "usd=0.12, tokens=1500, nonsense")], "x") };
        let url = serve(Router::new().route("/", post(answer))).await;
        let task = task("").0;
        let meter = Arc::clone(task.meter());
        let result = HttpExecutor::new(HttpConfig::new(url)).unwrap().execute(task).await;
        assert_eq!(result.is_ok(), status.is_success());
        let usage = meter.usage().unwrap();
        let cost: Vec<String> = usage.cost.iter().map(|(unit, amount)| format!("{unit}={amount}")).collect();
        assert_eq!(cost, ["tokens=1500", "usd=0.12"]);
    }
}

#[tokio::test]
async fn too_many_requests_are_the_quota_of_the_task_or_the_one_that_is_named() {
    let key = |name: &str| QuotaKey::new(name).unwrap();
    for (named, retry_after, reported) in [(None, Some("30"), ("of-task", 30)), (Some("named"), None, ("named", 10))] {
        let answer = move || async move {
            let mut headers = HeaderMap::new();
            named.into_iter().for_each(|key| drop(headers.insert("evenkeel-quota", key.parse().unwrap())));
            retry_after.into_iter().for_each(|seconds| drop(headers.insert("retry-after", seconds.parse().unwrap())));
            (StatusCode::TOO_MANY_REQUESTS, headers, "slow down")
        };
        let url = serve(Router::new().route("/", post(answer))).await;
        let mut task = task("").0;
        task.quota_keys = vec![key("of-task")];
        let meter = Arc::clone(task.meter());
        let error = HttpExecutor::new(HttpConfig::new(url)).unwrap().execute(task).await.unwrap_err();
        assert_eq!(error.failure().class, FailureClass::QuotaExhausted, "{error}");
        let quotas = meter.take_quotas();
        assert_eq!((quotas.len(), &quotas[0].key, quotas[0].retry_after.as_secs()), (1, &key(reported.0), reported.1));
    }
}
