//! What tasks are like: drawn from the seed and the task's key, so that the same run offers the same tasks.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use evenkeel_proto::v1::{self, TaskSpec};
use evenkeel_shared::{task::Delivery, wire};
use fastrand::Rng;

use crate::{
    ledger::Ledger,
    plan::{KIND, REGION_LABEL, RUN_LABEL, SLEEP_KIND, SPECIALIST_KIND, TENANT},
    record::Slice,
    scenario::{ESCALATED, Scenario, Work},
    task_time::{TaskTime, mix},
    trace::TraceTask,
};

/// A task that nobody took for so long is given up: an aborted run must not leave work that only its agents could take.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// What makes the key of a follow-up task out of that of its task, and seeds out of keys for each thing that is drawn.
const FOLLOW_UP_SALT: u64 = 0x0f01;
const TIME_SALT: u64 = 0x71e5;
/// The name of work that a trace calls by a name that the scenario does not describe.
const TRACED: &str = "traced";

/// A task as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Task {
    /// Everything of it is drawn from this.
    pub key: u64,
    /// Which kind of work, of the catalogue's.
    pub kind: u16,
    /// Whose, of the catalogue's tenants.
    pub tenant: u16,
    /// Where it comes from, of the catalogue's regions.
    region: Option<u16>,
    pub priority: u8,
    pub time: Duration,
}

/// A kind of work: one of the scenario, or its follow-up.
#[derive(Debug)]
struct Kind {
    slice: Slice,
    specialist: bool,
    time: TaskTime,
    priority: u8,
    /// Indices of tenants, with their weights.
    tenants: Vec<(u16, f64)>,
    payload: Bytes,
    ephemeral: bool,
    prefers_region: bool,
    failure_share: f64,
    /// Share of the tasks that have a follow-up, and its kind.
    follow_up: Option<(f64, u16)>,
}

/// Everything that tasks of a scenario can be.
#[derive(Debug)]
pub(crate) struct Catalogue {
    seed: u64,
    kinds: Vec<Kind>,
    /// The kinds that are drawn, with their weights.
    drawn: Vec<(u16, f64)>,
    by_name: BTreeMap<String, u16>,
    tenants: Vec<String>,
    tenant_slices: Vec<Slice>,
    regions: Vec<(String, f64)>,
}

