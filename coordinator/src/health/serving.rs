//! Which services take calls, in the words of `grpc.health.v1`.

use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Assessment, Component, Level};
use crate::lifecycle::Lifecycle;

/// What services need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// All that takes tasks: room on the disk, a store and an engine that work.
    Work,
    /// The engine: sessions go on while the disk is full, so that no agent is taken for dead.
    Engine,
    /// The process alone: that is what an operator asks when nothing else works.
    Nothing,
}

/// The names under which health is asked for; the empty one is the whole.
const SERVICES: [(&str, Needs); 7] = [
    ("", Needs::Work),
    ("evenkeel.v1.AgentService", Needs::Engine),
    ("evenkeel.v1.TaskService", Needs::Work),
    ("evenkeel.v1.ClusterService", Needs::Engine),
    ("evenkeel.v1.ResourceService", Needs::Engine),
    ("evenkeel.v1.AdminService", Needs::Nothing),
    ("externalscaler.ExternalScaler", Needs::Engine),
];

/// What the answers depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// It has started, and is not about to stop.
    pub open: bool,
    /// The engine turns.
    pub engine: bool,
    /// What is accepted can be made durable.
    pub store: bool,
}

impl Serving {
    /// At this moment.
    #[must_use]
    pub fn now(lifecycle: &Lifecycle, assessment: &Assessment) -> Self {
        Self {
            open: lifecycle.check_ready().is_ok() && !lifecycle.is_leaving(),
            engine: assessment.level(Component::Engine) < Level::Unhealthy,
            store: !lifecycle.store_is_full() && assessment.level(Component::Store) < Level::Unhealthy,
        }
    }

    /// Whether the coordinator as a whole takes work.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        self.open && self.engine && self.store
    }

    const fn takes(self, needs: Needs) -> bool {
        match needs {
            Needs::Work => self.is_ready(),
            Needs::Engine => self.open && self.engine,
            Needs::Nothing => self.open,
        }
    }

    /// Ends the streams of whoever watches the services: they last for as long as there is something to watch, and a server that
    /// ends waits for them.
    pub async fn end(mut reporter: HealthReporter) {
        for (service, _) in SERVICES {
            reporter.clear_service_status(service).await;
        }
    }

    /// Tells whoever watches the services.
    pub async fn tell(self, reporter: &HealthReporter) {
        for (service, needs) in SERVICES {
            let status = if self.takes(needs) { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::Timestamp;

    use super::{super::ComponentState, *};

    const WELL: Serving = Serving { open: true, engine: true, store: true };

    fn taken(serving: Serving) -> Vec<&'static str> {
        SERVICES.into_iter().filter(|(_, needs)| serving.takes(*needs)).map(|(name, _)| name).collect()
    }

    #[test]
    fn on_a_full_disk_only_what_takes_tasks_is_off() {
        let off: Vec<_> = SERVICES
            .map(|(name, _)| name)
            .into_iter()
            .filter(|name| !taken(Serving { store: false, ..WELL }).contains(name))
            .collect();
        assert_eq!(off, ["", "evenkeel.v1.TaskService"]);
    }

    #[test]
    fn with_a_stuck_engine_only_the_admin_service_is_left_and_in_a_stop_nothing() {
        assert_eq!(taken(Serving { engine: false, ..WELL }), ["evenkeel.v1.AdminService"]);
        assert_eq!(taken(Serving { open: false, ..WELL }), [""; 0]);
        assert_eq!(taken(WELL).len(), SERVICES.len());
    }

    #[test]
    fn what_they_need_is_seen_at_the_lifecycle_and_the_parts() {
        let lifecycle = Lifecycle::default();
        let check = |part: Option<(Component, Level)>, expected: Serving| {
            let state = |(component, level)| ComponentState {
                component,
                level,
                since: Timestamp::ZERO,
                reasons: Vec::new(),
                measurements: Vec::new(),
            };
            let assessment = Assessment { components: part.map(state).into_iter().collect() };
            assert_eq!(Serving::now(&lifecycle, &assessment), expected, "{part:?}");
        };
        check(None, Serving { open: false, ..WELL });
        lifecycle.set_ready();
        check(None, WELL);
        for (part, expected) in [
            (Component::Engine, Serving { engine: false, ..WELL }),
            (Component::Store, Serving { store: false, ..WELL }),
            (Component::Disk, WELL),
        ] {
            check(Some((part, Level::Degraded)), WELL);
            check(Some((part, Level::Unhealthy)), expected);
        }
        lifecycle.set_store_full(true);
        check(None, Serving { store: false, ..WELL });
        lifecycle.set_store_full(false);
        lifecycle.announce_stop();
        check(None, Serving { open: false, ..WELL });
    }

    #[test]
    fn every_service_of_the_interface_has_a_line() {
        let pool = prost_reflect::DescriptorPool::decode(evenkeel_proto::FILE_DESCRIPTOR_SET).unwrap();
        for service in pool.services() {
            assert!(
                SERVICES.iter().any(|(name, _)| *name == service.full_name()),
                "{} is missing",
                service.full_name()
            );
        }
    }
}
