//! The one place that measures the parts: once a second, and at once where readiness is at stake.
//!
//! It takes numbers that others have written down and hands them to the [judge](super::judge); it waits for nobody. Changes
//! become events of the history by a task of their own, since those wait for the store, and that is one of the parts.

use std::{path::PathBuf, time::Duration};

use evenkeel_core::model::{ClusterEventKind, Notice};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tonic_health::server::HealthReporter;

use super::{
    Assessment, Board, Component, ComponentState, Finding, Level,
    disk::Disk,
    history::{Change, History},
    judge::{self, EngineSample, ManagerSample, SessionsSample, StoreSample},
    serving::Serving,
};
use crate::{
    actors::manager::{ManagerPhase, ManagerState},
    connections::Connections,
    gateway::Gateway,
    metrics::Metrics,
    sessions::Sessions,
    snapshot::Snapshot,
};

/// Changes that wait to be written into the history. Statuses change once in some seconds at most, so this is minutes of
/// them; what is beyond it is in the log, and the board says how it is.
const UNSAID_MAX: usize = 64;
/// While the store takes nothing, it is tried again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// What is measured, and who is told.
pub struct Sampler {
    /// Shows the result.
    pub board: Board,
    /// The way to the engine, for the history; and the time.
    pub gateway: Gateway,
    /// What the engine shows of the fleet.
    pub snapshot: Snapshot,
    /// Agents' sessions.
    pub sessions: Sessions,
    /// Connections of the gRPC port.
    pub connections: Connections,
    /// The resource manager.
    pub manager: ManagerState,
    /// Counters.
    pub metrics: Metrics,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Who tells clients.
    pub reporter: HealthReporter,
}

/// What is kept between two looks.
struct Looks {
    histories: Vec<(Component, History)>,
    disk: Disk,
    told: Option<Serving>,
}

impl Sampler {
    /// Looks, until it is dropped.
    pub async fn run(self) {
        let (changes, unsaid) = mpsc::channel(UNSAID_MAX);
        tokio::join!(self.look_on(changes), say(self.gateway.clone(), unsaid));
    }

    async fn look_on(&self, changes: mpsc::Sender<Notice>) {
        let now = self.gateway.clock.now();
        let mut looks = Looks {
            histories: Component::ALL.map(|component| (component, History::new(now))).to_vec(),
            disk: Disk::new(self.data_dir.clone()),
            told: None,
        };
        loop {
            let mut rounds = interval(Duration::from_millis(self.board.settings().sample_interval_ms));
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            rounds.tick().await;
            self.look(&mut looks, &changes).await;
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.gateway.lifecycle.changed() => {}
            }
        }
    }

    async fn look(&self, looks: &mut Looks, changes: &mpsc::Sender<Notice>) {
        let (now, settings) = (self.gateway.clock.now(), self.board.settings());
        let recover_after = Duration::from_millis(settings.recover_after_ms);
        let mut components = Vec::with_capacity(looks.histories.len());
        for (component, history) in &mut looks.histories {
            let finding = worse(self.measure(*component, &mut looks.disk), self.board.ask(*component));
            if let Some(change) = history.take(now, &finding, recover_after) {
                log(*component, change, history.reasons());
                // See `UNSAID_MAX`.
                let _ = changes.try_send(notice(*component, change, history.reasons()));
            }
            components.push(ComponentState {
                component: *component,
                level: history.level(),
                since: history.since(),
                reasons: history.reasons().to_vec(),
                measurements: finding.measurements,
            });
        }
        let assessment = Assessment { components };
        let serving = Serving::now(&self.gateway.lifecycle, &assessment);
        self.metrics.component_levels(&assessment);
        self.board.show(assessment);
        if looks.told != Some(serving) {
            serving.tell(&self.reporter).await;
            looks.told = Some(serving);
        }
    }

    fn measure(&self, component: Component, disk: &mut Disk) -> Finding {
        let (settings, lifecycle) = (self.board.settings(), &self.gateway.lifecycle);
        match component {
            Component::Store => {
                let commit_under_way = lifecycle.commit_under_way().unwrap_or_default();
                judge::store(&settings, StoreSample { full: lifecycle.store_is_full(), commit_under_way })
            }
            Component::Engine => {
                let lag = lifecycle.take_loop_lag();
                self.metrics.loop_lag(lag.max(lifecycle.loop_silent()));
                let (silent, waits_for_store) = (lifecycle.loop_silent(), lifecycle.waits_for_store());
                judge::engine(&settings, EngineSample { lag, silent, waits_for_store })
            }
            Component::Sessions => {
                let sample = SessionsSample {
                    open: self.sessions.len(),
                    connections: self.connections.len(),
                    connections_max: self.connections.limits().connections_max,
                    panic_mode: self.snapshot.status().panic_mode,
                };
                judge::sessions(&settings, sample)
            }
            Component::Disk => {
                let sample = disk.sample();
                self.metrics.disk(sample);
                judge::disk(&settings, sample)
            }
            Component::Manager => judge::manager(match self.manager.phase() {
                ManagerPhase::Running => ManagerSample::Running,
                ManagerPhase::Off => ManagerSample::Off,
                ManagerPhase::Failed { .. } => ManagerSample::Failed,
            }),
            // They say how they are themselves.
            Component::Exporter => self.gateway.traces.finding(),
            Component::Certificates | Component::Config => Finding::healthy(),
        }
    }
}

