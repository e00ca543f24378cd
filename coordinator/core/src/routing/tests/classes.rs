use super::*;

fn with_memory(memory_bytes: u64) -> Requirements {
    Requirements { resources: Resources { memory_bytes, ..Resources::slots(1) }, ..Requirements::default() }
}

#[test]
fn the_same_requirements_are_the_same_class() {
    let mut fleet = Fleet::of("least_loaded", []);
    let class = fleet.class("a", &with_memory(1));
    assert_eq!(fleet.class("a", &with_memory(1)), class);
    assert_ne!(fleet.class("a", &with_memory(2)), class);
    assert_ne!(fleet.class("b", &with_memory(1)), class);
}

#[test]
fn classes_in_use_are_never_evicted_and_unused_ones_only_when_needed() {
    let mut fleet = Fleet::of("least_loaded", [agent("one", 1)]);
    let limit = u64::try_from(CLASSES_MAX).unwrap();
    let classes: Vec<_> = (0..limit).map(|bytes| fleet.class("a", &with_memory(bytes))).collect();
    assert_eq!(fleet.router.class(&kind("a"), &with_memory(limit)), Err(ClassLimit));

    fleet.router.release_class(classes[5]);
    fleet.router.release_class(classes[3]);
    assert_eq!(fleet.class("a", &with_memory(5)), classes[5], "an unused class is kept");
    assert_eq!(fleet.class("a", &with_memory(limit)), classes[3], "the place of the unused one is taken");
    assert_eq!(fleet.router.class(&kind("a"), &with_memory(3)), Err(ClassLimit));
    assert!(fleet.router.pick(classes[0], &TaskFacts::default(), Room::Now).is_some());
    assert_eq!(fleet.router.pick(classes[7], &TaskFacts::default(), Room::Now), None, "no memory was declared");
}

#[test]
fn the_heaviest_preference_is_given_up_last() {
    let near = labelled(agent("near", 1), "zone", "1");
    let fast = labelled(agent("fast", 1), "disk", "ssd");
    let mut fleet = Fleet::of("least_loaded", [agent("plain", 1), near, fast]);
    let preferred = vec![prefers("zone", "1", 2), prefers("disk", "ssd", 50)];
    let needs = Requirements { preferred, ..Requirements::default() };
    let class = fleet.class("a", &needs);
    let mut next = || {
        fleet
            .assign(class, &needs, &TaskFacts::default(), Room::Now)
            .map(|pick| (pick.agent, pick.preferences_given_up))
    };
    assert_eq!(next(), Some((AgentIx(2), 1)));
    // Preferences are dropped from the lightest on, so the zone alone is not tried once the disk is given up.
    let rest = [next(), next()];
    assert!(rest.contains(&Some((AgentIx(0), 2))) && rest.contains(&Some((AgentIx(1), 2))), "{rest:?}");
    assert_eq!(next(), None);
}

#[test]
fn refusals_name_what_is_in_the_way() {
    let mut spec = labelled(agent("one", 2), "zone", "1");
    spec.capacity.custom.insert("gpu".into(), 1);
    let mut fleet = Fleet::of("priority", [spec]);
    let mut gpu = Requirements::default();
    gpu.resources.custom.insert("gpu".into(), 1);
    let elsewhere = Requirements { required: vec![LabelRule::equals("zone", "2")], ..Requirements::default() };
    let gpu_class = fleet.class("a", &gpu);
    fleet.assign(gpu_class, &gpu, &TaskFacts::default(), Room::Now).unwrap();

    let mut check = |kind: &str, needs: &Requirements, room: Room, code: &str, words: &str| {
        let class = fleet.class(kind, needs);
        let refusal = fleet.router.admits(class, AgentIx(0), &TaskFacts::default(), room).unwrap_err();
        assert_eq!((refusal.code(), refusal.to_string().as_str()), (code, words));
    };
    let two = Requirements { resources: Resources::slots(2), ..Requirements::default() };
    let plain = Requirements::default();
    check("b", &plain, Room::Now, "kind_not_taken", "does not take tasks of kind `b`");
    check("a", &elsewhere, Room::Now, "label_rule", "its labels do not satisfy `zone=2`");
    check("a", &with_memory(5), Room::Now, "capacity_too_small", "has 0 memory_bytes in all, the task asks for 5");
    check("a", &two, Room::Now, "no_free_slot", "has 1 free slots, the task asks for 2");
    check("a", &gpu, Room::Now, "resource_in_use", "has 0 gpu free, the task asks for 1");
    fleet.change(AgentIx(0), |member| member.ahead_slots = 1);
    let mut check = |needs: &Requirements, room: Room, code: &str| {
        let class = fleet.class("a", needs);
        let answer = fleet.router.admits(class, AgentIx(0), &TaskFacts::default(), room);
        assert_eq!(answer.unwrap_err().code(), code);
    };
    check(&two, Room::Ahead, "no_prefetch_room");
    fleet.change(AgentIx(0), |member| member.schedulable = false);
    let class = fleet.class("a", &plain);
    assert_eq!(fleet.router.admits(class, AgentIx(0), &TaskFacts::default(), Room::Now), Err(Refusal::NotSchedulable));
}

