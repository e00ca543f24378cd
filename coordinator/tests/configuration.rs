//! Settings that change while the coordinator runs: from the file, on request, and back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "coordinator/support.rs"]
mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use evenkeel_coordinator::{
    Coordinator,
    config::{
        Loaded, Sources,
        live::{Cause, Outcome, Who},
    },
};
use evenkeel_proto::v1::{self, admin_service_client::AdminServiceClient};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::{Code, Streaming, transport::Channel};

use support::{World, config, soon, task};

/// A coordinator with a file, and its history.
struct Settings {
    directory: TempDir,
    world: World,
    events: Streaming<v1::ClusterEvent>,
}

/// Nothing in a test waits for a poll or a probation to pass.
const QUICK: &str =
    "[health]\nsample_interval_ms = 100\nrecover_after_ms = 0\n[reload]\ndebounce_ms = 1\npoll_ms = 200\n";

impl Settings {
    async fn start(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("evenkeel.toml");
        fs::write(&file, format!("{QUICK}{text}")).unwrap();
        Self::at(directory, file).await
    }

    async fn at(directory: TempDir, file: PathBuf) -> Self {
        let world = Self::launch(&directory, file).await;
        let request = v1::EventsRequest {
            follow: true,
            types: vec![v1::ClusterEventType::Config.into()],
            ..v1::EventsRequest::default()
        };
        let events = soon(world.cluster().events(request)).await.unwrap().into_inner();
        Self { directory, world, events }
    }

    async fn launch(directory: &TempDir, file: PathBuf) -> World {
        let base = evenkeel_coordinator::CoordinatorConfig {
            ephemeral: false,
            data_dir: directory.path().join("data"),
            ..config()
        };
        let loaded: Loaded = Sources { base, file: Some(file), ..Sources::default() }.load().unwrap();
        World::of(soon(Coordinator::start(loaded)).await.expect("it starts")).await
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("evenkeel.toml")
    }

    /// Puts another file in its place, as those do who change files that others read.
    fn write(&self, text: &str) {
        let new = self.directory.path().join("evenkeel.toml.new");
        fs::write(&new, format!("{QUICK}{text}")).unwrap();
        fs::rename(&new, self.file()).unwrap();
    }

    /// The next thing that is said of the configuration. It is said as soon as it is durable; a question about a change waits
    /// for the one that is being made.
    async fn said(&mut self) -> String {
        let said = soon(self.events.message()).await.unwrap().expect("the stream goes on").message;
        soon(self.admin().check_config(v1::CheckConfigRequest::default())).await.unwrap();
        said
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.world.channel())
    }

    async fn shown(&self) -> v1::Config {
        soon(self.admin().get_config(v1::GetConfigRequest {})).await.unwrap().into_inner()
    }

    async fn value(&self, path: &str) -> (String, String) {
        let setting = self.shown().await.settings.into_iter().find(|setting| setting.path == path).unwrap();
        (setting.value, format!("{} {}", setting.source, setting.origin))
    }

    async fn versions(&self) -> Vec<v1::ConfigVersion> {
        let request = v1::ListConfigVersionsRequest::default();
        soon(self.admin().list_config_versions(request)).await.unwrap().into_inner().versions
    }

    async fn roll_back(&self, version: u64) -> Result<v1::ConfigChange, tonic::Status> {
        let request = v1::RollbackConfigRequest { version, reason: "it was better".into() };
        Ok(soon(self.admin().rollback_config(request)).await?.into_inner())
    }

    fn tasks_max(&self) -> usize {
        self.world.coordinator.config().now().engine.tasks_max
    }

    /// The same directory again.
    async fn restart(self) -> Self {
        let Self { directory, world, .. } = self;
        world.stop().await;
        let file = directory.path().join("evenkeel.toml");
        Self::at(directory, file).await
    }
}