/// Of two findings the level of the worse one, with what both say.
fn worse(measured: Finding, said: Finding) -> Finding {
    let (mut worse, other) = if said.level > measured.level { (said, measured) } else { (measured, said) };
    worse.measurements.extend(other.measurements);
    if other.level > Level::Healthy {
        worse.reasons.extend(other.reasons);
    }
    worse
}

fn log(component: Component, change: Change, reasons: &[String]) {
    let (name, from, words) = (component.name(), change.from.name(), words(component, change, reasons));
    match change.to {
        Level::Healthy => tracing::info!(component = name, from, "the {words}"),
        Level::Degraded => tracing::warn!(component = name, from, "the {words}"),
        Level::Unhealthy => tracing::error!(component = name, from, "the {words}"),
    }
}

fn notice(component: Component, change: Change, reasons: &[String]) -> Notice {
    Notice::new(ClusterEventKind::Component, words(component, change, reasons))
}

/// What has become of it: "store is degraded: ...", "certificates are healthy again".
fn words(component: Component, change: Change, reasons: &[String]) -> String {
    let (name, is) = (component.name(), component.verb());
    match change.to {
        Level::Healthy => format!("{name} {is} healthy again"),
        to => format!("{name} {is} {}: {}", to.name(), reasons.join("; ")),
    }
}

/// Writes changes into the history, in their order; while the store takes none they wait.
async fn say(gateway: Gateway, mut unsaid: mpsc::Receiver<Notice>) {
    while let Some(notice) = unsaid.recv().await {
        while gateway.keep(Vec::new(), vec![notice.clone()]).await.is_err() {
            if gateway.lifecycle.is_stopping() {
                return;
            }
            tokio::time::sleep(SAY_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_measured_and_what_is_said_the_worse_counts_and_both_are_shown() {
        let measured = Finding::of(Level::Degraded, "slow").with("a_ms", 1.0);
        let said = Finding::of(Level::Unhealthy, "gone").with("b_ms", 2.0);
        for finding in [worse(measured.clone(), said.clone()), worse(said, measured.clone())] {
            assert_eq!((finding.level, finding.reasons.len(), finding.measurements.len()), (Level::Unhealthy, 2, 2));
        }
        assert_eq!(worse(measured.clone(), Finding::healthy()), measured);
    }

    #[test]
    fn an_event_says_which_part_and_why() {
        let change = Change { from: Level::Healthy, to: Level::Degraded };
        let said = notice(Component::Disk, change, &["2 MiB are free".to_owned()]);
        assert_eq!(
            (said.kind, said.message.as_str()),
            (ClusterEventKind::Component, "disk is degraded: 2 MiB are free")
        );
        let back = Change { from: Level::Degraded, to: Level::Healthy };
        assert_eq!(words(Component::Certificates, back, &[]), "certificates are healthy again");
    }
}
