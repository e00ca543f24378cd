//! Alerts sent to a receiver over a real connection.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// A receiver that answers each request with the next of these status lines, and the last one from then on.
async fn receiver(statuses: &'static [&'static str]) -> (Uri, Arc<Mutex<Vec<serde_json::Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap()).parse().unwrap();
    let received = Arc::new(Mutex::new(Vec::new()));
    let bodies = received.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = read(&mut stream).await;
            bodies.lock().unwrap().push(body);
            let status = statuses.get(turn).or(statuses.last()).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, received)
}

/// The JSON body of a request that says how long it is.
async fn read(stream: &mut tokio::net::TcpStream) -> serde_json::Value {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 1_024];
        let length = stream.read(&mut part).await.unwrap();
        assert!(length > 0, "the request broke off");
        bytes.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("POST /alerts HTTP/1.1"), "{head}");
            assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
            // The body is complete once it is JSON.
            if let Ok(json) = serde_json::from_str(body) {
                return json;
            }
        }
    }
}

fn alert(at_s: f64) -> Alert {
    let level = AlertLevel {
        level: "latency".to_owned(),
        severity: Severity::Critical,
        measure: "p99 of end to end".to_owned(),
        value: 212.0,
        at_most: Some(100.0),
        at_least: None,
        since_s: 9.0,
    };
    let (scenario, run) = ("smoke".to_owned(), "r1".to_owned());
    Alert { event: About::LevelViolated, scenario, run, at_s, text: "it is bad".to_owned(), level: Some(level) }
}

#[tokio::test]
async fn alerts_arrive_in_order_with_all_they_say() {
    let (url, received) = receiver(&["204 No Content"]).await;
    let mut webhook = Webhook::start(url);
    webhook.send(&alert(12.0));
    webhook.send(&Alert { event: About::Verdict, level: None, ..alert(13.0) });
    assert_eq!(webhook.close().await, None);
    let expected = serde_json::json!([
        {
            "event": "level_violated", "scenario": "smoke", "run": "r1", "at_s": 12.0, "text": "it is bad",
            "level": "latency", "severity": "critical", "measure": "p99 of end to end", "value": 212.0,
            "at_most": 100.0, "since_s": 9.0,
        },
        {"event": "verdict", "scenario": "smoke", "run": "r1", "at_s": 13.0, "text": "it is bad"},
    ]);
    assert_eq!(serde_json::Value::Array(received.lock().unwrap().clone()), expected);
}

#[tokio::test]
async fn a_receiver_that_fails_for_a_moment_gets_the_alert() {
    let (url, received) = receiver(&["503 Service Unavailable", "429 Too Many Requests", "200 OK"]).await;
    let mut webhook = Webhook::start(url);
    webhook.send(&alert(1.0));
    assert_eq!(webhook.close().await, None);
    assert_eq!(received.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_receiver_that_refuses_is_not_asked_again() {
    let (url, received) = receiver(&["404 Not Found"]).await;
    let mut webhook = Webhook::start(url);
    webhook.send(&alert(1.0));
    let told = webhook.close().await.unwrap();
    assert!(told.starts_with("1 of 1 alerts were not delivered to http://127.0.0.1:"), "{told}");
    assert!(told.ends_with("it answered 404 Not Found"), "{told}");
    assert_eq!(received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_the_run_nothing_and_is_told_of() {
    // It listens, and that is all it does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut webhook = Webhook::start(format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap());
    for _ in 0..QUEUE_MAX * 2 {
        // It would wait here if it waited for the receiver.
        webhook.send(&alert(1.0));
    }
    let told = webhook.close_within(Duration::from_millis(50)).await.unwrap();
    assert!(told.starts_with("512 of 512 alerts were not delivered"), "{told}");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let mut webhook = Webhook::start(url);
    webhook.send(&alert(1.0));
    let told = webhook.close().await.unwrap();
    assert!(told.contains("1 of 1 alerts") && told.contains("refused"), "{told}");
}
