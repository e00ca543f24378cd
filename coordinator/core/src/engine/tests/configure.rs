//! Settings that change while it runs.

use std::collections::BTreeMap;

use evenkeel_shared::{AttemptRef, FailureClass, StrategyConfig, TaskState, Tenant};

use super::fixture::{Cluster, agent, ms, task};
use crate::{
    engine::{AgentMessage, Change, Configure, ControlCommand, Message, Settings},
    health::{lease::LeaseSettings, outlier::OutlierSettings},
    model::{ClusterEventKind, DeclarationKind, Record},
};

fn configure(c: &mut Cluster, settings: Settings) {
    let declared = vec!["{}".to_owned()];
    let configure = Configure { settings, declared, notice: "settings have changed".into() };
    c.control(ControlCommand::Configure(Box::new(configure))).unwrap();
}

fn version(c: &Cluster) -> Option<u64> {
    c.changes.iter().find_map(|change| match change {
        Change::Record(record) => match &**record {
            Record::Declared(declared) if declared.kind == DeclarationKind::Config => Some(declared.version),
            _ => None,
        },
        _ => None,
    })
}

fn heartbeat_interval_ms(c: &Cluster) -> u128 {
    let welcome = c.messages.iter().find_map(|message| match message {
        Message::ToAgent { message: AgentMessage::Welcome { heartbeat_interval, .. }, .. } => Some(heartbeat_interval),
        _ => None,
    });
    welcome.expect("a welcome").as_millis()
}

#[test]
fn a_change_is_stored_with_its_version_and_said() {
    let mut c = Cluster::new();
    configure(&mut c, Settings::default());
    assert_eq!(version(&c), Some(1));
    c.restart();
    configure(&mut c, Settings::default());
    assert_eq!(version(&c), Some(2), "versions go on after a restart");
    assert_eq!(c.events_of(ClusterEventKind::Config), 2);
}

#[test]
fn a_smaller_bound_refuses_what_comes_and_leaves_what_is_there() {
    let mut c = Cluster::new();
    let waiting = [c.submit(task("work")), c.submit(task("work"))];
    configure(&mut c, Settings { tasks_max: 1, ..Settings::default() });
    assert!(c.try_submit(task("work")).is_err(), "there are more than one already");
    c.join(agent("a").slots(2));
    waiting.into_iter().for_each(|task| c.succeed(task));
    configure(&mut c, Settings::default());
    c.submit(task("work"));
}

#[test]
fn what_runs_is_not_disturbed() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    c.start(running);
    let (_, attempt): (_, AttemptRef) = c.assignment(running);
    configure(&mut c, Settings { attempt_timeout: ms(1), reconnect_grace: ms(1), ..Settings::default() });
    c.advance_alive(ms(5_000));
    assert_eq!(c.assignment(running).1, attempt, "its attempt goes on as it was begun");
    c.succeed(running);
    c.expect(running, TaskState::Succeeded);
}

#[test]
fn room_that_a_setting_makes_is_used_at_once() {
    let mut c = Cluster::with(Settings { prefetch_below: ms(0), ..Settings::default() });
    c.join(agent("a").prefetch(None));
    for _ in 0..20 {
        let short = c.submit(task("work"));
        c.succeed_in(short, ms(1));
    }
    c.submit(task("work"));
    let next = c.submit(task("work"));
    c.expect(next, TaskState::Queued);
    configure(&mut c, Settings { prefetch_below: ms(5), ..Settings::default() });
    c.expect(next, TaskState::Assigned);
}

#[test]
fn an_agent_is_judged_by_the_interval_that_it_was_welcomed_with() {
    let lease = LeaseSettings { heartbeat_interval_ms: 100, missed_max: 3 };
    let mut c = Cluster::new();
    c.join(agent("old"));
    configure(&mut c, Settings { lease, ..Settings::default() });
    c.join(agent("new"));
    assert_eq!(heartbeat_interval_ms(&c), 100);
    c.advance(ms(1_000));
    assert_eq!(c.sessions.keys().collect::<Vec<_>>(), ["old"], "ten intervals of the one, one of the other");
    c.disconnect("old");
    c.join(agent("old"));
    assert_eq!(heartbeat_interval_ms(&c), 100);
    c.advance(ms(1_000));
    assert!(c.sessions.is_empty(), "now it has the short one too");
}

#[test]
fn thresholds_count_for_what_comes() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    c.join(agent("b"));
    let outliers = OutlierSettings { consecutive_failures: 1, ..OutlierSettings::default() };
    configure(&mut c, Settings { outliers, quarantine_after: 1, ..Settings::default() });
    let failing = c.submit(task("work"));
    let first = c.agent_with(failing);
    c.fail(failing, FailureClass::Retryable);
    assert_eq!(c.events_of(ClusterEventKind::AgentEjected), 1, "one failure is enough now");
    c.advance_alive(ms(2_000));
    let second = c.agent_with(failing);
    assert_ne!(first, second);
    c.kill(&second);
    c.expect(failing, TaskState::Quarantined);
}

#[test]
fn tenants_share_by_their_new_weights() {
    let mut c = Cluster::new();
    let tasks: Vec<_> = (0..40).map(|n| c.submit(task("work").tenant(["one", "two"][n % 2]))).collect();
    let tenant_weights = BTreeMap::from([(Tenant::new("two").unwrap(), 3)]);
    configure(&mut c, Settings { tenant_weights, ..Settings::default() });
    c.join(agent("a").slots(16));
    let twos = c.placements().keys().filter(|id| tasks.iter().position(|task| task == *id).unwrap() % 2 == 1).count();
    assert_eq!(twos, 12, "three of four");
}

#[test]
fn what_is_only_of_a_start_stays() {
    let mut c = Cluster::with_strategy("round_robin");
    let strategy = StrategyConfig::named("bin_pack").unwrap();
    configure(&mut c, Settings { strategy, seed: 7, ..Settings::default() });
    assert_eq!(c.engine.status(c.now).strategy, "round_robin");
}
