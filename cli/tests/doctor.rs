//! `evenkeel doctor` where something is wrong: what it names, what it advises, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use serde_json::Value;
use support::{Process, evenkeel};
use tempfile::TempDir;

/// A directory with settings in it, of a coordinator that nothing else is wrong with.
struct Place {
    directory: TempDir,
    config: String,
}

impl Place {
    /// Settings that name these addresses, with this behind them.
    fn new(grpc: SocketAddr, more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        let config = format!("grpc = \"{grpc}\"\nhttp = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n{more}", data.display());
        Self { directory, config }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let file = self.path().join("evenkeel.toml");
        fs::write(&file, &self.config).unwrap();
        let mut command = evenkeel(["doctor", "-o", "json", "--config"]);
        command.arg(file).args(args);
        command
    }

    fn asked(&self, args: &[&str]) -> Seen {
        Seen::of(self.command(args))
    }
}

/// What it said, and how it ended.
struct Seen {
    checks: Vec<Value>,
    code: Option<i32>,
}

impl Seen {
    fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { checks: said["checks"].as_array().unwrap().clone(), code: output.status.code() }
    }

    /// This check came out so, for this reason, with this advice.
    fn has(&self, name: &str, verdict: &str, what: &str, remedy: &str) -> &Self {
        let check = self.checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no {name} in {:#?}", self.checks));
        let said = |field: &str, words: &str| check[field].as_str().unwrap_or_default().contains(words);
        assert!(check["verdict"] == verdict && said("what", what) && said("remedy", remedy), "{check:#}");
        self
    }

    /// Nothing but this failed, and the exit code says so. That the disk is slow or full is the machine's affair.
    fn failed_for(&self, names: &[&str]) {
        let failed = self.checks.iter().filter(|check| check["verdict"] == "failure");
        let mut failed: Vec<_> = failed.map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(self.code, Some(i32::from(!failed.is_empty())), "{:#?}", self.checks);
        failed.retain(|name| names.contains(name) || !["data writes", "data room"].contains(name));
        assert_eq!(failed, names, "{:#?}", self.checks);
    }
}

/// An address that is somebody else's, and whoever has it.
fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port of the system's choice: nobody listens there before it is asked for.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[test]
fn a_machine_without_a_fault_ends_with_0() {
    Place::new(ANY, "").asked(&[]).has("configuration", "ok", "settings are sound", "").failed_for(&[]);
}

#[test]
fn a_port_that_somebody_has_is_named() {
    // It is closed as soon as it is dialled: whoever has it is no coordinator.
    let (listener, address) = taken();
    let closes = std::thread::spawn(move || listener.accept().map(|_| listener));
    let seen = Place::new(address, "").asked(&[]);
    let what = format!("{address} cannot be listened on");
    seen.has("port grpc", "failure", &what, "end what has it").failed_for(&["port grpc"]);
    seen.has("coordinator", "warning", &address.to_string(), "--coordinator");
    drop(closes.join());
}

#[test]
fn an_address_of_another_machine_is_named() {
    // For documentation alone (RFC 5737): no machine has it.
    let place = Place::new("192.0.2.1:7400".parse().unwrap(), "insecure = true\n");
    let mut command = place.command(&[]);
    // Nobody is asked there: that might take as long as a network likes.
    command.args(["--coordinator", &format!("http://{}", { taken().1 })]);
    let seen = Seen::of(command);
    seen.has("port grpc", "failure", "192.0.2.1:7400 cannot be listened on", "an address that this machine has");
}

#[test]
fn settings_that_are_wrong_are_named_line_by_line() {
    let mut place = Place::new(ANY, "");
    place.config = "grpcc = \"x\"\n[limits]\nconnections_max = \"many\"\n".into();
    let seen = place.asked(&[]);
    seen.has("configuration", "failure", "line 1: `grpcc` is no setting; did you mean `grpc`?", "config check");
    seen.has("configuration", "failure", "line 3: `limits.connections_max` is \"many\"", "");
    assert_eq!(seen.code, Some(1));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let mut place = Place::new(ANY, "");
    // Nobody makes files there, not even the administrator.
    place.config = place.config.replace("data_dir = ", "data_dir = \"/proc/evenkeel\" #");
    let seen = place.asked(&[]);
    seen.has("data writes", "failure", "/proc cannot be written", "another data_dir");
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    place.config = place.config.replace("/proc/evenkeel", &file.display().to_string());
    place.asked(&[]).has("data", "failure", "is no directory", "another data_dir").failed_for(&["data"]);
}

#[test]
fn too_few_descriptors_are_named() {
    let seen = |most: u32| {
        let place = Place::new(ANY, "");
        let doctor = place.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {most} && exec \"$@\""), "sh"]).arg(doctor.get_program());
        shell.args(doctor.get_args());
        // `evenkeel` takes the caller's settings away.
        for (name, _) in doctor.get_envs() {
            shell.env_remove(name);
        }
        Seen::of(shell)
    };
    let remedy = "ulimit -n";
    seen(200).has("limits", "warning", "200 files may be open", remedy).failed_for(&[]);
    seen(100).has("limits", "failure", "100 files may be open", remedy).failed_for(&["limits"]);
}

#[test]
fn a_certificate_that_has_expired_and_a_key_that_all_may_read_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut place = Place::new(ANY, "");
    let files = place.path().join("tls");
    let made = evenkeel(["certs", "dev", "--days", "0", "--out"]).arg(&files).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::set_permissions(files.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (certificate, key) = (files.join("server.pem"), files.join("server.key"));
    place.config += &format!("[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", certificate.display(), key.display());
    let seen = place.asked(&[]);
    seen.has("certificates", "failure", "the certificate has expired", "taken up within seconds");
    seen.has("key permissions", "warning", "has mode 644", "chmod").failed_for(&["certificates"]);
    fs::write(&certificate, "nothing").unwrap();
    place.asked(&[]).has("certificates", "failure", "tls.cert_file", "docs/tls.md").failed_for(&["certificates"]);
}

#[test]
fn a_coordinator_that_is_named_and_does_not_answer_is_named_with_why() {
    let (listener, address) = taken();
    drop(listener);
    let seen = Place::new(ANY, "").asked(&["--coordinator", &format!("http://{address}")]);
    let why = format!("no coordinator answers at http://{address}: Connection refused");
    seen.has("coordinator", "failure", &why, "start a coordinator").failed_for(&["coordinator"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_runs_is_asked_for_its_parts_and_its_time() {
    let place = Place::new(ANY, "");
    let mut command = evenkeel(["coordinator", "-o", "jsonl", "--ephemeral", "--grpc", "127.0.0.1:0"]);
    command.args(["--http", "127.0.0.1:0"]);
    let mut coordinator = Process::start(command, place.path().join("coordinator.log"));
    let grpc = coordinator.ready()["grpc"].as_str().unwrap().to_owned();
    let seen = place.asked(&["--coordinator", &format!("http://{grpc}")]);
    seen.has("coordinator", "ok", "runs version", "").has("coordinator health", "ok", "", "");
    seen.has("coordinator clock", "ok", "agrees", "").has("agents", "warning", "there are none", "evenkeel agent");
    seen.failed_for(&[]);
}
