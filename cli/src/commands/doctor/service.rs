//! The ports, and the coordinator that runs.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use evenkeel_coordinator::CoordinatorConfig;
use evenkeel_proto::v1;

use super::Check;
use crate::{
    args::Global,
    client::{Address, Clients},
};

/// A coordinator within reach answers in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The coordinator that was found.
pub struct Running {
    clients: Clients,
    status: v1::ClusterStatus,
    /// It is where the settings say that one would listen.
    here: bool,
}

/// The one that is named, or else the one where the settings say.
pub async fn find(config: &CoordinatorConfig, global: &Global) -> Option<Running> {
    let named = global.coordinator.is_some();
    let address = if named { global.address().ok()? } else { Address::new(&config.grpc.to_string()).ok()? };
    let clients = tokio::time::timeout(ANSWER_WITHIN, address.connect()).await.ok()?.ok()?;
    let mut cluster = clients.cluster.clone();
    let status = tokio::time::timeout(ANSWER_WITHIN, cluster.status(v1::StatusRequest {})).await.ok()?.ok()?;
    let here = address.url().ends_with(&config.grpc.to_string());
    Some(Running { clients, status: status.into_inner(), here })
}

/// Whether the ports are free, or taken by a coordinator.
pub fn ports(config: &CoordinatorConfig, running: Option<&Running>) -> Vec<Check> {
    let here = running.is_some_and(|running| running.here);
    [("port grpc", config.grpc), ("port http", config.http)].map(|(name, address)| port(name, address, here)).to_vec()
}

fn port(name: &'static str, address: SocketAddr, coordinator_here: bool) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(_) if coordinator_here => Check::ok(name, format!("{address} is the running coordinator's")),
        Err(error) => Check::failure(
            name,
            format!("{address} cannot be listened on: {error}"),
            "end what has it, or give another address",
        ),
    }
}

/// How the running coordinator is. That none runs is a failure only where one was named.
pub async fn checks(running: Option<Running>, global: &Global) -> Vec<Check> {
    let Some(Running { mut clients, status, .. }) = running else {
        return match &global.coordinator {
            Some(url) => vec![Check::failure("coordinator", format!("none answers at {url}"), "see `evenkeel status`")],
            None => vec![Check::ok("coordinator", "none runs here")],
        };
    };
    let mut checks = vec![version(&status)];
    match tokio::time::timeout(ANSWER_WITHIN, clients.admin.get_health(v1::GetHealthRequest {})).await {
        Ok(Ok(health)) => checks.push(parts(&health.into_inner())),
        // Whoever may not ask this may ask whether it is ready.
        _ if status.ready => checks.push(Check::ok("coordinator health", "it takes work")),
        _ => checks.push(Check::failure("coordinator health", "it takes no work", "see `evenkeel health coordinator`")),
    }
    checks.push(agents(&status));
    checks
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