impl Catalogue {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let regions = scenario.fleet.regions.iter().map(|(name, share)| (name.clone(), *share)).collect();
        let (kinds, drawn, by_name) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (tenants, tenant_slices) = (Vec::new(), Vec::new());
        let mut catalogue = Self { seed, kinds, drawn, by_name, tenants, tenant_slices, regions };
        for work in &scenario.work {
            catalogue.add(work);
        }
        catalogue
    }

    fn add(&mut self, work: &Work) -> u16 {
        let tenants: Vec<_> = if work.tenants.is_empty() {
            vec![(self.tenant(TENANT), 1.0)]
        } else {
            work.tenants.iter().map(|(name, weight)| (self.tenant(name), *weight)).collect()
        };
        let mut payload = vec![0; work.payload_bytes as usize];
        Rng::with_seed(mix(self.seed)).fill(&mut payload);
        let kind = Kind {
            slice: Slice::Work(work.name.clone()),
            specialist: false,
            time: work.time,
            priority: work.priority,
            tenants,
            payload: payload.into(),
            ephemeral: work.ephemeral,
            prefers_region: work.prefers_region,
            failure_share: work.failure_share,
            follow_up: None,
        };
        let follow_up = work.escalation.as_ref().map(|escalation| {
            let follow_up = Kind {
                slice: Slice::Work(format!("{}{ESCALATED}", work.name)),
                specialist: true,
                time: escalation.time,
                priority: escalation.priority,
                tenants: kind.tenants.clone(),
                payload: kind.payload.clone(),
                ..kind
            };
            (escalation.share, self.push(follow_up))
        });
        let number = self.push(Kind { follow_up, ..kind });
        self.drawn.push((number, work.weight));
        self.by_name.insert(work.name.clone(), number);
        number
    }

    fn push(&mut self, kind: Kind) -> u16 {
        self.kinds.push(kind);
        // The scenario's check allows far fewer.
        u16::try_from(self.kinds.len() - 1).unwrap_or(u16::MAX)
    }

    fn tenant(&mut self, name: &str) -> u16 {
        let at = self.tenants.iter().position(|known| known == name).unwrap_or_else(|| {
            self.tenants.push(name.to_owned());
            self.tenant_slices.push(Slice::Tenant(name.to_owned()));
            self.tenants.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// The kind of work of this name.
    pub(crate) fn named(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// The task of this key; of this kind, or of one that is drawn.
    pub(crate) fn draw(&self, key: u64, kind: Option<u16>) -> Task {
        let mut rng = Rng::with_seed(mix(self.seed ^ mix(key)));
        let drawn = choose(&self.drawn, &mut rng);
        let kind = kind.unwrap_or(drawn);
        let found = &self.kinds[kind as usize];
        let tenant = choose(&found.tenants, &mut rng);
        let regions: Vec<_> = (0..).zip(&self.regions).map(|(at, (_, share))| (at, *share)).collect();
        let region = (!regions.is_empty()).then(|| choose(&regions, &mut rng));
        Task { key, kind, tenant, region, priority: found.priority, time: self.time(found.time, key) }
    }

    fn time(&self, time: TaskTime, key: u64) -> Duration {
        time.of_task(mix(self.seed ^ mix(key ^ TIME_SALT)), 0)
    }

    /// The follow-up of a task, if it has one.
    pub(crate) fn follow_up(&self, task: &Task) -> Option<Task> {
        let (share, kind) = self.kinds[task.kind as usize].follow_up?;
        let key = mix(task.key ^ FOLLOW_UP_SALT);
        let needed = Rng::with_seed(mix(self.seed ^ key)).f64() < share;
        let Kind { time, priority, .. } = &self.kinds[kind as usize];
        needed.then(|| Task { key, kind, priority: *priority, time: self.time(*time, key), ..*task })
    }

    /// A recorded task: what the trace does not say is as the scenario describes work of that name.
    pub(crate) fn recorded(&mut self, key: u64, recorded: &TraceTask) -> Task {
        let name = recorded.kind.as_str();
        let kind = self.named(name).or_else(|| self.named(TRACED)).unwrap_or_else(|| {
            let time = TaskTime::Fixed(Duration::ZERO);
            self.add(&Work { name: TRACED.into(), ..Work::of(time) })
        });
        let tenant = self.tenant(recorded.tenant.as_str());
        let (priority, time) = (recorded.priority.level(), recorded.service);
        Task { tenant, priority, time, ..self.draw(key, Some(kind)) }
    }

    /// The share of its executions that fail.
    pub(crate) fn failure_share(&self, task: &Task) -> f64 {
        self.kinds[task.kind as usize].failure_share
    }

    /// The slices that a task belongs to.
    pub(crate) fn slices(&self, task: &Task) -> [&Slice; 4] {
        const PRIORITIES: [Slice; 10] = [
            Slice::Priority(0),
            Slice::Priority(1),
            Slice::Priority(2),
            Slice::Priority(3),
            Slice::Priority(4),
            Slice::Priority(5),
            Slice::Priority(6),
            Slice::Priority(7),
            Slice::Priority(8),
            Slice::Priority(9),
        ];
        static ALL: Slice = Slice::All;
        static BY_PRIORITY: [Slice; 10] = PRIORITIES;
        let priority = &BY_PRIORITY[usize::from(task.priority.min(9))];
        [&ALL, &self.kinds[task.kind as usize].slice, &self.tenant_slices[task.tenant as usize], priority]
    }

    /// How it is submitted.
    pub(crate) fn spec(&self, task: &Task, number: u32, ledger: &Ledger) -> TaskSpec {
        let kind = &self.kinds[task.kind as usize];
        let equals = |key: &str, value: &str| v1::LabelRule {
            key: key.into(),
            operator: v1::LabelOperator::Equals.into(),
            values: vec![value.into()],
            weight: 0,
        };
        let region = task.region.filter(|_| kind.prefers_region);
        let region = region.map(|region| equals(REGION_LABEL, &self.regions[region as usize].0));
        let given = ledger.has_given_agents();
        let delivery = if kind.ephemeral { Delivery::Ephemeral } else { Delivery::Durable };
        TaskSpec {
            idempotency_key: ledger.key(number),
            kind: match () {
                () if given => SLEEP_KIND,
                () if kind.specialist => SPECIALIST_KIND,
                () => KIND,
            }
            .into(),
            payload: if given { task.time.as_millis().to_string().into() } else { kind.payload.clone() },
            tenant: self.tenants[task.tenant as usize].clone(),
            priority: Some(task.priority.into()),
            requirements: (!given).then(|| v1::Requirements {
                required: vec![equals(RUN_LABEL, ledger.run())],
                preferred: region.into_iter().collect(),
                ..v1::Requirements::default()
            }),
            delivery: wire::enums::to_delivery(delivery).into(),
            queue_timeout_ms: wire::quantities::to_ms(QUEUE_TIMEOUT),
            ..TaskSpec::default()
        }
    }

    /// Bytes of its payload.
    pub(crate) fn payload_bytes(&self, task: &Task) -> usize {
        self.kinds[task.kind as usize].payload.len()
    }
}

/// One of them, by weight; the first where all weights are 0.
fn choose(weighted: &[(u16, f64)], rng: &mut Rng) -> u16 {
    let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.f64() * total;
    for (thing, weight) in weighted {
        at -= weight;
        if at < 0.0 {
            return *thing;
        }
    }
    weighted.first().map_or(0, |(thing, _)| *thing)
}
