//! TLS and certificates from one end to the other, with the files of `evenkeel certs dev` and real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use support::{Process, evenkeel, until};
use tempfile::TempDir;

/// A coordinator with TLS, and everybody's files.
struct Secure {
    process: Process,
    grpc: String,
    http: String,
    directory: TempDir,
}

fn certs(directory: &Path, args: &[&str]) -> Output {
    let mut command = evenkeel(["certs", "dev", "--out"]);
    command.arg(directory).args(args).output().unwrap()
}

impl Secure {
    async fn start(settings: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let made = certs(directory.path(), &["--agent", "a-1", "--client", "c-1", "--tenant", "acme", "--admin"]);
        assert!(made.status.success(), "{made:?}");
        let files = directory.path();
        let path = |name: &str| files.join(name).display().to_string();
        let tls = format!(
            "[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\nclient_ca_file = \"{}\"\nclient_certificates = \"optional\"\n{settings}",
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
        );
        fs::write(files.join("evenkeel.toml"), tls).unwrap();
        let (process, grpc, http) = Self::launch(files, "127.0.0.1:0");
        Self { process, grpc, http, directory }
    }

    fn launch(files: &Path, grpc: &str) -> (Process, String, String) {
        let mut command = evenkeel(["coordinator", "-o", "jsonl", "--grpc", grpc, "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(files.join("data")).arg("--config").arg(files.join("evenkeel.toml"));
        let mut process = Process::start(command, files.join("coordinator.log"));
        let ready = process.ready();
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        (process, address("grpc"), address("http"))
    }

    /// SIGKILL, and again at the same address.
    fn restart(&mut self) {
        self.process.kill();
        (self.process, _, self.http) = Self::launch(self.directory.path(), &self.grpc);
    }

    /// A command that trusts the authority, and shows this certificate if it is given one.
    fn command(&self, shows: Option<&str>, args: &[&str]) -> Command {
        let mut command = evenkeel(["--coordinator", &format!("https://{}", self.grpc)]);
        command.arg("--ca-file").arg(self.directory.path().join("ca.pem"));
        if let Some(name) = shows {
            command.arg("--cert-file").arg(self.directory.path().join(format!("{name}.pem")));
            command.arg("--key-file").arg(self.directory.path().join(format!("{name}.key")));
        }
        command.args(args);
        command
    }

    fn run(&self, shows: Option<&str>, args: &[&str]) -> Output {
        self.command(shows, args).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_made_is_readable_by_its_owner_alone_and_stays() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("certs");
    let made = certs(&out, &["--agent", "eu/rack:3", "--host", "coordinator.test", "--viewer"]);
    let said = text(&made.stdout);
    assert!(made.status.success() && said.contains("for development only"), "{made:?}");
    for file in
        ["ca.pem", "ca.key", "server.pem", "server.key", "agent-eu_rack_3.pem", "agent-eu_rack_3.key", "viewer.pem"]
    {
        let mode = fs::metadata(out.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        assert!(file.starts_with("ca.") || said.contains(file), "{said}");
    }
    let authority = fs::read(out.join("ca.pem")).unwrap();
    assert!(certs(&out, &["--admin"]).status.success());
    assert_eq!(fs::read(out.join("ca.pem")).unwrap(), authority, "the authority is used again");
    fs::remove_file(out.join("ca.key")).unwrap();
    assert!(!certs(&out, &[]).status.success(), "half an authority is not replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_shows_a_certificate_and_work_is_done() {
    let mut secure = Secure::start("[auth]\nenabled = true\n").await;
    let mut agent = Process::start(
        secure.command(Some("agent-a-1"), &["agent", "--id", "a-1", "--slots", "1"]),
        secure.directory.path().join("agent.log"),
    );
    let submit = ["task", "submit", "--kind", "echo", "--payload", "hello", "--wait", "-o", "json"];
    let done = secure.run(Some("client-c-1"), &submit);
    assert!(done.status.success(), "{done:?}\n{}\n{}", secure.process.log(), agent.log());
    assert!(text(&done.stdout).contains("\"succeeded\""), "{done:?}");

    let nobody = secure.run(None, &submit);
    assert!(!nobody.status.success(), "{nobody:?}");
    let whole_fleet = secure.run(Some("client-c-1"), &["agents", "drain", "a-1"]);
    assert!(!whole_fleet.status.success(), "a client is no administrator: {whole_fleet:?}");
    assert!(secure.run(Some("admin"), &["agents", "list"]).status.success());
    assert!(agent.terminate().await.success());
    assert!(secure.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_words_for_people() {
    let mut secure = Secure::start("").await;
    let check = |mut command: Command, words: &str| {
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    };
    // What is said depends on whether the goodbye was heard before the call.
    assert!(!evenkeel(["--coordinator", &secure.grpc, "status"]).output().unwrap().status.success());
    check(evenkeel(["--coordinator", &format!("https://{}", secure.grpc), "status"]), "--ca-file");
    let missing = secure.directory.path().join("missing.pem");
    let mut command = evenkeel(["--coordinator", &format!("https://{}", secure.grpc), "status", "--ca-file"]);
    command.arg(&missing);
    check(command, "missing.pem");
    let mut command = evenkeel(["--coordinator", "http://192.0.2.1:7400", "status"]);
    command.env("EVENKEEL_TOKEN", "sentinel-of-a-token");
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("not encrypted") && !said.contains("sentinel"), "{said}");
    assert!(secure.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_comes_through_tls() {
    let mut secure = Secure::start("").await;
    let run = secure.run(Some("admin"), &["loadtest", "run", "--agents", "5", "--tasks", "50", "-o", "json"]);
    assert!(run.status.success(), "{run:?}");
    assert!(secure.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_comes_back_with_a_certificate_that_was_renewed() {
    let mut secure = Secure::start("reload_interval_ms = 100\n[auth]\nenabled = true\n").await;
    let mut agent = Process::start(
        secure.command(Some("agent-a-1"), &["agent", "--id", "a-1", "--slots", "1"]),
        secure.directory.path().join("agent.log"),
    );
    let submit = ["task", "submit", "--kind", "echo", "--payload", "1", "--wait"];
    assert!(secure.run(Some("client-c-1"), &submit).status.success());
    // A new authority and new certificates, in the same files.
    for file in ["ca.pem", "ca.key"] {
        fs::remove_file(secure.directory.path().join(file)).unwrap();
    }
    assert!(certs(secure.directory.path(), &["--agent", "a-1", "--client", "c-1", "--admin"]).status.success());
    let is_in_force = || secure.run(Some("admin"), &["status"]).status.success().then_some(());
    until("the new certificates are in force", async || is_in_force()).await;
    // The agent's connection was made with the old ones and goes on.
    assert!(secure.run(Some("client-c-1"), &submit).status.success(), "{}", agent.log());
    // The next coordinator has never known them.
    secure.restart();
    assert!(secure.run(Some("client-c-1"), &submit).status.success(), "{}", agent.log());
    assert!(agent.terminate().await.success());
    assert!(secure.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_of_dev_trust_and_show_what_dev_was_given() {
    let directory = TempDir::new().unwrap();
    let files = directory.path();
    assert!(certs(files, &[]).status.success());
    let path = |name: &str| files.join(name).display().to_string();
    // In its threads they are named dev-1 and so on, as processes local-1.
    let mut token = evenkeel(["tokens", "new", "--name", "dev", "--role", "agent", "--role", "admin"]);
    token.args(["--agent-id", "dev-*", "--agent-id", "local-*", "--file", &path("credentials.toml")]);
    fs::write(path("token"), token.output().unwrap().stdout).unwrap();
    let settings = format!(
        "[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n[auth]\nenabled = true\ncredentials_file = \"{}\"\n",
        path("server.pem"),
        path("server.key"),
        path("credentials.toml"),
    );
    fs::write(path("evenkeel.toml"), settings).unwrap();
    let (ca, token, config) = (path("ca.pem"), path("token"), path("evenkeel.toml"));
    let shown = ["--ca-file", &ca, "--token-file", &token];
    for fleet in [["--agents", "2"], ["--autoscale", "1..1"]] {
        let free = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ephemeral", "-o", "jsonl"];
        let mut command = evenkeel(shown);
        command.args(["dev", "--config", &config]).args(fleet).args(free);
        let mut dev = Process::start(command, files.join(format!("dev{}.log", fleet[0])));
        let url = format!("https://{}", dev.ready()["grpc"].as_str().unwrap());
        let mut submit = evenkeel(["--coordinator", &url]);
        submit.args(shown).args(["task", "submit", "--kind", "echo", "--payload", "hello", "--wait", "-o", "json"]);
        let done = submit.output().unwrap();
        assert!(done.status.success(), "{done:?}\n{}", dev.log());
        assert!(dev.log().contains(&format!("gRPC    {url}")), "{}", dev.log());
        assert!(dev.terminate().await.success(), "{}", dev.log());
    }

    // Whoever is not told whom to trust is told what it takes.
    let mut command = evenkeel(["dev", "--config", &config, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.args(["--ephemeral", "--agents", "1"]);
    let dev = Process::start(command, files.join("dev.log"));
    until("it says so", || async { dev.log().contains("--ca-file").then_some(()) }).await;
}

/// Whether this program is here.
fn is_here(program: &str) -> bool {
    Command::new(program).arg("version").output().is_ok() || Command::new(program).arg("--version").output().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_find_ordinary_tls() {
    let mut secure = Secure::start("").await;
    let ca = secure.directory.path().join("ca.pem");
    if is_here("curl") {
        let url = format!("https://{}/healthz", secure.http);
        let got =
            Command::new("curl").args(["--silent", "--show-error", "--cacert"]).arg(&ca).arg(&url).output().unwrap();
        assert_eq!(text(&got.stdout), "ok\n", "{got:?}");
        let refused = Command::new("curl").args(["--silent", &url]).output().unwrap();
        assert!(!refused.status.success(), "its authority is unknown");
        let open = format!("http://{}/healthz", secure.http);
        let told = Command::new("curl").args(["--silent", &open]).output().unwrap();
        assert_eq!(text(&told.stdout), "this port speaks TLS: use https://\n");
    }
    if is_here("openssl") {
        let connect = |version: &str| {
            let mut command = Command::new("openssl");
            command.args([
                "s_client",
                "-brief",
                "-verify_return_error",
                version,
                "-alpn",
                "h2",
                "-connect",
                &secure.grpc,
            ]);
            // Its input is empty, so it ends after the handshake.
            command.arg("-CAfile").arg(&ca).stdin(std::process::Stdio::null()).output().unwrap()
        };
        let shaken = connect("-tls1_3");
        assert!(text(&shaken.stderr).contains("Verification: OK"), "{shaken:?}");
        assert!(!connect("-tls1_2").status.success(), "TLS 1.3 alone is spoken");
    }
    assert!(secure.process.terminate().await.success());
}
