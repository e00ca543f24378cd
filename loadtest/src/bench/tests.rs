//! Client and agents of the bench against both servers, in one process and small.

use std::time::Duration;

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, RunningCoordinator};
use evenkeel_proto::v1::Delivery;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    agents::{AgentsPlan, Host},
    client::{self, Closed, Measured, Open, Told},
    wire::{AgentWire, ClientWire, Evenkeel, Yardstick},
    yardstick,
};

const AGENTS: u32 = 5;
const CLOSED: Closed = Closed { tasks: 2_000, warm_up: 100, in_flight: 64, batch: 10 };
const ALL: u64 = 2_164;

fn fleet(url: &str) -> AgentsPlan {
    AgentsPlan { url: url.to_owned(), agents: AGENTS, agents_per_connection: 1, slots: 4, task_time: Duration::ZERO }
}

async fn bare() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(yardstick::serve(listener, CancellationToken::new()));
    url
}

async fn coordinator(tasks_max: usize) -> (RunningCoordinator, String) {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = CoordinatorConfig {
        grpc: any,
        http: any,
        ephemeral: true,
        abort_on_panic: false,
        ..CoordinatorConfig::default()
    };
    config.engine.tasks_max = tasks_max;
    let coordinator = Coordinator::start(config).await.unwrap();
    let url = format!("http://{}", coordinator.grpc_addr());
    (coordinator, url)
}

/// Both closed loops end, and every task had one result.
async fn check<W: AgentWire + ClientWire>(wire: W, url: &str) {
    let _host = Host::gather(wire, &fleet(url)).await.unwrap();
    let channel = client::connect(url).await.unwrap();
    let calls = CLOSED.calls(wire, channel.clone(), |_| ()).await.unwrap();
    assert_eq!(calls, Told::Verified { tasks: ALL });
    let stream = CLOSED.stream(wire, channel, |_| ()).await.unwrap();
    assert_eq!(stream, Told::Verified { tasks: ALL });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_yardstick_does_all_tasks() {
    check(Yardstick, &bare().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_does_all_tasks_for_the_same_client_and_agents() {
    let (_coordinator, url) = coordinator(10_000).await;
    check(Evenkeel { delivery: Delivery::Ephemeral }, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_done_is_refused_and_counted() {
    let (_coordinator, url) = coordinator(100).await;
    let wire = Evenkeel { delivery: Delivery::Ephemeral };
    // 20 slots: 1,000 tasks a second.
    let plan = AgentsPlan { task_time: Duration::from_millis(20), ..fleet(&url) };
    let _host = Host::gather(wire, &plan).await.unwrap();
    let channel = client::connect(&url).await.unwrap();
    let (warm_up, lasts) = (Duration::from_millis(200), Duration::from_secs(1));
    let open = Open { rate: 10_000.0, urgent_rate: 20.0, warm_up, lasts };
    let measured = open.run(wire, channel, |_| ()).await.unwrap();
    let Measured { tasks, refused, urgent, urgent_refused, .. } = measured;
    assert!(tasks > 0 && refused > tasks, "{tasks} done, {refused} refused");
    assert!(urgent + urgent_refused > 0, "{urgent} and {urgent_refused}");
}
