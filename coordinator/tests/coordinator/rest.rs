//! The REST interface, as a person with curl sees it, and as its document says.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{World, soon};

mod document;
mod schema;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let line = |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(|l| line(l)).and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A request, word by word.
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: Vec<(&'a str, String)>,
    pub body: Vec<u8>,
}

impl<'a> Ask<'a> {
    pub fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, headers: vec![("host", "localhost".into())], body: Vec::new() }
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// One more header, or another value of it.
    pub fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn of(self, world: &World) -> Answer {
        let mut stream = soon(TcpStream::connect(world.coordinator.http_addr())).await.expect("it listens");
        let Self { method, path, headers, body } = self;
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        // What is refused for its size is not read to its end.
        let _ = soon(stream.write_all(&body)).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: `{answer}`"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

async fn get(world: &World, path: &str) -> Answer {
    Ask::new("GET", path).of(world).await
}

/// Asks, and is refused with this status and code, and with words for it.
async fn refused(world: &World, ask: Ask<'_>, status: u16, code: &str, words: &str) -> Answer {
    let what = format!("{} {}", ask.method, ask.path);
    let answer = ask.of(world).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, "application/problem+json"),
        "{what}: {answer:?}"
    );
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{what}");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{what}: {problem}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_submitted_shown_explained_and_cancelled() {
    let world = World::start().await;
    let task = json!({ "kind": "echo", "payload_text": "hello", "priority": 7 });
    let answer = Ask::new("POST", "/api/v1/tasks").json(&json!({ "tasks": [task] })).of(&world).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["results"][0]["task_id"].as_str().unwrap().to_owned();

    let path = format!("/api/v1/tasks/{id}");
    let shown = get(&world, &format!("{path}?include_payload=true")).await.json();
    assert_eq!((&shown["state"], &shown["spec"]["payload"]), (&"queued".into(), &"aGVsbG8=".into()));
    assert_eq!((&shown["spec"]["payload_text"], &shown["spec"]["priority"]), (&"hello".into(), &7.into()));
    assert_eq!((&shown["failure"], &shown["finished_unix_ms"]), (&Value::Null, &0.into()));
    let why = get(&world, &format!("{path}/explanation")).await.json();
    assert!(!why["summary"].as_str().unwrap().is_empty());
    let cancelled =
        Ask::new("POST", &format!("{path}/cancel")).json(&json!({ "reason": "not needed" })).of(&world).await;
    assert_eq!(cancelled.json(), json!({ "state": "cancelled" }));
    let listed = get(&world, "/api/v1/tasks?states=queued&states=cancelled").await.json();
    assert_eq!(listed["tasks"][0]["task_id"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_executed_in_one_call() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let ask = Ask::new("POST", "/api/v1/tasks/execute").json(&json!({ "task": { "kind": "echo" } }));
    let (answer, ()) = tokio::join!(ask.of(&world), agent.work("done"));
    let finished = answer.json();
    assert_eq!((&finished["state"], &finished["output_text"]), (&"succeeded".into(), &"done".into()), "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_cordoned_and_resumed_and_the_strategy_is_changed() {
    let world = World::start().await;
    let _agent = world.agent("rack/7").await;
    for path in ["/api/v1/agents/rack/7/cordon", "/api/v1/agents/rack%2F7/cordon"] {
        let answer = Ask::new("POST", path).of(&world).await;
        assert_eq!(answer.json()["admin_state"], "cordoned", "{answer:?}");
    }
    let answer = Ask::new("POST", "/api/v1/agents/rack%2F7/resume").json(&json!({})).of(&world).await;
    assert_eq!(answer.json()["admin_state"], "active");
    let events = get(&world, "/api/v1/events?types=agent_admin&agent_id=rack/7").await.json();
    let positions: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|e| e["position"].as_str().unwrap()).collect();
    assert_eq!(positions.len(), 3, "{events}");
    let rest = get(&world, &format!("/api/v1/events?types=agent_admin&after_position={}", positions[0])).await.json();
    assert_eq!(rest["events"].as_array().unwrap().len(), 2);

    let answer = Ask::new("PUT", "/api/v1/strategy")
        .json(&json!({ "consistent_hash": { "load_bound_percent": 150 } }))
        .of(&world)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let strategy = get(&world, "/api/v1/strategy").await.json();
    assert_eq!(strategy, json!({ "consistent_hash": { "load_bound_percent": 150 } }));
    let again = Ask::new("PUT", "/api/v1/strategy").json(&strategy).of(&world).await;
    assert_eq!((again.status, again.json()), (200, strategy), "what was read can be put back");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_named_as_the_request_has_them() {
    let world = World::start().await;
    let task = json!({ "kind": "echo", "priorty": 3, "requirements": { "required": [{ "operator": "equal" }] } });
    let ask = Ask::new("POST", "/api/v1/tasks").json(&json!({ "tasks": [task] }));
    let problem = refused(&world, ask, 400, "INVALID_ARGUMENT", "2 fields are wrong").await.json();
    let violations = problem["violations"].to_string();
    assert!(violations.contains("tasks[0].priorty") && violations.contains("did you mean `priority`?"), "{violations}");
    assert!(violations.contains("did you mean `equals`?"), "{violations}");
    assert_eq!((&problem["instance"], &problem["title"]), (&"/api/v1/tasks".into(), &"Bad Request".into()));
    // The service's own words, for the field as the body has it.
    let ask = Ask::new("PUT", "/api/v1/strategy").json(&json!({ "consistent_hash": { "load_bound_percent": 7 } }));
    let problem = refused(&world, ask, 400, "INVALID_ARGUMENT", "load_bound_percent").await.json();
    assert_eq!(problem["violations"][0]["field"], "consistent_hash.load_bound_percent");
    for (path, words) in [
        ("/api/v1/tasks/x", "task_id"),
        ("/api/v1/tasks?states=lost", "`lost` is not known"),
        ("/api/v1/tasks?page_size=many", "page_size: must be a whole number"),
        ("/api/v1/tasks?page_size=1&page_size=2", "more than once"),
        ("/api/v1/tasks?tennant=a", "did you mean `tenant`?"),
        ("/api/v1/tasks?page_size=1001", "above 1000"),
        ("/api/v1/breakers/kinds/x", "did you mean `kind`?"),
    ] {
        refused(&world, Ask::new("GET", path), 400, "INVALID_ARGUMENT", words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_another_method_405() {
    let world = World::start().await;
    let gone = "/api/v1/tasks/01890000-0000-7000-8000-000000000000";
    for path in ["/api/v1/agents/nobody", gone, "/elsewhere", "/api/v1/", "/api/v1/limit", "/api/v2/status"] {
        refused(&world, Ask::new("GET", path), 404, "NOT_FOUND", "there is").await;
    }
    let answer = refused(&world, Ask::new("PATCH", "/api/v1/limits/a"), 405, "UNIMPLEMENTED", "GET, PUT, DELETE").await;
    assert_eq!(answer.header("allow"), "GET, PUT, DELETE, HEAD, OPTIONS");
    refused(&world, Ask::new("POST", "/metrics"), 405, "UNIMPLEMENTED", "GET").await;
    refused(&world, Ask::new("PUT", "/api/v1/openapi.json"), 405, "UNIMPLEMENTED", "GET").await;
    let answer = Ask::new("OPTIONS", "/api/v1/status").header("origin", "http://evil.example.org").of(&world).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, ""), "no consent for others");
    let answer = Ask::new("HEAD", "/api/v1/status").of(&world).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_json_and_bounded() {
    let world = World::start().await;
    let put = || Ask::new("PUT", "/api/v1/strategy");
    let tasks = || Ask::new("POST", "/api/v1/tasks");
    let form = put().header("content-type", "text/plain").body("{\"random\":{}}");
    refused(&world, form, 415, "INVALID_ARGUMENT", "application/json").await;
    let packed = put().json(&json!({})).header("content-encoding", "gzip");
    refused(&world, packed, 415, "INVALID_ARGUMENT", "compressed").await;
    let broken = put().header("content-type", "application/json").body("{\"random\":");
    refused(&world, broken, 400, "INVALID_ARGUMENT", "is not JSON").await;
    refused(&world, put(), 400, "INVALID_ARGUMENT", "is not JSON").await;
    let large = put().header("content-type", "application/json").body(vec![b' '; (64 << 10) + 1]);
    refused(&world, large, 413, "INVALID_ARGUMENT", "larger than 65536 bytes").await;
    let unasked = Ask::new("DELETE", "/api/v1/limits/a").json(&json!({}));
    refused(&world, unasked, 400, "INVALID_ARGUMENT", "takes none").await;

    let largest = json!({ "tasks": [{ "kind": "echo", "payload": "A".repeat((1 << 20) / 3 * 4) }] });
    let answer = tasks().json(&largest).header("content-type", "application/json; charset=utf-8").of(&world).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let above = json!({ "tasks": [{ "kind": "echo", "payload_text": "a".repeat((1 << 20) + 1) }] });
    refused(&world, tasks().json(&above), 400, "INVALID_ARGUMENT", "payload").await;
    let huge = tasks().header("content-type", "application/json").body(vec![b' '; (2 << 20) + 1]);
    refused(&world, huge, 413, "INVALID_ARGUMENT", "larger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_change_nothing() {
    let world = World::start().await;
    let task = json!({ "tasks": [{ "kind": "echo" }] });
    let ask = || Ask::new("POST", "/api/v1/tasks").json(&task);
    for origin in ["http://evil.example.org", "null"] {
        refused(&world, ask().header("origin", origin), 403, "PERMISSION_DENIED", "another origin").await;
    }
    let rebound = ask().header("host", "evil.example.org:7480");
    refused(&world, rebound, 403, "PERMISSION_DENIED", "`http_names`").await;
    let reading = Ask::new("GET", "/api/v1/tasks").header("host", "evil.example.org:7480");
    refused(&world, reading, 403, "PERMISSION_DENIED", "`http_names`").await;
    assert_eq!(get(&world, "/api/v1/status").await.json()["tasks_accepted"], 0);
    assert_eq!(ask().header("origin", "http://localhost").of(&world).await.status, 200);
}
