//! No secret is shown. Every place that can hold one holds one with a mark in it; everything that can go wrong with it goes
//! wrong, with all that is logged; and nothing that anybody is shown has the mark in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

#[allow(dead_code, reason = "another part of it is for other tests")]
#[path = "../../shared/src/otlp/receiver.rs"]
mod receiver;
mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use receiver::{Manner, Receiver};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Process, evenkeel, until};
use tempfile::TempDir;

/// In every secret.
const MARK: &str = "s3ntinel";
/// Everything, in the log.
const ALL: &str = "trace";

/// What was shown, to whom or where.
#[derive(Default)]
struct Shown(Vec<(String, String)>);

impl Shown {
    fn add(&mut self, place: impl Into<String>, text: impl AsRef<[u8]>) {
        self.0.push((place.into(), String::from_utf8_lossy(text.as_ref()).into_owned()));
    }

    /// A command's answer; whether it succeeded.
    fn output(&mut self, what: &str, output: &Output) -> bool {
        self.add(format!("{what}: its output"), &output.stdout);
        self.add(format!("{what}: its errors"), &output.stderr);
        output.status.success()
    }

    /// Fails with each place in which one of these is found, and what stands around it.
    fn assert_without(&self, secrets: &[String]) {
        let mut found = BTreeSet::new();
        for (place, text) in &self.0 {
            for line in text.lines() {
                for secret in secrets {
                    if let Some(at) = line.find(secret.as_str()) {
                        let from = line.floor_char_boundary(at.saturating_sub(160));
                        let to = line.ceil_char_boundary((at + 80).min(line.len()));
                        found.insert(format!("{place}: ...{}", &line[from..to]));
                    }
                }
            }
        }
        let said: Vec<_> = found.into_iter().take(40).collect();
        assert!(said.is_empty(), "a secret is shown:\n{}", said.join("\n"));
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn token(who: &str) -> String {
    format!("ek_{MARK}_{who}")
}

/// A file that everything can be read from, and what is in it.
fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    fs::write(&new, text).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

fn credentials() -> String {
    let one = |(who, role): (&str, &str)| {
        let hash = hash(&token(who));
        format!("[[credential]]\nid = \"{who}\"\nname = \"{who}\"\nroles = [\"{role}\"]\nsha256 = \"{hash}\"\n\n")
    };
    [("root", "admin"), ("look", "viewer"), ("app", "client"), ("a-1", "agent")].map(one).concat()
}

/// The public key of an issuer, whose tokens are never good here.
fn keys() -> String {
    let point = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().der_bytes().to_vec();
    let (x, y) = point[1..].split_at(32);
    let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y) }] }).to_string()
}

/// A web token that is well formed and not good.
fn web_token() -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": "app", "iss": "https://id.example", "aud": "evenkeel", "exp": 4_000_000_000_u64 });
    format!("{}.{}.{MARK}-signature", part(json!({ "alg": "ES256", "typ": "JWT" })), part(claims))
}

/// A coordinator whose every secret has the mark, and an agent.
struct World {
    coordinator: Process,
    agent: Process,
    grpc: String,
    http: String,
    directory: TempDir,
    collector: Receiver,
    shown: Shown,
}

