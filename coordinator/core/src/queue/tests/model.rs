//! The rules of the queue written down without any structure: every decision scans everything.

use super::*;

#[derive(Clone, Copy, Debug)]
struct Naive {
    task: u32,
    spec: Spec,
    since: Timestamp,
}

#[derive(Default)]
struct Model {
    waiting: Vec<Naive>,
    weights: Vec<u32>,
    /// Finishes by priority and tenant, in the units of the queue.
    finishes: BTreeMap<(u8, u32), u64>,
    virtual_times: BTreeMap<u8, u64>,
    level_finishes: BTreeMap<u8, u64>,
    level_time: u64,
    /// Tenant and class.
    shut: BTreeSet<(u32, u32)>,
}

impl Model {
    fn finish(&self, spec: Spec) -> u64 {
        self.finishes.get(&(spec.level, spec.tenant)).copied().unwrap_or(0)
    }

    fn push(&mut self, naive: Naive) {
        self.remove(naive.task);
        let key = |spec: Spec| (spec.class, spec.level, spec.tenant);
        if !self.waiting.iter().any(|other| key(other.spec) == key(naive.spec)) {
            let present = self.virtual_times.get(&naive.spec.level).copied().unwrap_or(0);
            let finish = self.finish(naive.spec).max(present);
            self.finishes.insert((naive.spec.level, naive.spec.tenant), finish);
        }
        self.waiting.push(naive);
    }

