//! Configuration files of a coordinator and of an agent, and strategies, which come over the wire and out of the store.
//!
//! What is accepted reads back as it was, and works: an engine with these settings runs, queues of these lengths can be
//! made.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_agent::AgentConfig;
use evenkeel_coordinator::{
    CoordinatorConfig,
    hub::{Hub, HubLimits},
    sessions::Sessions,
};
use evenkeel_core::{
    engine::{Effects, Engine, Event, NewTask, RequestId, Settings, StoredKey, invariants},
    model::{ClusterEvent, Recovery},
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    EventPosition, Kind, Registration, SessionEpoch, StrategyConfig, TaskSpec,
    wire::strategy::{strategy, to_strategy},
};
use prost::Message as _;

use super::cluster::{Cluster, KIND, START};

/// Times that an engine with odd settings is woken.
const WAKEUPS_MAX: usize = 50;
/// Slots of its agent: so many that one per cent of them is more than one.
const SLOTS: u32 = 1_000;
/// Tasks that it is given.
const TASKS: usize = 3;

/// What is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Input {
    /// Which of them.
    #[prost(oneof = "Source", tags = "1, 2, 3, 4")]
    pub source: Option<Source>,
}

/// What is read.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Source {
    /// A coordinator's file.
    #[prost(string, tag = "1")]
    Coordinator(String),
    /// An agent's file.
    #[prost(string, tag = "2")]
    Agent(String),
    /// A strategy, as clients send it.
    #[prost(bytes = "vec", tag = "3")]
    Strategy(Vec<u8>),
    /// A strategy, as the store keeps it.
    #[prost(string, tag = "4")]
    StoredStrategy(String),
}

/// Reads the bytes as an [`Input`].
pub fn run(data: &[u8]) {
    let Ok(input) = Input::decode(data) else { return };
    match input.source {
        Some(Source::Coordinator(text)) => coordinator(&text),
        Some(Source::Agent(text)) => agent(&text),
        Some(Source::Strategy(bytes)) => {
            let Ok(wire) = v1::StrategyConfig::decode(bytes.as_slice()) else { return };
            if let Ok(read) = strategy(wire) {
                assert_eq!(strategy(to_strategy(&read)), Ok(read.clone()));
                let json = serde_json::to_string(&read).unwrap();
                assert_eq!(serde_json::from_str::<StrategyConfig>(&json).unwrap(), read);
                try_out(Settings { strategy: read, ..Settings::default() });
            }
        }
        Some(Source::StoredStrategy(json)) => {
            if let Ok(read) = serde_json::from_str::<StrategyConfig>(&json)
                && read.validate().is_ok()
            {
                try_out(Settings { strategy: read, ..Settings::default() });
            }
        }
        None => {}
    }
}

fn coordinator(text: &str) {
    let Ok(config) = toml::from_str::<CoordinatorConfig>(text) else { return };
    if let Err(error) = config.validate() {
        assert!(!error.to_string().is_empty());
        return;
    }
    let written = toml::to_string(&config).expect("what was read can be written");
    assert_eq!(toml::from_str::<CoordinatorConfig>(&written).expect("and read"), config);
    let limits = &config.limits;
    let (ring, queue) = (limits.recent_events_max, limits.watcher_queue_max);
    let hub: Hub<ClusterEvent> = Hub::new(EventPosition(0), HubLimits { ring, queue, watchers: limits.watchers_max });
    assert!(hub.join(None).is_ok());
    let _ = Sessions::new(1, limits.session_queue_max).open();
    let _ = config.store.retention();
    // What is drawn from the operating system otherwise would make two runs of one input differ.
    try_out(Settings { seed: config.engine.seed.unwrap_or(1), ..config.engine.settings() });
}

fn agent(text: &str) {
    let Ok(config) = toml::from_str::<AgentConfig>(text) else { return };
    let written = toml::to_string(&config).expect("what was read can be written");
    assert_eq!(toml::from_str::<AgentConfig>(&written).expect("and read"), config);
    if let Err(error) = config.into_agent() {
        assert!(!error.to_string().is_empty());
    }
}

/// An agent joins, tasks come, one ends, time passes.
fn try_out(settings: Settings) {
    let mut engine = Engine::new(START, settings, Recovery { incarnation: 1, ..Recovery::default() }).unwrap();
    let mut now = START;
    let session = SessionEpoch(1 << 40);
    let registration =
        Registration { spec: Cluster::honest_spec(SLOTS), instance: String::new(), dial: 0, held: Vec::new() };
    let spec = Arc::new(TaskSpec::of_kind(Kind::new(KIND).unwrap()));
    let task = NewTask {
        spec,
        payload: Bytes::from_static(b"x"),
        fingerprint: 0,
        stored_key: StoredKey::None,
        redrive_of: None,
    };
    let mut handle = |now, event| {
        let mut out = Effects::default();
        engine.handle(now, event, &mut out);
        let wrong = invariants::check(&engine);
        assert!(wrong.is_empty(), "{wrong:#?}");
        engine.next_wakeup()
    };
    handle(now, Event::Register { session, registration: Box::new(registration) });
    handle(now, Event::Submit { request: RequestId(1), tasks: vec![task; TASKS] });
    handle(now, Event::Heartbeat { session, load: Box::default() });
    for _ in 0..WAKEUPS_MAX {
        let Some(at) = handle(now, Event::Tick) else { break };
        now = at.max(now.plus(Duration::from_millis(1)));
    }
    handle(now, Event::SessionClosed { session, reason: "it is over".to_owned() });
    for _ in 0..WAKEUPS_MAX {
        let Some(at) = handle(now, Event::Tick) else { break };
        now = at.max(now.plus(Duration::from_millis(1)));
    }
}
