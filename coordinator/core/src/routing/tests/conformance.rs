//! What every strategy must do, run over all of them.

use evenkeel_shared::LabelOperator;
use proptest::{collection, prelude::*};

use super::*;

/// What happens to a fleet. Numbers choose among what is there, whatever its size.
#[derive(Clone, Debug)]
enum Step {
    Join(u32, AgentSpec),
    Leave(u32),
    Schedulable(u32, bool),
    Degraded(u32, bool),
    CpuFree(u32, f32),
    /// Slots of an agent are kept for urgent tasks.
    Withhold(u32, u32),
    Task {
        sort: usize,
        priority: u8,
        affinity: Option<u64>,
        room: Room,
    },
    Complete(usize),
    Strategy(usize),
}

const AGENTS: u32 = 130;

fn spec() -> impl Strategy<Value = AgentSpec> {
    let kinds = prop_oneof![Just(vec!["a"]), Just(vec!["b"]), Just(vec!["a", "b"])];
    let gpus = prop_oneof![3 => Just(0u64), 1 => 1..3u64];
    (0..9_999u32, kinds, 0..3usize, 1..5u32, (0..4u64, gpus), 0..3u8, 1..300u16).prop_map(
        |(id, kinds, zone, slots, (memory_bytes, gpus), tier, weight)| {
            let mut spec = agent(&format!("agent-{id}"), slots);
            spec.kinds = kinds.into_iter().map(kind).collect();
            spec.capacity.memory_bytes = memory_bytes;
            if gpus > 0 {
                spec.capacity.custom.insert("gpu".into(), gpus);
            }
            if zone > 0 {
                spec.labels.insert("zone".into(), ["", "1", "2"][zone].into());
            }
            AgentSpec { tier, weight, ..spec }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let affinity = prop_oneof![Just(None), any::<u64>().prop_map(Some)];
    let room = prop_oneof![8 => Just(Room::Now), 2 => Just(Room::Ahead), 2 => Just(Room::Urgent)];
    let task = (0..sorts().len(), 0..10u8, affinity, room).prop_map(|(sort, priority, affinity, room)| Step::Task {
        sort,
        priority,
        affinity,
        room,
    });
    prop_oneof![
        2 => (0..AGENTS, spec()).prop_map(|(at, spec)| Step::Join(at, spec)),
        2 => (0..AGENTS).prop_map(Step::Leave),
        2 => (0..AGENTS, any::<bool>()).prop_map(|(at, yes)| Step::Schedulable(at, yes)),
        2 => (0..AGENTS, any::<bool>()).prop_map(|(at, yes)| Step::Degraded(at, yes)),
        1 => (0..AGENTS, 0.0..1.0f32).prop_map(|(at, share)| Step::CpuFree(at, share)),
        2 => (0..AGENTS, 0..5u32).prop_map(|(at, slots)| Step::Withhold(at, slots)),
        24 => task,
        6 => any::<usize>().prop_map(Step::Complete),
        1 => (0..StrategyConfig::NAMES.len()).prop_map(Step::Strategy),
    ]
}

/// The sorts of task that are tried.
fn sorts() -> Vec<(Kind, Requirements)> {
    let slots = |slots| Requirements { resources: Resources::slots(slots), ..Requirements::default() };
    let rule = |operator, value: &str| LabelRule { operator, ..LabelRule::equals("zone", value) };
    let mut gpu = slots(1);
    gpu.resources.custom.insert("gpu".into(), 1);
    let mut heavy = slots(2);
    heavy.resources.memory_bytes = 2;
    let in_zone = Requirements { required: vec![LabelRule::equals("zone", "1")], ..slots(1) };
    let elsewhere = Requirements { required: vec![rule(LabelOperator::NotEquals, "1")], ..slots(1) };
    let above = Requirements { required: vec![rule(LabelOperator::Greater, "1")], ..slots(1) };
    let choosy = Requirements { preferred: vec![prefers("zone", "1", 1), prefers("zone", "2", 9)], ..slots(1) };
    let all = [slots(1), slots(3), gpu, heavy, in_zone, elsewhere, above, choosy];
    all.into_iter().zip(["a", "b"].into_iter().cycle()).map(|(needs, name)| (kind(name), needs)).collect()
}

/// How far a pick's score may be below the best score of an eligible agent: what its levels do not tell apart.
fn tolerance(name: &str) -> f64 {
    match name {
        "least_loaded" | "bin_pack" => 1.0 / 128.0,
        "priority" => 1.0 / 63.0,
        // The levels are coarser for high scores; these agents' weights end at 3.
        "weighted" => 0.06,
        _ => f64::INFINITY,
    }
}

/// Preferences given up, as the heaviest ones come first.
fn given_up(needs: &Requirements, labels: &Labels) -> usize {
    let mut rules: Vec<_> = needs.preferred.iter().collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.weight));
    rules.len() - rules.iter().take_while(|rule| rule.matches(labels)).count()
}

