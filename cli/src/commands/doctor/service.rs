//! The ports, and the coordinator that runs.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    time::{Duration, SystemTime},
};

use evenkeel_coordinator::CoordinatorConfig;
use evenkeel_proto::v1;
use evenkeel_shared::dial::Security;
use tonic::metadata::MetadataMap;

use super::Check;
use crate::{
    args::Global,
    client::{Address, Clients},
    exit::{CliError, Exit},
};

/// A coordinator within reach answers in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Clocks that are so far apart make deadlines, web tokens and certificates mean something else there than here. An answer says
/// its time in whole seconds.
const CLOCKS_APART: Duration = Duration::from_secs(3);

/// The coordinator that was found.
pub struct Running {
    clients: Clients,
    status: v1::ClusterStatus,
    /// How far its clock is from this machine's, if it says what time it is.
    apart: Option<Duration>,
    /// It is where the settings say that one would listen.
    here: bool,
}

/// What came of looking for one.
pub enum Found {
    /// It runs and says how it is.
    Running(Box<Running>),
    /// It cannot be asked.
    Silent(CliError),
}

/// The one that is named, or else the one where the settings say.
pub async fn find(config: &CoordinatorConfig, global: &Global) -> Found {
    ask(config, global).await.map_or_else(Found::Silent, |running| Found::Running(Box::new(running)))
}

async fn ask(config: &CoordinatorConfig, global: &Global) -> Result<Running, CliError> {
    let address = if global.coordinator.is_some() {
        global.address()?
    } else {
        let scheme = if config.tls.is_on() { "https" } else { "http" };
        Address::secured(&format!("{scheme}://{}", config.grpc), global.security.over(Security::default())?)?
    };
    let late = || CliError::new(Exit::TimedOut, format!("{} does not answer within {ANSWER_WITHIN:?}", address.url()));
    let clients = tokio::time::timeout(ANSWER_WITHIN, address.connect()).await.map_err(|_| late())??;
    let mut cluster = clients.cluster.clone();
    let asked_at = SystemTime::now();
    let answer = tokio::time::timeout(ANSWER_WITHIN, cluster.status(v1::StatusRequest {})).await.map_err(|_| late())?;
    let answer = answer.map_err(|status| CliError::status(&format!("ask {} how it is", address.url()), &status))?;
    let apart = told_at(answer.metadata()).map(|told_at| apart(asked_at, told_at, SystemTime::now()));
    let here = address.url().ends_with(&config.grpc.to_string());
    Ok(Running { clients, status: answer.into_inner(), apart, here })
}

/// The time that an answer was given at, as its server's clock has it: the header `date` (RFC 9110, 5.6.7), such as
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn told_at(headers: &MetadataMap) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = headers.get("date")?.to_str().ok()?;
    let (_, date) = date.split_once(", ")?;
    let words: Vec<_> = date.split(' ').collect();
    let [day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// How far another clock is from this machine's that said so between these two moments; its answer may be up to a second old.
fn apart(asked_at: SystemTime, told_at: SystemTime, heard_at: SystemTime) -> Duration {
    let earliest = asked_at - Duration::from_secs(1);
    match (earliest.duration_since(told_at), told_at.duration_since(heard_at)) {
        (Ok(behind), _) => behind,
        (_, Ok(ahead)) => ahead,
        _ => Duration::ZERO,
    }
}

/// Whether the ports are free, or taken by a coordinator.
pub fn ports(config: &CoordinatorConfig, found: &Found) -> Vec<Check> {
    let here = matches!(found, Found::Running(running) if running.here);
    [("port grpc", config.grpc), ("port http", config.http)].map(|(name, address)| port(name, address, here)).to_vec()
}

fn port(name: &'static str, address: SocketAddr, coordinator_here: bool) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(_) if coordinator_here => Check::ok(name, format!("{address} is the running coordinator's")),
        Err(error) => {
            let what = format!("{address} cannot be listened on: {error}");
            Check::failure(name, what, remedy(error.kind()))
        }
    }
}

/// What to do where an address cannot be listened on.
const fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrNotAvailable => "give an address that this machine has, or 0.0.0.0 for all of them",
        ErrorKind::PermissionDenied => "give a port above 1023, or the program the capability CAP_NET_BIND_SERVICE",
        _ => "end what has it (`ss -ltnp` names it), or give another address",
    }
}

/// How the running coordinator is. That none runs is a failure only where one was named; that somebody is there who cannot be asked is
/// worth a word.
pub async fn checks(found: Found, global: &Global, somebody_listens: bool) -> Vec<Check> {
    let Running { mut clients, status, apart, .. } = match found {
        Found::Running(running) => *running,
        Found::Silent(error) => return vec![silent(&error, global.coordinator.is_some(), somebody_listens)],
    };
    let mut checks = vec![version(&status)];
    checks.extend(apart.map(clocks));
    match tokio::time::timeout(ANSWER_WITHIN, clients.admin.get_health(v1::GetHealthRequest {})).await {
        Ok(Ok(health)) => checks.push(parts(&health.into_inner())),
        // Whoever may not ask this may ask whether it is ready.
        _ if status.ready => checks.push(Check::ok("coordinator health", "it takes work")),
        _ => checks.push(Check::failure("coordinator health", "it takes no work", "see `evenkeel health coordinator`")),
    }
    checks.push(agents(&status));
    checks
}