impl World {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let files = directory.path();
        write(files, "credentials.toml", &credentials());
        write(files, "keys.json", &keys());
        for who in ["root", "look", "app", "a-1"] {
            write(files, &format!("{who}.token"), &token(who));
        }
        let collector = Receiver::start(Manner::Takes).await.unwrap();
        // Nobody listens there.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let hook = format!("http://{closed}/scale?key={MARK}-key");
        write(files, "evenkeel.toml", &settings(files, &hook));
        let mut command = evenkeel(["coordinator", "-o", "jsonl", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(files.join("data")).arg("--config").arg(files.join("evenkeel.toml"));
        command.args(["--log", ALL]).env("EVENKEEL_TOKEN", token("environment"));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer {MARK}-collector"));
        let mut coordinator = Process::start(command, files.join("coordinator.log"));
        let ready = coordinator.ready();
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (grpc, http) = (address("grpc"), address("http"));
        let mut agent = evenkeel(["agent", "--id", "a-1", "--slots", "2", "--allow", "*", "--log", ALL]);
        agent.args(["--coordinator", &format!("http://{grpc}")]).arg("--token-file").arg(files.join("a-1.token"));
        agent.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        let agent = Process::start(agent, files.join("agent.log"));
        Self { coordinator, agent, grpc, http, directory, collector, shown: Shown::default() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, who: &str, args: &[&str]) -> Command {
        let mut command = evenkeel(["--coordinator", &format!("http://{}", self.grpc), "-o", "json", "--log", ALL]);
        command.arg("--token-file").arg(self.file(&format!("{who}.token"))).args(args);
        command
    }

    /// Runs a command, and keeps what it says. Whether it succeeded is for the test to say.
    fn run(&mut self, who: &str, args: &[&str]) -> bool {
        let output = self.command(who, args).output().unwrap();
        self.shown.output(&format!("{who}: {}", args.join(" ")), &output)
    }

    fn runs(&mut self, who: &str, args: &[&str]) {
        assert!(self.run(who, args), "{who}: {args:?}: {}", self.shown.0.last().unwrap().1);
    }

    fn fails(&mut self, who: &str, args: &[&str]) {
        assert!(!self.run(who, args), "{who}: {args:?}");
    }

    /// Asks by HTTP, and keeps what is answered; the status.
    fn http(&mut self, authorization: &str, head: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        self.shown.add(format!("HTTP {}", head.split('?').next().unwrap()), answer);
        status
    }

    async fn logs(&self, words: &str) {
        until(&format!("the log says: {words}"), async || self.coordinator.log().contains(words).then_some(())).await;
    }

    /// Puts this into the file for as long as it takes to be looked at.
    async fn breaks(&self, name: &str, text: &str, said: &str) {
        let good = fs::read_to_string(self.file(name)).unwrap();
        write(self.directory.path(), name, text);
        self.logs(said).await;
        write(self.directory.path(), name, &good);
    }
}

fn settings(files: &Path, hook: &str) -> String {
    let path = |name: &str| files.join(name).display().to_string();
    format!(
        "[auth]\nenabled = true\ncredentials_file = \"{}\"\nreload_interval_ms = 100\n\
         [auth.jwt]\njwks_file = \"{}\"\nissuer = \"https://id.example\"\naudience = \"evenkeel\"\n\
         [telemetry]\nsample_ratio = 1.0\n[log]\nlines_per_second = 0\n\
         [reload]\ndebounce_ms = 1\npoll_ms = 200\n\
         [scaling]\ntemplate = \"web-balanced\"\nquiet_ms = 0\nactuator = {{ name = \"webhook\", url = \"{hook}\" }}\n",
        path("credentials.toml"),
        path("keys.json"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_shown_has_a_secret_in_it() {
    let mut world = World::start().await;
    tasks(&mut world).await;
    wrong_credentials(&mut world);
    configurations(&mut world).await;
    operators(&mut world);
    everything_of_http(&mut world);
    // The decision was posted in vain, and that is in the history.
    world.logs("a decision could not be posted").await;
    let spans = world.collector.until(|spans| spans.iter().any(|span| span.service.contains("agent"))).await;
    world.shown.add("spans", format!("{spans:?}"));
    assert!(world.agent.terminate().await.success());
    assert!(world.coordinator.terminate().await.success());
    world.shown.add("the agent's log", world.agent.log());
    world.shown.add("the coordinator's log", world.coordinator.log());
    assert!(world.coordinator.log().contains("TRACE"), "everything is logged");
    let audit = fs::read_dir(world.file("data/audit")).unwrap();
    for file in audit {
        world.shown.add("the audit log", fs::read(file.unwrap().path()).unwrap());
    }
    let hashes = ["root", "look", "app", "a-1"].map(|who| hash(&token(who)));
    world.shown.assert_without(&[&[MARK.to_owned()][..], &hashes].concat());
}

/// Payloads, outputs and the environments of commands are their tenants' own.
async fn tasks(world: &mut World) {
    let secret = format!("{MARK}-payload");
    let script = "echo $SECRET; echo $SECRET >&2";
    let payload = json!({ "program": "sh", "args": ["-c", script], "env": { "SECRET": secret } }).to_string();
    let submit = ["task", "submit", "--kind", "command", "--wait", "--payload", payload.as_str()];
    let done = world.command("app", &submit).output().unwrap();
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done[0]["state"], "succeeded", "{done}");
    let id = done[0]["task_id"].as_str().unwrap().to_owned();
    for args in [vec!["task", "get", &id], vec!["task", "explain", &id], vec!["task", "list"]] {
        world.runs("look", &args);
    }
    // What is not as the executor wants it.
    let wrong = json!({ "program": "sh", "args": format!("{MARK}-argument") }).to_string();
    let submit = ["task", "submit", "--kind", "command", "--wait", "--payload", wrong.as_str()];
    let failed = world.command("app", &submit).output().unwrap();
    let failed: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(failed[0]["state"], "failed", "{failed}");
    let id = failed[0]["task_id"].as_str().unwrap().to_owned();
    world.runs("look", &["task", "get", &id]);
    let submission = json!({ "tasks": [{ "kind": "echo", "payload": MARK, "labels": 5 }] }).to_string();
    world.http(&format!("Bearer {}", token("app")), "POST /api/v1/tasks", &submission);
}

fn wrong_credentials(world: &mut World) {
    let forms = [format!("{MARK}-no-token"), token("stranger"), format!("a.b.{MARK}"), web_token()];
    for wrong in &forms {
        write(world.directory.path(), "wrong.token", wrong);
        world.fails("wrong", &["whoami"]);
        assert_eq!(world.http(&format!("Bearer {wrong}"), "GET /api/v1/tasks", ""), 401);
    }
    for header in [format!("Basic {MARK}"), format!("{MARK} x"), MARK.to_owned(), format!("Bearer {MARK} {MARK}")] {
        assert_eq!(world.http(&header, "GET /api/v1/tasks", ""), 401);
    }
    world.http("Bearer", &format!("GET /api/v1/tasks?access_token={}", token("root")), "");
    world.http("Bearer", &format!("GET /metrics?access_token={}", token("root")), "");
    // A token with a blank in it, in a variable; and where no token belongs.
    let mut command = world.command("root", &["whoami"]);
    let output = command.env("EVENKEEL_TOKEN", format!("{MARK} {MARK}")).output().unwrap();
    world.shown.output("a token that is none", &output);
    for url in
        [format!("http://user:{MARK}@127.0.0.1:1"), format!("http://user:{MARK}@192.0.2.1:1"), format!("x://{MARK}@y")]
    {
        let output = evenkeel(["--coordinator", &url, "status"]).env("EVENKEEL_TOKEN", token("root")).output().unwrap();
        assert!(!world.shown.output("an address with a password", &output));
    }
}

/// Files and settings that are wrong, at a start and later.
async fn configurations(world: &mut World) {
    let broken = credentials().replace("sha256 = \"", "sha256 = ");
    world.breaks("credentials.toml", &broken, "the credentials have changed and cannot be used").await;
    let start = |world: &mut World, what: &str, change: &dyn Fn(&mut Command)| {
        let mut command = evenkeel(["coordinator", "--ephemeral", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--log", ALL]);
        change(&mut command);
        let output = command.output().unwrap();
        assert!(!world.shown.output(what, &output), "{what}: it starts");
    };
    let wrong = write(world.directory.path(), "wrong.toml", &broken);
    let short = credentials().replace("sha256 = \"", &format!("sha256 = \"{MARK}"));
    let short = write(world.directory.path(), "short.toml", &short);
    for file in [wrong, short] {
        start(world, "a start with wrong credentials", &|command| {
            command.env("EVENKEEL_AUTH__ENABLED", "true").env("EVENKEEL_AUTH__CREDENTIALS_FILE", &file);
        });
    }
    world
        .breaks("keys.json", &json!({ "keys": format!("{MARK}-private") }).to_string(), "is no JSON web key set")
        .await;
    let key = write(
        world.directory.path(),
        "tls.key",
        &format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n"),
    );
    start(world, "a start with a wrong key", &|command| {
        command.env("EVENKEEL_TLS__CERT_FILE", &key).env("EVENKEEL_TLS__KEY_FILE", &key);
    });
    let hooks = [format!("ftp://user:{MARK}@x/y?z={MARK}"), format!("http://user:{MARK}@")];
    for hook in &hooks {
        let actuator = format!("{{ name = \"webhook\", url = \"{hook}\" }}");
        start(world, "a start with a wrong webhook", &|command| {
            command.env("EVENKEEL_ACTUATOR", &actuator);
        });
        start(world, "a start with a wrong collector", &|command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", hook);
        });
        let text = settings(world.directory.path(), hook);
        let file = write(world.directory.path(), "checked.toml", &text);
        let file = file.to_str().unwrap().to_owned();
        world.fails("root", &["config", "check", &file]);
        world.fails("root", &["config", "check", "--running", &file]);
    }
    start(world, "a start with half a webhook", &|command| {
        command.env("EVENKEEL_ACTUATOR", format!("{{ name = \"webhook\", url = \"http://user:{MARK}@x/y"));
    });
    // A change of a secret is shown without it, and so is the way back.
    let good = fs::read_to_string(world.file("evenkeel.toml")).unwrap();
    write(world.directory.path(), "evenkeel.toml", &good.replace("-key\"", "-other-key\""));
    world.logs("version 2 is in force").await;
    let unclosed = good.replace("-key\" }", "-key }");
    world.breaks("evenkeel.toml", &unclosed, "it is not TOML").await;
    world.run("root", &["config", "reload"]);
    world.run("root", &["config", "rollback"]);
}

fn operators(world: &mut World) {
    world.runs("root", &["scaling", "override", "3", "--for", "1h", "--reason", "the test says so"]);
    world.runs("root", &["strategy", "set", "random"]);
    world.runs("root", &["log", "set", "trace,h2=trace"]);
    for args in [
        &["config", "show"][..],
        &["config", "show", "--effective"],
        &["config", "history"],
        &["log", "get"],
        &["whoami"],
        &["status"],
        &["events"],
        &["scaling", "status"],
        &["scaling", "events"],
        &["credentials", "list"],
        &["credentials", "revoke", "app", "--reason", "the test says so"],
        &["credentials", "list"],
        &["audit", "list"],
        &["audit", "verify"],
    ] {
        world.runs("root", args);
    }
    world.fails("app", &["whoami"]);
    let file = world.file("evenkeel.toml").display().to_string();
    let mut offline = evenkeel(["config", "show", "--offline", "--effective", "--config", &file]);
    offline.env("EVENKEEL_TOKEN", token("environment"));
    let output = offline.output().unwrap();
    world.shown.output("settings without a coordinator", &output);
    world.run("root", &["doctor"]);
}

/// Every route that is only asked, by an admin and by a viewer.
fn everything_of_http(world: &mut World) {
    let root = format!("Bearer {}", token("root"));
    assert_eq!(world.http(&root, "GET /api/v1/openapi.json", ""), 200);
    let document = world.shown.0.last().unwrap().1.clone();
    let document: Value = serde_json::from_str(document.split_once("\r\n\r\n").unwrap().1).unwrap();
    let paths: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, of)| of.get("get").is_some())
        .map(|(path, _)| path.clone())
        .collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths.iter().filter(|path| !path.contains('{')) {
        for who in ["root", "look"] {
            world.http(&format!("Bearer {}", token(who)), &format!("GET {path}?timeout_ms=1"), "");
        }
    }
    for path in ["/metrics", "/healthz", "/readyz", "/startupz"] {
        assert_eq!(world.http(&root, &format!("GET {path}"), ""), 200, "{path}");
    }
}
