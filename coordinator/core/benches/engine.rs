//! One task through the whole engine: accepted, routed, started, its result recorded.
//!
//! Beside `routing`, which times the decision alone: here are the tables, the queue, the timers and the effects too. The
//! figure of interest is the ratio between fleets; the fleet is 70 % busy throughout.

use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_core::{
    engine::{AgentMessage, Effects, Engine, Event, Message, NewTask, RequestId, Settings, StoredKey},
    model::Recovery,
};
use evenkeel_shared::{
    AgentId, AgentSpec, AttemptRef, Kind, Outcome, Registration, Resources, SessionEpoch, StrategyConfig, TaskSpec,
    Timestamp,
};

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000_000);
const SLOTS: u32 = 4;
const BUSY_PERCENT: usize = 70;

struct Fleet {
    engine: Engine,
    spec: Arc<TaskSpec>,
    out: Effects,
}

impl Fleet {
    fn new(agents: usize, strategy: &StrategyConfig) -> Self {
        let settings = Settings { strategy: strategy.clone(), ..Settings::default() };
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine = Engine::new(NOW, settings, recovery).expect("valid");
        let spec = Arc::new(TaskSpec::of_kind(Kind::new("work").expect("valid")));
        let mut fleet = Self { engine, spec, out: Effects::default() };
        for n in 0..agents {
            fleet.join(n);
        }
        for _ in 0..agents * SLOTS as usize * BUSY_PERCENT / 100 {
            fleet.submit();
        }
        fleet
    }

    fn join(&mut self, n: usize) {
        let spec = AgentSpec {
            id: AgentId::new(&format!("agent-{n}")).expect("valid"),
            kinds: vec![Kind::new("work").expect("valid")],
            labels: BTreeMap::new(),
            capacity: Resources::slots(SLOTS),
            tier: (n % 3) as u8,
            weight: 100,
            version: String::new(),
            prefetch_per_slot: Some(0),
        };
        let session = SessionEpoch((1 << 40) + n as u64 + 1);
        let registration = Registration { spec, instance: String::new(), held: Vec::new() };
        self.handle(Event::Register { session, registration: Box::new(registration) });
    }

    fn handle(&mut self, event: Event) {
        self.out.changes.clear();
        self.out.messages.clear();
        self.engine.handle(NOW, event, &mut self.out);
    }

    /// Submits a task and says where it went.
    fn submit(&mut self) -> (SessionEpoch, AttemptRef) {
        let task = NewTask {
            spec: self.spec.clone(),
            payload: Bytes::new(),
            fingerprint: 0,
            stored_key: StoredKey::None,
            redrive_of: None,
        };
        self.handle(Event::Submit { request: RequestId(1), tasks: vec![task] });
        let assigned = self.out.messages.iter().find_map(|message| match message {
            Message::ToAgent { session, message: AgentMessage::Assign(assignment) } => {
                Some((*session, assignment.attempt))
            }
            _ => None,
        });
        assigned.expect("the fleet has room")
    }

    fn route_and_complete(&mut self) {
        let (session, attempt) = self.submit();
        self.handle(Event::Started { session, attempt });
        let outcome = Outcome::Succeeded(Bytes::new());
        self.handle(Event::Result { session, attempt, outcome, run: Duration::from_millis(10) });
        black_box(&self.out);
    }
}

fn route_and_complete(c: &mut Criterion) {
    for name in StrategyConfig::NAMES {
        let strategy = StrategyConfig::named(name).expect("valid");
        let mut group = c.benchmark_group(format!("engine/{name}"));
        group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        for agents in [1_000, 10_000, 100_000] {
            let mut fleet = Fleet::new(agents, &strategy);
            group.bench_function(BenchmarkId::from_parameter(agents), |b| {
                b.iter(|| fleet.route_and_complete());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, route_and_complete);
criterion_main!(benches);
