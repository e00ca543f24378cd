use std::sync::{Arc, Mutex};

use axum::{Router, http::HeaderMap, routing::post};

use super::{super::testing::decision, *};

/// What came in: the key and the body.
type Posts = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// Answers with these, one after the other, then with the last one.
async fn service(answers: &'static [u16]) -> (Webhook, Posts) {
    let posts = Posts::default();
    let seen = Arc::clone(&posts);
    let answer = move |headers: HeaderMap, body: String| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let mut seen = seen.lock().unwrap();
        let status = answers[seen.len().min(answers.len() - 1)];
        seen.push((key, serde_json::from_str(&body).unwrap()));
        StatusCode::from_u16(status).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scale", listener.local_addr().unwrap());
    let router = Router::new().route("/scale", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = WebhookConfig { url, timeout_ms: 5_000 };
    config.validate().unwrap();
    (Webhook::new(config), posts)
}

#[tokio::test]
async fn a_decision_is_posted_once_if_it_is_heard() {
    let (webhook, posts) = service(&[204]).await;
    webhook.scale(&decision(1, 4, &[])).await.unwrap();
    let posts = posts.lock().unwrap();
    assert_eq!((posts.len(), posts[0].0.as_str()), (1, "7"));
    assert_eq!((posts[0].1["action"].as_str(), posts[0].1["agents_after"].as_u64()), (Some("up"), Some(4)));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_key() {
    let (webhook, posts) = service(&[503, 429, 200]).await;
    webhook.scale(&decision(1, 4, &[])).await.unwrap();
    let posts = posts.lock().unwrap();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|post| *post == posts[0]));
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let (webhook, posts) = service(&[400]).await;
    let failed = webhook.scale(&decision(1, 4, &[])).await.unwrap_err().to_string();
    assert!(failed.contains("400") && posts.lock().unwrap().len() == 1, "{failed}");
    let gone = Webhook::new(WebhookConfig { url: "http://127.0.0.1:1/".into(), timeout_ms: 1_000 });
    let failed = gone.scale(&decision(1, 4, &[])).await.unwrap_err().to_string();
    assert!(failed.contains("after 3 attempts"), "{failed}");
}

#[test]
fn an_address_is_a_whole_one() {
    for url in ["", "host", "https://host/", "http:///path"] {
        let config = WebhookConfig { url: url.into(), timeout_ms: 1 };
        assert_eq!(config.validate().unwrap_err().field, "scaling.actuator.url", "{url}");
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up() {
    // It takes connections, and nobody ever reads from them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scale", silent.local_addr().unwrap());
    let webhook = Webhook::new(WebhookConfig { url, timeout_ms: 50 });
    let order = decision(1, 4, &[]);
    let failed =
        timeout(Duration::from_secs(60), webhook.scale(&order)).await.expect("it ends").unwrap_err().to_string();
    assert!(failed.ends_with("no answer within 50 ms, after 3 attempts"), "{failed}");
}
