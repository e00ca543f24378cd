use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, http::HeaderMap, routing::post};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{super::testing::decision, *};
use crate::{
    config::TlsConfig,
    security::tls::{
        Tls,
        testing::{Authority, Holder},
    },
};

fn at(url: &str, timeout_ms: u64) -> WebhookConfig {
    WebhookConfig { url: url.into(), ca_file: None, token_file: None, timeout_ms }
}

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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scale", listener.local_addr().unwrap());
    let router = Router::new().route("/scale", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = at(&url, 5_000);
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
    let gone = Webhook::new(at("http://127.0.0.1:1/", 1_000));
    let failed = gone.scale(&decision(1, 4, &[])).await.unwrap_err().to_string();
    assert!(failed.contains("after 3 attempts"), "{failed}");
}

#[test]
fn an_address_is_a_whole_one() {
    for url in ["", "host", "ftp://host/", "http:///path", "https://"] {
        assert_eq!(at(url, 1).validate().unwrap_err().field, "scaling.actuator.url", "{url}");
    }
    for url in ["http://host/", "https://host", "https://host:8443/scale?fleet=a"] {
        assert_eq!(at(url, 1).validate(), Ok(()), "{url}");
    }
    // A token that would be sent to another machine for everybody to read.
    let open = WebhookConfig { token_file: Some("token".into()), ..at("http://elsewhere.example/", 1) };
    assert_eq!(open.validate().unwrap_err().field, "scaling.actuator.url");
}

/// What a server that speaks TLS was sent: the lines of the head, and the body.
type Heard = tokio::sync::oneshot::Receiver<(Vec<String>, Vec<u8>)>;

/// A server with a certificate of this authority, that takes one post.
async fn encrypted(directory: &Path, authority: &Authority) -> (String, Heard) {
    authority.issue(&Holder::server()).write(directory, "server");
    let (cert_file, key_file) = (directory.join("server.pem"), directory.join("server.key"));
    let tls = Tls::new(&TlsConfig { cert_file, key_file, ..TlsConfig::default() }).unwrap().unwrap();
    let acceptor = TlsAcceptor::from(tls.http().unwrap().load_full());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/scale?fleet=a", listener.local_addr().unwrap().port());
    let (tell, heard) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, mut tell) = (None, Some(tell));
        // Those who do not trust it go away in the handshake.
        while stream.is_none() {
            stream = acceptor.accept(listener.accept().await.unwrap().0).await.ok();
        }
        let mut stream = BufReader::new(stream.unwrap());
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim_end().to_lowercase();
            length = line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let _ = tell.take().unwrap().send((head, body));
        // Until the other side has read and gone.
        let _ = stream.read(&mut [0]).await;
    });
    (url, heard)
}

#[tokio::test]
async fn an_address_with_tls_is_posted_to_with_the_token_if_it_is_whom_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("other.pem"), other.pem()).unwrap();
    std::fs::write(path("token"), "s3cret\n").unwrap();
    let (url, heard) = encrypted(directory.path(), &authority).await;
    let config = WebhookConfig { token_file: Some(path("token")), ..at(&url, 30_000) };
    let distrusts = Webhook::new(WebhookConfig { ca_file: Some(path("other.pem")), ..config.clone() });
    let body = Bytes::from_static(b"{}");
    let Err(Failed::Again(why)) = distrusts.post("7", &body).await else { panic!("it trusts anybody") };
    assert!(why.contains("certificate"), "{why}");
    let trusts = Webhook::new(WebhookConfig { ca_file: Some(path("ca.pem")), ..config });
    trusts.scale(&decision(1, 4, &[])).await.unwrap();
    let (head, body) = heard.await.unwrap();
    let port = url.split(['/', ':']).find_map(|part| part.parse::<u16>().ok()).unwrap();
    assert_eq!(head[0], "post /scale?fleet=a http/1.1");
    for line in [format!("host: localhost:{port}"), "authorization: bearer s3cret".into(), "idempotency-key: 7".into()]
    {
        assert!(head.contains(&line), "{line}: {head:?}");
    }
    let order: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(order["agents_after"].as_u64(), Some(4));
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up() {
    // It takes connections, and nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scale", silent.local_addr().unwrap());
    let webhook = Webhook::new(at(&url, 50));
    let order = decision(1, 4, &[]);
    let failed =
        timeout(Duration::from_secs(60), webhook.scale(&order)).await.expect("it ends").unwrap_err().to_string();
    assert!(failed.ends_with("no answer within 50 ms, after 3 attempts"), "{failed}");
}