fn tasks_max(count: u32) -> String {
    format!("[engine]\ntasks_max = {count}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_in_force_with_the_next_task_and_kept_as_a_version() {
    let mut settings = Settings::start("").await;
    settings.world.submit(task("echo", "1")).await;
    settings.write(&tasks_max(1));
    let said = settings.said().await;
    assert!(said.contains("version 2 is in force (file)") && said.contains("engine.tasks_max 1000000 -> 1"), "{said}");
    let refused = settings.world.refused(vec![task("echo", "2")]).await;
    assert!(refused.message.contains("1 "), "{refused}");
    assert_eq!(settings.value("engine.tasks_max").await, ("1".into(), "file line 8".into()));
    let versions = settings.versions().await;
    let causes: Vec<_> =
        versions.iter().map(|version| (version.version, version.cause.as_str(), version.in_force)).collect();
    assert_eq!(causes, [(2, "file", true), (1, "start", false)]);
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_leaves_everything_as_it_was_until_it_is_mended() {
    let mut settings = Settings::start(&tasks_max(5)).await;
    settings.write("[engine]\ntasks_max = 6\nattempt_timeout_ms = 0\ntasks_mx = 7\n");
    let said = settings.said().await;
    for part in ["not changed", "line 9: `engine.attempt_timeout_ms` is 0", "line 10: `engine.tasks_mx`", "`tasks_max`"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(settings.tasks_max(), 5, "nothing of it was taken");
    let shown = settings.shown().await;
    assert!(shown.differs_from_file && shown.differs_because.contains("line 9"), "{}", shown.differs_because);
    assert_eq!(shown.version, 1);
    settings.write(&tasks_max(6));
    assert!(settings.said().await.contains("5 -> 6"));
    assert!(!settings.shown().await.differs_from_file);
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_map_whose_link_is_swapped_is_noticed() {
    let directory = TempDir::new().unwrap();
    let version = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("evenkeel.toml"), format!("{QUICK}{text}")).unwrap();
    };
    let link = |to: &str, name: &str| symlink(Path::new(to), directory.path().join(name)).unwrap();
    version("..2026_11_21", &tasks_max(5));
    link("..2026_11_21", "..data");
    link("..data/evenkeel.toml", "evenkeel.toml");
    version("..2026_11_22", &tasks_max(6));
    let file = directory.path().join("evenkeel.toml");
    let mut settings = Settings::at(directory, file).await;
    assert_eq!(settings.tasks_max(), 5);
    let path = settings.directory.path();
    symlink("..2026_11_22", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    fs::remove_dir_all(path.join("..2026_11_21")).unwrap();
    assert!(settings.said().await.contains("5 -> 6"));
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_in_force_after_one() {
    let mut settings = Settings::start("").await;
    settings.write("[limits]\nrecent_events_max = 77\n");
    assert!(settings.said().await.contains("recent_events_max 65536 -> 77 (after a restart)"));
    let shown = settings.shown().await;
    assert!(shown.differs_because.contains("a restart is needed for limits.recent_events_max"));
    assert_eq!(settings.value("limits.recent_events_max").await.0, "65536");
    let settings = settings.restart().await;
    assert_eq!(settings.value("limits.recent_events_max").await.0, "77");
    let shown = settings.shown().await;
    assert_eq!((shown.version, shown.differs_from_file), (2, false), "the same version as before");
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_put_back_until_the_file_changes() {
    let mut settings = Settings::start(&tasks_max(5)).await;
    assert_eq!(settings.roll_back(0).await.unwrap_err().code(), Code::FailedPrecondition, "there is nothing before it");
    settings.write(&tasks_max(6));
    settings.said().await;
    let change = settings.roll_back(0).await.unwrap();
    assert_eq!((change.version, change.changes[0].after.as_str()), (3, "5"));
    assert_eq!(settings.tasks_max(), 5);
    assert_eq!(settings.value("engine.tasks_max").await.1, "rollback version 1");
    let versions = settings.versions().await;
    assert_eq!(versions[1].rolled_back_because, "it was better");
    assert!(settings.shown().await.differs_from_file);
    settings.said().await;
    settings.write(&tasks_max(7));
    assert!(settings.said().await.contains("5 -> 7"));
    assert_eq!(settings.roll_back(99).await.unwrap_err().code(), Code::NotFound);
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollback_goes_further_back() {
    let mut settings = Settings::start(&tasks_max(5)).await;
    for count in [6, 7] {
        settings.write(&tasks_max(count));
        settings.said().await;
    }
    settings.roll_back(0).await.unwrap();
    assert_eq!(settings.tasks_max(), 6);
    settings.roll_back(0).await.unwrap();
    assert_eq!(settings.tasks_max(), 5);
    let refused = settings.roll_back(0).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("nothing before version 1"), "{refused}");
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probation_goes_on_after_a_restart() {
    // The first coordinator does not look at its parts again; the next one does as it starts.
    let blind = "[health]\nsample_interval_ms = 3600000\nrecover_after_ms = 0\n";
    let rest = "[reload]\ndebounce_ms = 1\npoll_ms = 200\nprobation_ms = 3600000\n";
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, format!("{blind}{rest}{}", tasks_max(5))).unwrap();
    let mut settings = Settings::at(directory, file.clone()).await;
    let much = i64::MAX;
    let full = format!("disk_free_unhealthy_bytes = {much}\ndisk_free_degraded_bytes = {much}\n");
    let new = settings.directory.path().join("new");
    fs::write(&new, format!("{blind}{full}{rest}{}", tasks_max(6))).unwrap();
    fs::rename(&new, &file).unwrap();
    assert!(settings.said().await.contains("version 2 is in force (file)"));

    let mut settings = settings.restart().await;
    while !settings.said().await.contains("version 3 is in force (probation)") {}
    assert_eq!(settings.tasks_max(), 5);
    let versions = settings.versions().await;
    assert!(versions[1].rolled_back_because.contains("disk became unhealthy"), "{}", versions[1].rolled_back_because);
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_which_the_coordinator_starts_again_and_again_is_rolled_back() {
    let probation = |count: u32| format!("probation_ms = 3600000\n{}", tasks_max(count));
    let mut settings = Settings::start(&probation(5)).await;
    settings.write(&probation(6));
    settings.said().await;
    for _ in 0..2 {
        settings = settings.restart().await;
        assert_eq!(settings.tasks_max(), 6);
        assert!(settings.shown().await.probation_until_unix_ms > 0, "it goes on");
    }
    settings = settings.restart().await;
    while !settings.said().await.contains("version 3 is in force (probation)") {}
    assert_eq!(settings.tasks_max(), 5);
    let because = settings.versions().await[1].rolled_back_because.clone();
    assert!(because.contains("has started 3 times"), "{because}");
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_changes_is_in_the_audit_log() {
    let mut settings = Settings::start(&tasks_max(5)).await;
    settings.write(&tasks_max(6));
    settings.said().await;
    settings.write("[engine]\ntasks_max = 0\n");
    settings.said().await;
    let signal = Who("SIGHUP".into());
    settings.write(&tasks_max(7));
    soon(settings.world.coordinator.config().reload(Cause::Signal, &signal, "")).await.unwrap();
    let request = v1::ListAuditRequest::default();
    let entries = soon(settings.admin().list_audit(request)).await.unwrap().into_inner().entries;
    let entries: Vec<_> = entries.iter().rev().filter(|entry| entry.action.starts_with("config/")).collect();
    let begun = entries.iter().find(|entry| entry.request.contains("engine.tasks_max 5 -> 6")).unwrap();
    assert_eq!((begun.by.as_str(), begun.action.as_str()), ("file", "config/file"));
    let outcomes: Vec<&str> = entries.iter().map(|entry| entry.outcome.as_str()).collect();
    assert!(outcomes.starts_with(&["OK: version 2"]), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("INVALID_ARGUMENT")), "{entries:?}");
    assert!(entries.iter().any(|entry| entry.request.contains("`engine.tasks_max` is 0")), "{entries:?}");
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_change_that_was_asked_for_is_in_the_audit_log() {
    let settings = Settings::start(&tasks_max(5)).await;
    let reload =
        async || soon(settings.admin().reload_config(v1::ReloadConfigRequest::default())).await.unwrap().into_inner();
    // The file itself is looked at as well, so each step waits for what it has put there.
    settings.write("[engine]\ntasks_max = 0\n[store]\nretention_hours = 1\n");
    assert_eq!(reload().await.problems.len(), 2, "the answer is no error");
    settings.write(&tasks_max(5));
    reload().await;
    settings.roll_back(7).await.unwrap_err();
    let audited = async |action: &str| -> Vec<String> {
        let request = v1::ListAuditRequest { action: action.into(), ..v1::ListAuditRequest::default() };
        let entries = soon(settings.admin().list_audit(request)).await.unwrap().into_inner().entries;
        entries.into_iter().rev().map(|entry| entry.outcome).collect()
    };
    let reloads = audited("ReloadConfig").await;
    let [wrong, same] = &reloads[..] else { panic!("{reloads:?}") };
    assert!(wrong.starts_with("INVALID_ARGUMENT: nothing was changed: "), "{wrong}");
    assert!(wrong.contains("`engine.tasks_max` is 0") && wrong.ends_with("; and 1 more"), "{wrong}");
    assert_eq!(same, "OK: nothing was different");
    assert!(audited("RollbackConfig").await[0].starts_with("NOT_FOUND: "));
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_changed_by_a_file_either() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("data/audit");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, "in the way").unwrap();
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, format!("{QUICK}{}", tasks_max(5))).unwrap();
    let mut settings = Settings::at(directory, file).await;
    settings.write(&tasks_max(6));
    let who = Who("SIGHUP".into());
    let refused = soon(settings.world.coordinator.config().reload(Cause::Signal, &who, "")).await.unwrap_err();
    assert_eq!(refused.code, evenkeel_shared::Code::Unavailable);
    assert!(refused.message.contains("nothing was changed"), "{refused}");
    assert_eq!(settings.tasks_max(), 5);
    // As soon as it can be written the file is taken.
    fs::remove_file(&log).unwrap();
    assert!(settings.said().await.contains("5 -> 6"));
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_makes_the_coordinator_unwell_is_rolled_back_and_not_taken_again() {
    let mut settings = Settings::start(&tasks_max(5)).await;
    // No disk has so much room: the part is unhealthy as soon as it is looked at.
    let much = i64::MAX;
    let disk = format!("disk_free_unhealthy_bytes = {much}\ndisk_free_degraded_bytes = {much}\n");
    let text = QUICK.replace("[reload]", &format!("{disk}[reload]")) + &tasks_max(6);
    let new = settings.directory.path().join("new");
    fs::write(&new, &text).unwrap();
    fs::rename(&new, settings.file()).unwrap();
    assert!(settings.said().await.contains("version 2 is in force (file)"));
    let said = settings.said().await;
    assert!(said.contains("version 3 is in force (probation)"), "{said}");
    assert_eq!(settings.tasks_max(), 5);
    let versions = settings.versions().await;
    assert!(versions[1].rolled_back_because.contains("disk became unhealthy"), "{}", versions[1].rolled_back_because);

    let mut settings = settings.restart().await;
    assert_eq!(settings.tasks_max(), 5, "a restart does not take the file that was rolled back");
    let shown = settings.shown().await;
    assert_eq!(shown.version, 3);
    assert!(shown.differs_because.contains("version 2 was rolled back"), "{}", shown.differs_because);
    settings.write(&tasks_max(7));
    // It is taken again once it changes. What was said before the restart is said again first.
    while !settings.said().await.contains("5 -> 7") {}
    let settings = settings.restart().await;
    assert_eq!(settings.tasks_max(), 7);
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unwell_before_a_change_does_not_roll_it_back_and_probation_ends() {
    let much = i64::MAX;
    let disk = format!("disk_free_unhealthy_bytes = {much}\ndisk_free_degraded_bytes = {much}\n");
    // However slow this machine is, nothing else becomes unhealthy.
    let slow = "loop_lag_unhealthy_ms = 3600000\ncommit_unhealthy_ms = 3600000\n";
    let quick = QUICK.replace("[reload]", &format!("{disk}{slow}[reload]\nprobation_ms = 1000"));
    let directory = TempDir::new().unwrap();
    let (file, new) = (directory.path().join("evenkeel.toml"), directory.path().join("new"));
    fs::write(&file, format!("{quick}{}", tasks_max(5))).unwrap();
    let mut settings = Settings::at(directory, file.clone()).await;
    soon(async { while !settings.world.http("/readyz?verbose").await.1.contains("\"unhealthy\"") {} }).await;
    fs::write(&new, format!("{quick}{}", tasks_max(6))).unwrap();
    fs::rename(&new, &file).unwrap();
    assert!(settings.said().await.contains("version 2 is in force (file)"));
    soon(async { while settings.shown().await.probation_until_unix_ms > 0 {} }).await;
    assert_eq!((settings.shown().await.version, settings.tasks_max()), (2, 6));
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_had_to_show_anything_for_end_when_authentication_is_switched_on() {
    let settings = Settings::start("").await;
    let agent = settings.world.agent("a").await;
    let mut watch = soon(settings.world.tasks().watch(v1::WatchRequest::default())).await.unwrap().into_inner();
    let waits = settings.world.submit(task("never", "")).await;
    let mut tasks = settings.world.tasks();
    let request = v1::WaitRequest { task_ids: vec![waits], ..v1::WaitRequest::default() };
    let waits = tokio::spawn(async move { tasks.wait(request).await });
    let credentials = settings.directory.path().join("credentials.toml");
    fs::write(&credentials, "").unwrap();
    settings.write(&format!("[auth]\nenabled = true\ncredentials_file = \"{}\"\n", credentials.display()));
    assert_eq!(agent.end().await.code, evenkeel_shared::Code::Unauthenticated, "a session");
    let ended = loop {
        if let Err(status) = soon(watch.message()).await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "a watch");
    assert_eq!(soon(waits).await.unwrap().unwrap_err().code(), Code::Unauthenticated, "a call that waits");
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_limit_changes_and_no_task_fails() {
    let settings = Settings::start("").await;
    let mut agent = settings.world.agent("a").await;
    let worker = tokio::spawn(async move {
        loop {
            agent.work("done").await;
        }
    });
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let mut tasks = settings.world.tasks();
        clients.spawn(async move {
            for _ in 0..50 {
                let request = v1::SubmitRequest { tasks: vec![task("echo", "x")] };
                let submitted = soon(tasks.submit(request)).await.expect("accepted").into_inner();
                assert_eq!(submitted.results[0].error, None);
                let task_ids = vec![submitted.results[0].task_id.clone()];
                let request = v1::WaitRequest { task_ids, ..v1::WaitRequest::default() };
                let ended = soon(tasks.wait(request)).await.expect("it ends").into_inner();
                assert_eq!(ended.finished[0].state(), v1::TaskState::Succeeded);
            }
        });
    }
    // Each version comes between tasks that are under way.
    for count in 0..20_u32 {
        fs::write(settings.file(), format!("{QUICK}{}", tasks_max(1_000 + count))).unwrap();
        let who = Who("test".into());
        let outcome: Outcome =
            soon(settings.world.coordinator.config().reload(Cause::Request, &who, "")).await.unwrap();
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        assert_eq!(settings.tasks_max(), 1_000 + count as usize);
    }
    while let Some(ended) = soon(clients.join_next()).await {
        ended.expect("no task failed");
    }
    worker.abort();
    settings.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_checked_where_it_would_be_in_force_and_nothing_changes() {
    let settings = Settings::start("").await;
    let check = async |text: &str| {
        let request = v1::CheckConfigRequest { text: text.into() };
        soon(settings.admin().check_config(request)).await.unwrap().into_inner()
    };
    let change = check(&format!("{QUICK}{}", tasks_max(6))).await;
    assert_eq!((change.version, change.changes.len(), change.problems.len()), (0, 1, 0));
    let wrong = check("grcp = 1\n").await;
    assert_eq!((wrong.problems[0].line, wrong.problems[0].path.as_str()), (1, "grcp"));
    assert_eq!(wrong.problems[0].hint, "did you mean `grpc`?");
    assert_eq!(settings.shown().await.version, 1);
    settings.world.stop().await;
}