impl Fleet {
    /// Places a task and compares the decision with what the model allows.
    fn check_task(&mut self, sort: &(Kind, Requirements), task: &TaskFacts, room: Room) -> Result<(), TestCaseError> {
        let (kind, needs) = sort;
        let eligible = self.eligible(kind, needs, task, room);
        let rank = |fleet: &Self, at: &AgentIx| {
            let member = &fleet.members[at];
            (member.degraded, given_up(needs, &member.spec.labels))
        };
        let best_rank = eligible.iter().map(|at| rank(self, at)).min();
        let peers = eligible.iter().filter(|at| Some(rank(self, at)) == best_rank);
        let best_score = peers.map(|&at| self.router.score(at, task)).fold(f64::MIN, f64::max);
        let with_room = self.with_room(needs, room);

        let class = self.router.class(kind, needs).unwrap();
        if room == Room::Now {
            self.check_placed(class, sort)?;
        }
        let pick = self.router.pick(class, task, room);
        prop_assert_eq!(pick.is_some(), !eligible.is_empty(), "somebody is eligible: {:?}", eligible);
        if let Some(pick) = pick {
            prop_assert!(eligible.contains(&pick.agent), "{:?} is not eligible", pick);
            prop_assert_eq!(Some(rank(self, &pick.agent)), best_rank, "a better grade or preference was to be had");
            prop_assert_eq!(usize::from(pick.preferences_given_up), rank(self, &pick.agent).1);
            prop_assert_eq!(pick.agents_with_room as usize, with_room);
            if room == Room::Now {
                let name = self.router.strategy().name();
                prop_assert!(pick.score >= best_score - tolerance(name), "{pick:?}, but there is {best_score}");
                prop_assert_eq!(self.router.pick_on(class, pick.agent, task), pick);
            }
            self.assign(class, needs, task, room);
        }
        self.router.release_class(class);
        Ok(())
    }

    /// Asks from which priority on somebody would be picked, and compares with the model.
    fn check_placed(&mut self, class: ClassIx, (kind, needs): &(Kind, Requirements)) -> Result<(), TestCaseError> {
        let nobody = [0, 9].map(|level| self.eligible(kind, needs, &of_priority(level), Room::Now).is_empty());
        let least = self.router.least_level_placed(class);
        prop_assert_eq!([least != Some(0), least.is_none()], nobody, "{:?}", least);
        Ok(())
    }