fn silent(error: &CliError, was_named: bool, somebody_listens: bool) -> Check {
    let (what, hint) = error.in_one_line();
    match (was_named, somebody_listens) {
        (true, _) => Check::failure("coordinator", what, hint.unwrap_or("see that it runs and can be reached")),
        (false, true) => {
            let remedy =
                "if it is a coordinator, say who asks (--ca-file, --token-file), or name it with --coordinator";
            Check::warning("coordinator", what, remedy)
        }
        (false, false) => Check::ok("coordinator", "none runs here"),
    }
}

fn clocks(apart: Duration) -> Check {
    let what = format!("the coordinator's clock and this machine's are {} s apart", apart.as_secs());
    if apart >= CLOCKS_APART {
        let remedy = "run a time service on both (chrony, systemd-timesyncd); deadlines, web tokens and certificates depend on it";
        Check::warning("coordinator clock", what, remedy)
    } else {
        Check::ok("coordinator clock", "it agrees with this machine's")
    }
}

fn version(status: &v1::ClusterStatus) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    let what = format!("{} runs version {}", status.coordinator_id, status.version);
    if status.version == own {
        Check::ok("coordinator", what)
    } else {
        Check::warning("coordinator", format!("{what}, this program is {own}"), "use programs of one version")
    }
}

fn parts(health: &v1::CoordinatorHealth) -> Check {
    let ill: Vec<_> = health
        .components
        .iter()
        .filter(|part| part.status() != v1::ComponentStatus::Healthy)
        .map(|part| format!("{}: {}", part.name, part.reasons.join("; ")))
        .collect();
    let remedy = "see `evenkeel health coordinator`";
    match (health.ready, ill.is_empty()) {
        (true, true) => Check::ok("coordinator health", "all its parts are healthy"),
        (true, false) => Check::warning("coordinator health", ill.join(", "), remedy),
        (false, _) => Check::failure("coordinator health", format!("it takes no work. {}", ill.join(", ")), remedy),
    }
}

fn agents(status: &v1::ClusterStatus) -> Check {
    let ill = status.agents_degraded + status.agents_unhealthy + status.agents_lost;
    let what = format!("{} healthy, {ill} not", status.agents_healthy);
    match (status.agents_healthy, ill) {
        (0, 0) => Check::warning("agents", "there are none", "start some with `evenkeel agent`"),
        (0, _) => Check::failure("agents", what, "see `evenkeel agents list`"),
        (_, 0) => Check::ok("agents", what),
        _ => Check::warning("agents", what, "see `evenkeel agents list`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_port_that_somebody_else_has_is_a_failure_and_that_of_a_coordinator_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("port grpc", address, false).verdict, Verdict::Failure);
        assert_eq!(port("port grpc", address, true).verdict, Verdict::Ok);
        drop(taken);
        assert_eq!(port("port grpc", address, false).verdict, Verdict::Ok);
    }

    #[test]
    fn the_time_of_an_answer_is_compared_with_when_it_was_asked_for() {
        let at = |unix_ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
        let mut headers = MetadataMap::new();
        assert_eq!(told_at(&headers), None);
        headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(told_at(&headers), Some(at(784_111_777_000)));
        headers.insert("date", "yesterday".parse().unwrap());
        assert_eq!(told_at(&headers), None);
        // Its seconds are whole: half a second later it has said the same.
        for (told, expected) in [(10_000, 0), (9_000, 500), (13_700, 3_000), (5_500, 4_000), (10_600, 0)] {
            assert_eq!(apart(at(10_500), at(told), at(10_700)).as_millis(), expected, "{told}");
        }
        assert_eq!(clocks(CLOCKS_APART).verdict, Verdict::Warning);
        assert_eq!(clocks(Duration::from_secs(2)).verdict, Verdict::Ok);
    }

    #[test]
    fn what_to_do_depends_on_why_a_port_cannot_be_had() {
        assert!(remedy(ErrorKind::AddrInUse).contains("end what has it"));
        assert!(remedy(ErrorKind::AddrNotAvailable).contains("this machine has"));
        assert!(remedy(ErrorKind::PermissionDenied).contains("above 1023"));
    }

    #[test]
    fn that_nobody_answers_is_a_failure_where_somebody_was_named() {
        let error = CliError::new(Exit::Unreachable, "no coordinator answers").because("connection refused");
        assert_eq!(silent(&error, true, false).verdict, Verdict::Failure);
        assert_eq!(silent(&error, false, true).verdict, Verdict::Warning);
        assert_eq!(silent(&error, false, false).verdict, Verdict::Ok);
        assert_eq!(silent(&error, true, false).what, "no coordinator answers: connection refused");
    }

    #[test]
    fn agents_that_are_ill_and_other_versions_are_named() {
        let status =
            |healthy, lost| v1::ClusterStatus { agents_healthy: healthy, agents_lost: lost, ..Default::default() };
        for (of, expected) in [
            (status(2, 0), Verdict::Ok),
            (status(2, 1), Verdict::Warning),
            (status(0, 0), Verdict::Warning),
            (status(0, 1), Verdict::Failure),
        ] {
            assert_eq!(agents(&of).verdict, expected, "{of:?}");
        }
        assert_eq!(version(&status(1, 0)).verdict, Verdict::Warning);
    }
}
