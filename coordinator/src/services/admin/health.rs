//! How the coordinator's parts are.

use std::time::Duration;

use evenkeel_proto::v1;
use evenkeel_shared::{Error, wire::quantities::to_unix_ms};

use super::Admin;
use crate::{
    health::{ComponentState, Level},
    http::probes,
};

pub async fn get_health(admin: &Admin, _: v1::GetHealthRequest) -> Result<v1::CoordinatorHealth, Error> {
    let assessment = admin.board.now();
    let phases = admin.board.start_phases();
    Ok(v1::CoordinatorHealth {
        status: status(assessment.worst_needed()).into(),
        components: assessment.components.iter().map(component).collect(),
        live: probes::not_live(admin).is_none(),
        ready: probes::not_ready(admin).is_none(),
        started: admin.gateway.lifecycle.has_started(),
        start_phases: phases.into_iter().flat_map(|phases| phases.iter()).map(phase).collect(),
    })
}

const fn status(level: Level) -> v1::ComponentStatus {
    match level {
        Level::Healthy => v1::ComponentStatus::Healthy,
        Level::Degraded => v1::ComponentStatus::Degraded,
        Level::Unhealthy => v1::ComponentStatus::Unhealthy,
    }
}

fn component(state: &ComponentState) -> v1::ComponentHealth {
    v1::ComponentHealth {
        name: state.component.name().to_owned(),
        status: status(state.level).into(),
        reasons: state.reasons.clone(),
        since_unix_ms: to_unix_ms(state.since),
        measurements: state.measurements.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        needed: state.component.is_needed(),
    }
}

fn phase((name, took): (&'static str, Duration)) -> v1::StartPhase {
    v1::StartPhase { name: name.to_owned(), duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }
}