    /// Asks of every agent whether it may take each sort of task, and compares with the model.
    fn check_all(&mut self) -> Result<(), TestCaseError> {
        for (kind, needs) in sorts() {
            let class = self.router.class(&kind, &needs).unwrap();
            for (room, task) in
                [(Room::Now, of_priority(0)), (Room::Ahead, of_priority(9)), (Room::Urgent, of_priority(9))]
            {
                let [least_urgent, most_urgent] =
                    [0, 9].map(|level| self.eligible(&kind, &needs, &of_priority(level), room));
                let eligible = if task.priority.level() == 0 { &least_urgent } else { &most_urgent };
                for at in (0..=AGENTS).map(AgentIx) {
                    let answer = self.router.admits(class, at, &task, room);
                    prop_assert_eq!(answer.is_ok(), eligible.contains(&at), "{}: {:?}", at, answer);
                    let least = self.router.least_level_taken(class, at, room);
                    let may = [least == Some(0), least.is_some()];
                    prop_assert_eq!(may, [&least_urgent, &most_urgent].map(|set| set.contains(&at)), "{}", at);
                    prop_assert!(least.is_none() || self.router.has_slots(at, room));
                    let matches = self.members.get(&at).is_some_and(|member| member.matches(&kind, &needs));
                    prop_assert_eq!(self.router.matches(class, at).is_ok(), matches);
                }
            }
            self.router.release_class(class);
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Join(at, spec) => self.join(AgentIx(at), spec),
            Step::Leave(at) => self.leave(AgentIx(at)),
            Step::Schedulable(at, yes) => self.change(AgentIx(at), |member| member.schedulable = yes),
            Step::Degraded(at, yes) => self.change(AgentIx(at), |member| member.degraded = yes),
            Step::CpuFree(at, share) => self.change(AgentIx(at), |member| member.cpu_free = share),
            Step::Complete(_) if self.running.is_empty() => {}
            Step::Complete(nth) => self.complete(nth % self.running.len()),
            Step::Strategy(nth) => self.router.set_strategy(&strategy(StrategyConfig::NAMES[nth])),
            Step::Withhold(at, slots) => {
                self.change(AgentIx(at), |member| member.withheld = slots.min(member.spec.capacity.slots));
            }
            Step::Task { sort, priority, affinity, room } => {
                let task = TaskFacts { affinity, ..of_priority(priority) };
                self.check_task(&sorts()[sort], &task, room)?;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_pick_is_eligible_and_made_whenever_somebody_is(
        specs in prop_oneof![collection::vec(spec(), 0..20), collection::vec(spec(), 100..AGENTS as usize)],
        steps in collection::vec(step(), 0..150),
    ) {
        for name in StrategyConfig::NAMES {
            let mut fleet = Fleet::of(name, specs.clone());
            for step in steps.clone() {
                fleet.take(step)?;
            }
            fleet.check_all()?;
        }
    }

    #[test]
    fn a_question_changes_no_pick(size in 1..120usize, priorities in collection::vec(0..10u8, 1..200)) {
        for name in StrategyConfig::NAMES {
            let picks = |asks: bool| {
                let mut fleet = Fleet::of(name, (0..size).map(|at| agent(&format!("agent-{at}"), 3)));
                let class = fleet.router.class(&kind("a"), &Requirements::default()).unwrap();
                let pick = |&level: &u8| {
                    if asks {
                        fleet.router.least_level_placed(class);
                    }
                    let pick = fleet.assign(class, &Requirements::default(), &of_priority(level), Room::Now);
                    pick.map(|pick| pick.agent)
                };
                priorities.iter().map(pick).collect::<Vec<_>>()
            };
            prop_assert_eq!(picks(true), picks(false), "{}", name);
        }
    }

    #[test]
    fn picks_do_not_depend_on_names(salt in any::<u32>(), size in 2..120usize) {
        let names = StrategyConfig::NAMES.into_iter().filter(|&name| name != "consistent_hash");
        for name in names {
            let fleet = |salt: u32| Fleet::of(name, (0..size).map(|at| agent(&format!("{salt}-{at}"), 3)));
            let picks = |mut fleet: Fleet| fleet.assign_many(2 * size, |_| TaskFacts::default());
            prop_assert_eq!(picks(fleet(0)), picks(fleet(salt)), "{}", name);
        }
    }
}

/// How many tasks more than another of equal agents one may have, of 64 slots half of which are in use on average.
fn spread_max(name: &str) -> Option<u32> {
    match name {
        "round_robin" | "least_loaded" | "consistent_hash" => Some(1),
        // Levels of theirs may hold two numbers of tasks.
        "weighted" | "priority" => Some(2),
        "power_of_two" => Some(8),
        // Eight standard deviations of a fair draw.
        "random" => Some(46),
        // It gathers.
        _ => None,
    }
}

#[test]
fn equal_agents_share_evenly_and_all_slots_can_be_filled() {
    for name in StrategyConfig::NAMES {
        for size in [10, 100] {
            let mut fleet = Fleet::of(name, (0..size).map(|at| agent(&format!("agent-{at}"), 64)));
            fleet.assign_many(size * 32, |_| of_priority(9));
            let loads = fleet.loads();
            let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            match spread_max(name) {
                Some(bound) => assert!(spread <= bound, "{name}: {size} agents differ by {spread}: {loads:?}"),
                None => assert!(loads.iter().filter(|&&load| load % 64 != 0).count() <= 1, "{name}: {loads:?}"),
            }
            assert_eq!(fleet.assign_many(size * 64, |_| of_priority(9)).len(), size * 32, "{name}");
        }
    }
}