#[test]
fn an_agent_is_not_schedulable_before_its_first_update_and_after_a_changed_spec() {
    let mut fleet = Fleet::of("least_loaded", [agent("one", 1)]);
    let class = fleet.class("a", &Requirements::default());
    fleet.router.insert(AgentIx(0), Arc::new(agent("one", 2)));
    assert_eq!(fleet.router.pick(class, &TaskFacts::default(), Room::Now), None);
    fleet.change(AgentIx(0), |_| {});
    assert!(fleet.router.pick(class, &TaskFacts::default(), Room::Now).is_some());
    fleet.router.insert(AgentIx::from(AGENTS_MAX), Arc::new(agent("beyond", 1)));
    assert_eq!(fleet.router.matches(class, AgentIx::from(AGENTS_MAX)), Err(Refusal::NotSchedulable));
}

#[test]
fn a_stream_of_classes_that_never_come_back_does_not_pile_up() {
    let mut fleet = Fleet::of("least_loaded", [agent("one", 1)]);
    for bytes in 0..1_000 {
        let class = fleet.class("a", &with_memory(bytes));
        fleet.router.release_class(class);
        assert!(class.at() < 300, "class {class} of {bytes}");
    }
}

#[test]
fn an_agent_is_found_again_for_each_of_many_sorts_of_tasks_that_it_matches() {
    // More than each agent remembers.
    const SORTS: usize = 100;
    let host =
        |n: usize| Requirements { required: vec![LabelRule::equals("host", n.to_string())], ..Requirements::default() };
    let on_host = |n: usize| labelled(agent(&format!("agent-{n}"), 1), "host", &n.to_string());
    let mut fleet = Fleet::of("least_loaded", (0..SORTS).map(on_host));
    let check = |fleet: &mut Fleet, hosts: std::ops::Range<usize>, place: fn(usize) -> usize| {
        let classes: Vec<ClassIx> = hosts.clone().map(|n| fleet.class("a", &host(n))).collect();
        for (n, &class) in hosts.zip(&classes) {
            let (needs, expected) = (host(n), Some(AgentIx::from(place(n))));
            let mut next = || fleet.assign(class, &needs, &TaskFacts::default(), Room::Now).map(|pick| pick.agent);
            assert_eq!((next(), next()), (expected, None), "host {n}");
            fleet.complete(fleet.running.len() - 1);
            assert_eq!(next_pick(fleet, class), expected, "host {n} again");
        }
        classes.into_iter().for_each(|class| fleet.router.release_class(class));
    };
    check(&mut fleet, 0..SORTS, |n| n);
    // Each is on the next host now, and the classes of hosts that were asked for before make room for others.
    for n in 0..SORTS {
        fleet.join(AgentIx::from(n), on_host(n + 1));
    }
    for bytes in 0..u64::try_from(CLASSES_MAX).unwrap() {
        let class = fleet.class("a", &with_memory(bytes));
        fleet.router.release_class(class);
    }
    check(&mut fleet, 1..SORTS + 1, |n| n - 1);
}

fn next_pick(fleet: &mut Fleet, class: ClassIx) -> Option<AgentIx> {
    fleet.router.pick(class, &TaskFacts::default(), Room::Now).map(|pick| pick.agent)
}
