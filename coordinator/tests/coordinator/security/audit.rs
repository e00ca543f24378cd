//! What is written down of what was changed.

use std::fs;

use evenkeel_coordinator::security::audit::read::{self, verify};
use evenkeel_proto::v1::{
    self, admin_service_client::AdminServiceClient, cluster_service_client::ClusterServiceClient, strategy_config,
    task_service_client::TaskServiceClient,
};

use super::{Credentials, Keyed, keyed};
use crate::support::{World, soon};

fn random() -> v1::SetStrategyRequest {
    let strategy = Some(strategy_config::Strategy::Random(v1::Random::default()));
    v1::SetStrategyRequest { strategy: Some(v1::StrategyConfig { strategy }) }
}

fn cluster(world: &World, id: &str) -> ClusterServiceClient<Keyed> {
    ClusterServiceClient::new(keyed(world, id))
}

async fn listed(world: &World, request: v1::ListAuditRequest) -> Vec<v1::AuditEntry> {
    let mut admin = AdminServiceClient::new(keyed(world, "admin"));
    soon(admin.list_audit(request)).await.unwrap().into_inner().entries
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_what_is_there_when_it_is_answered() {
    let world = Credentials::usual().world().await;
    soon(cluster(&world, "admin").set_strategy(random())).await.unwrap();
    let unknown = v1::CancelRequest { task_id: "01890000-0000-7000-8000-000000000000".into(), reason: "late".into() };
    soon(TaskServiceClient::new(keyed(&world, "client")).cancel(unknown)).await.unwrap_err();
    let entries = listed(&world, v1::ListAuditRequest::default()).await;
    let shown: Vec<_> = entries.iter().map(|e| (e.by.as_str(), e.action.as_str())).collect();
    assert_eq!(
        shown,
        [("app", "TaskService/Cancel"), ("root", "ClusterService/SetStrategy"), ("coordinator", "coordinator/start")]
    );
    let [cancel, strategy, _] = &entries[..] else { unreachable!() };
    assert!(cancel.outcome.starts_with("NOT_FOUND: "), "{cancel:?}");
    assert!(cancel.request.contains("\"reason\":\"late\"") && cancel.from.starts_with("127.0.0.1:"), "{cancel:?}");
    assert_eq!((strategy.outcome.as_str(), strategy.credential.as_str()), ("OK", "admin"));
    assert!(strategy.request.contains("random"), "{strategy:?}");
    let by = v1::ListAuditRequest { by: "root".into(), action: "SetStrategy".into(), ..Default::default() };
    assert_eq!(listed(&world, by).await.len(), 1);
    let page = v1::ListAuditRequest { page_size: 1, ..Default::default() };
    assert_eq!(listed(&world, page).await, entries[..1]);
    let mut admin = AdminServiceClient::new(keyed(&world, "admin"));
    let found = soon(admin.verify_audit(v1::VerifyAuditRequest {})).await.unwrap().into_inner();
    assert_eq!((found.whole, found.entries, found.problem.as_str()), (true, 5, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_not_written_down_and_refused_calls_are() {
    let world = Credentials::usual().world().await;
    soon(cluster(&world, "viewer").get_strategy(v1::GetStrategyRequest {})).await.unwrap();
    soon(cluster(&world, "viewer").set_strategy(random())).await.unwrap_err();
    soon(cluster(&world, "nobody").set_strategy(random())).await.unwrap_err();
    let denied = v1::ListAuditRequest { action: "auth/denied".into(), ..Default::default() };
    soon(async {
        while listed(&world, denied.clone()).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let entries = listed(&world, v1::ListAuditRequest::default()).await;
    let shown: Vec<_> = entries.iter().map(|e| (e.by.as_str(), e.outcome.as_str())).collect();
    assert_eq!(shown, [("", "UNAUTHENTICATED"), ("dash", "PERMISSION_DENIED"), ("coordinator", "OK")]);
    let refused = entries.iter().filter(|entry| entry.action == "auth/denied");
    assert!(refused.clone().count() == 2 && refused.clone().all(|entry| entry.from.starts_with("127.0.0.1:")));
    assert!(!format!("{entries:?}").contains("ek_"), "a token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_says_of_its_parts_is_said_as_a_whole() {
    let world = Credentials::usual().world().await;
    let mut client = TaskServiceClient::new(keyed(&world, "client"));
    let missing = "01890000-0000-7000-8000-000000000000";
    let redrive = v1::RedriveRequest { task_ids: vec![missing.into()], ..v1::RedriveRequest::default() };
    let redriven = soon(client.redrive(redrive)).await.unwrap().into_inner().redriven;
    assert!(redriven[0].error.is_some(), "the answer as a whole is no error");
    let audited = listed(&world, v1::ListAuditRequest { action: "Redrive".into(), ..Default::default() }).await;
    assert!(audited[0].outcome.starts_with("NOT_FOUND: none was driven again; "), "{audited:?}");
    let submit = v1::SubmitRequest { tasks: vec![crate::support::task("echo", "1")] };
    let task_id = soon(client.submit(submit)).await.unwrap().into_inner().results.remove(0).task_id;
    soon(client.cancel(v1::CancelRequest { task_id, reason: String::new() })).await.unwrap();
    let audited = listed(&world, v1::ListAuditRequest { action: "Cancel".into(), ..Default::default() }).await;
    assert_eq!(audited[0].outcome, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_goes_on_over_restarts_and_any_change_is_noticed() {
    let credentials = Credentials::usual();
    let data = tempfile::tempdir().unwrap();
    let mut config = credentials.config();
    config.ephemeral = false;
    config.data_dir = data.path().to_owned();
    for _ in 0..2 {
        let world = World::with(config.clone()).await;
        soon(cluster(&world, "admin").set_strategy(random())).await.unwrap();
        world.stop().await;
    }
    let directory = data.path().join("audit");
    let found = verify(&directory, None).unwrap();
    assert_eq!(found.broken, None);
    assert!(found.entries >= 6, "{found:?}");
    let path = read::path(&directory, 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"root\"", "\"toor\"", 1)).unwrap();
    assert_eq!(verify(&directory, None).unwrap().broken.unwrap().0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done() {
    let credentials = Credentials::usual();
    let data = tempfile::tempdir().unwrap();
    let mut config = credentials.config();
    config.ephemeral = false;
    config.data_dir = data.path().to_owned();
    // Where the log should be there is something else.
    let directory = data.path().join("audit");
    fs::write(&directory, "in the way").unwrap();
    let world = World::with(config).await;
    let before = soon(cluster(&world, "admin").get_strategy(v1::GetStrategyRequest {})).await.unwrap().into_inner();
    let status = soon(cluster(&world, "admin").set_strategy(random())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    assert!(status.message().contains("nothing was changed"), "{status}");
    let after = soon(cluster(&world, "admin").get_strategy(v1::GetStrategyRequest {})).await.unwrap().into_inner();
    assert_eq!(after, before);
    // Work goes on: tasks have a record of their own.
    let task = v1::SubmitRequest { tasks: vec![crate::support::task("echo", "")] };
    soon(TaskServiceClient::new(keyed(&world, "client")).submit(task)).await.unwrap();
    // As soon as it can be written, operators can change things again.
    fs::remove_file(&directory).unwrap();
    soon(cluster(&world, "admin").set_strategy(random())).await.unwrap();
    assert_eq!(verify(&directory, None).unwrap().broken, None);
}
