//! What follows changes of the configuration while the coordinator runs, and how its health is told to who changes it.

use std::time::Duration;

use evenkeel_shared::telemetry;

use super::Parts;
use crate::{
    config::{CoordinatorConfig, LogFormat, live::LiveConfig},
    connections::{ConnectionLimits, Connections},
    gateway::Gateway,
    grpc,
    health::{Component, Level},
    http,
    services::admin::config_finding,
};

/// Bounds of the gRPC port and of the HTTP port.
pub(super) fn connection_limits(config: &CoordinatorConfig) -> (ConnectionLimits, ConnectionLimits) {
    let limits = &config.limits;
    let grpc = ConnectionLimits {
        connections_max: limits.connections_max,
        per_address_max: limits.connections_per_address_max,
        handshakes_max: limits.handshakes_max,
        encrypted: config.tls.is_on(),
        greeting_bytes: grpc::GREETING_BYTES,
        greeting_within: Duration::from_millis(limits.greeting_timeout_ms),
        unread_max: Duration::from_millis(limits.unread_timeout_ms),
    };
    // The HTTP server itself sees to it that a request comes in time.
    let http = ConnectionLimits {
        connections_max: http::CONNECTIONS_MAX,
        per_address_max: limits.connections_per_address_max.min(http::CONNECTIONS_PER_ADDRESS_MAX),
        encrypted: config.tls.is_on_for_http(),
        greeting_bytes: 0,
        ..grpc
    };
    (grpc, http)
}

impl Parts {
    /// From here on the configuration can change.
    pub(super) fn follow(&self, live: &LiveConfig, gateway: Gateway, grpc: &Connections, http: &Connections) {
        let (for_grpc, for_http) = (grpc.clone(), http.clone());
        live.tell(Box::new(move |config| {
            let (grpc, http) = connection_limits(config);
            for_grpc.set_limits(grpc);
            for_http.set_limits(http);
        }));
        let (sessions, tasks, cluster) = (self.sessions.clone(), self.task_hub.clone(), self.cluster_hub.clone());
        live.tell(Box::new(move |config| {
            let limits = &config.limits;
            sessions.set_queue_max(limits.session_queue_max);
            tasks.set_watcher_limits(limits.watcher_queue_max, limits.watchers_max);
            cluster.set_watcher_limits(limits.watcher_queue_max, limits.watchers_max);
        }));
        let board = self.board.clone();
        live.tell(Box::new(move |config| board.set_settings(config.health.clone())));
        log_as(&live.now());
        live.tell(Box::new(log_as));
        let shown = live.clone();
        self.board.probe(Component::Config, std::sync::Arc::new(move || config_finding(&shown)));
        let board = self.board.clone();
        live.begin(gateway, Box::new(move || ills(&board)));
    }
}

/// Logs as the settings say, where no flag has said something else. A program that has set its log up itself keeps it.
pub(super) fn log_as(config: &CoordinatorConfig) {
    let Some(control) = telemetry::control() else { return };
    let log = &config.log;
    let format = match log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    if let Err(error) = control.settings_say(&log.filter, format, log.lines_per_second as usize) {
        tracing::warn!(%error, "the log stays as it is");
    }
}

/// Parts that are unhealthy. What is wrong with the configuration itself is no reason to roll it back.
fn ills(board: &crate::health::Board) -> Vec<(String, String)> {
    let assessment = board.now();
    let unhealthy = assessment.components.iter().filter(|state| state.level == Level::Unhealthy);
    let others = unhealthy.filter(|state| state.component != Component::Config);
    others.map(|state| (state.component.name().to_owned(), state.reasons.join("; "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ports_have_the_bounds_that_are_set_and_the_http_port_those_of_its_own() {
        let mut config = CoordinatorConfig::default();
        let limits = &mut config.limits;
        (limits.connections_max, limits.connections_per_address_max, limits.handshakes_max) = (70_000, 10, 30);
        (limits.greeting_timeout_ms, limits.unread_timeout_ms) = (40, 50);
        let of = |limits: ConnectionLimits| (limits.connections_max, limits.per_address_max, limits.handshakes_max);
        let (grpc, http) = connection_limits(&config);
        assert_eq!((of(grpc), of(http)), ((70_000, 10, 30), (http::CONNECTIONS_MAX, 10, 30)));
        for limits in [grpc, http] {
            let times = (limits.greeting_within, limits.unread_max);
            assert_eq!(times, (Duration::from_millis(40), Duration::from_millis(50)));
        }
        config.limits.connections_per_address_max = 70_000;
        let (grpc, http) = connection_limits(&config);
        assert_eq!((grpc.per_address_max, http.per_address_max), (70_000, http::CONNECTIONS_PER_ADDRESS_MAX));
    }
}