    fn remove(&mut self, task: u32) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|naive| naive.task != task);
        self.waiting.len() < before
    }

    fn best(&self, now: Timestamp, classes: &BTreeSet<u32>) -> Option<Naive> {
        let open = |n: &&Naive| !self.shut.contains(&(n.spec.tenant, n.spec.class));
        let of = |level| {
            let here = self.waiting.iter().filter(move |n| n.spec.level == level && classes.contains(&n.spec.class));
            here.filter(open)
        };
        // Where a class and priority has a shut lane, the wait of the task that goes next stands for all of them.
        let age = |level: u8, class: u32| {
            let here = || self.waiting.iter().filter(move |n| n.spec.level == level && n.spec.class == class);
            if here().all(|n| open(&n)) {
                return here().map(|n| n.since).min();
            }
            here().filter(open).min_by_key(|n| (self.finish(n.spec), n.task)).map(|n| n.since)
        };
        let rank = |level: u8| {
            let oldest = classes.iter().filter_map(|class| age(level, *class)).min()?;
            let raised = u64::from(level) + now.since(oldest).as_secs() / INTERVAL.as_secs();
            let start = self.level_finishes.get(&level).copied().unwrap_or(0).max(self.level_time);
            Some((Reverse(raised.min(9)), start, Reverse(level)))
        };
        let (_, level) = (0..10).filter_map(|level| Some((rank(level)?, level))).min()?;
        of(level).min_by_key(|n| (self.finish(n.spec), n.task)).copied()
    }

    /// A lane that opens with tasks at a priority starts from the present there.
    fn set_shut(&mut self, tenant: u32, class: u32, shut: bool) {
        if shut {
            self.shut.insert((tenant, class));
        } else if self.shut.remove(&(tenant, class)) {
            for level in 0..10 {
                let spec = Spec { level, tenant, class, ..PLAIN };
                let key = |spec: Spec| (spec.class, spec.level, spec.tenant);
                if self.waiting.iter().any(|naive| key(naive.spec) == key(spec)) {
                    let present = self.virtual_times.get(&level).copied().unwrap_or(0);
                    self.finishes.insert((level, tenant), self.finish(spec).max(present));
                }
            }
        }
    }

    fn take(&mut self, naive: Naive) {
        let Spec { level, tenant, cost, .. } = naive.spec;
        let toll = |weight: u32| (u64::from(cost) << 20) / u64::from(weight);
        let level_start = self.level_finishes.get(&level).copied().unwrap_or(0).max(self.level_time);
        self.level_finishes.insert(level, level_start + toll(u32::from(level) + 1));
        self.level_time = level_start;
        let present = self.virtual_times.entry(level).or_insert(0);
        let finish = self.finishes.entry((level, tenant)).or_insert(0);
        *present = (*present).max(*finish);
        *finish = *present.max(finish) + toll(self.weights[tenant as usize]);
        self.remove(naive.task);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(Spec),
    /// One of all tasks ever pushed.
    PushAgain(usize),
    Remove(usize),
    /// Among these classes.
    Take(BTreeSet<u32>),
    Wait(u64),
    /// Tenant and class.
    Shut(u32, u32, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spec = (0..4u32, 0u8..10, 0..4u32, 1u32..4).prop_map(|(class, level, tenant, cost)| Spec {
        class,
        level,
        tenant,
        cost,
    });
    let classes = proptest::collection::btree_set(0..4u32, 1..4);
    let step = prop_oneof![
        5 => spec.prop_map(Step::Push),
        1 => any::<usize>().prop_map(Step::PushAgain),
        1 => any::<usize>().prop_map(Step::Remove),
        4 => classes.prop_map(Step::Take),
        2 => (1u64..30).prop_map(Step::Wait),
        2 => (0..4u32, 0..4u32, any::<bool>()).prop_map(|(tenant, class, shut)| Step::Shut(tenant, class, shut)),
    ];
    vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_queue_does_what_the_rules_say(steps in steps(), weights in vec(1u32..4, 4)) {
        let mut bench = Bench::new(Some(INTERVAL), &weights);
        let mut model = Model { weights, ..Model::default() };
        let mut specs = Vec::new();
        for step in steps {
            match step {
                Step::Push(spec) => {
                    specs.push(spec);
                    let task = bench.push(spec).0;
                    model.push(Naive { task, spec, since: bench.now });
                }
                Step::PushAgain(n) if !specs.is_empty() => {
                    let at = n % specs.len();
                    bench.push_again(TaskIx(at as u32), specs[at]);
                    model.push(Naive { task: at as u32, spec: specs[at], since: bench.now });
                }
                Step::Remove(n) if !specs.is_empty() => {
                    let task = (n % specs.len()) as u32;
                    prop_assert_eq!(bench.queue.remove(TaskIx(task)), model.remove(task));
                }
                Step::PushAgain(_) | Step::Remove(_) => {}
                Step::Take(classes) => {
                    let expected = model.best(bench.now, &classes);
                    let classes: Vec<_> = classes.into_iter().collect();
                    prop_assert_eq!(bench.take_of(&classes), expected.map(|naive| naive.task));
                    if let Some(naive) = expected {
                        model.take(naive);
                    }
                }
                Step::Shut(tenant, class, shut) => {
                    bench.set_shut(tenant, class, shut);
                    model.set_shut(tenant, class, shut);
                }
                Step::Wait(seconds) => bench.now = bench.now.plus(Duration::from_secs(seconds)),
            }
            compare(&bench, &model)?;
        }
    }
}

/// What the queue says of itself is what waits.
fn compare(bench: &Bench, model: &Model) -> Result<(), TestCaseError> {
    let queue = &bench.queue;
    prop_assert_eq!(queue.len(), model.waiting.len());
    prop_assert_eq!(queue.oldest(), model.waiting.iter().map(|naive| naive.since).min());
    let classes: BTreeSet<_> = model.waiting.iter().map(|naive| ClassIx(naive.spec.class)).collect();
    prop_assert!(queue.classes().eq(classes.iter().copied()));
    for class in classes {
        let of_class: Vec<_> = model.waiting.iter().filter(|naive| naive.spec.class == class.0).collect();
        prop_assert_eq!(queue.class_len(class), of_class.len());
        let oldest = of_class.iter().map(|naive| (naive.since, naive.task)).min();
        prop_assert_eq!(queue.class_oldest(class).map(|(task, since)| (since, task.0)), oldest);
    }
    let levels = queue.level_lens();
    prop_assert!(
        (0u8..)
            .zip(levels)
            .all(|(level, len)| len == model.waiting.iter().filter(|naive| naive.spec.level == level).count())
    );
    let tenants: usize = queue.tenant_lens().map(|(_, len)| len).sum();
    prop_assert_eq!(tenants, model.waiting.len());
    Ok(())
}
