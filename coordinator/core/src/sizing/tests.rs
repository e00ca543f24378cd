use evenkeel_shared::{Resources, TaskBudget};

use super::*;

fn kind() -> Kind {
    Kind::new("build").unwrap()
}

/// A task that asks for two cores and 4 GiB.
fn asking() -> TaskSpec {
    let mut spec = TaskSpec::of_kind(kind());
    spec.requirements.resources = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, ..Resources::slots(3) };
    spec
}

/// What a task reserves under this size: cores in thousandths, and MiB.
fn reserved(size: Size, task: TaskSpec) -> (u64, u64) {
    let mut sizes = Sizes::default();
    sizes.put(size, 7);
    let sized = sizes.sized(Arc::new(task.clone()));
    assert_eq!(TaskSpec::clone(&sized).as_asked(), task, "what was asked for is not lost, and all else is as it was");
    assert_eq!(sized.asked.as_ref().map_or(7, |asked| asked.size_version), 7);
    (sized.requirements.resources.cpu_millis, sized.requirements.resources.memory_bytes >> 20)
}

#[test]
fn a_size_takes_the_place_of_what_it_names_and_of_nothing_else() {
    let size = Size::of(kind());
    assert_eq!(reserved(size.clone().with(SizedResource::MemoryBytes, Some(1 << 30)), asking()), (2_000, 1_024));
    assert_eq!(reserved(size.clone().with(SizedResource::CpuMillis, Some(500)), asking()), (500, 4_096));
    let both = size.with(SizedResource::CpuMillis, Some(500)).with(SizedResource::MemoryBytes, Some(8 << 30));
    assert_eq!(reserved(both.clone(), asking()), (500, 8_192), "more, where more is needed");
    assert_eq!(reserved(both.clone(), TaskSpec::of_kind(kind())), (500, 8_192), "of a task that asks for nothing too");
    let other = TaskSpec { kind: Kind::new("other").unwrap(), ..asking() };
    assert_eq!(reserved(both, other), (2_000, 4_096));
}

#[test]
fn more_memory_than_a_task_may_use_is_not_set_aside() {
    let budget = TaskBudget { memory_max_bytes: Some(2 << 30), ..TaskBudget::default() };
    let bound = TaskSpec { budget: Some(Box::new(budget)), ..asking() };
    let size = |mib: u64| Size::of(kind()).with(SizedResource::MemoryBytes, Some(mib << 20));
    assert_eq!(reserved(size(8_192), bound.clone()), (2_000, 2_048));
    assert_eq!(reserved(size(1_024), bound), (2_000, 1_024));
}

#[test]
fn a_task_that_asks_for_its_size_is_as_any_other() {
    let mut sizes = Sizes::default();
    sizes.put(Size::of(kind()).with(SizedResource::CpuMillis, Some(2_000)), 1);
    assert_eq!(sizes.sized(Arc::new(asking())).asked, None);
    assert!(sizes.remove(&kind()) && !sizes.remove(&kind()));
}

#[test]
fn what_can_only_be_a_mistake_is_refused() {
    let field = |size: Size| size.validate().map_err(|wrong| wrong.field);
    let of = |resource, amount| Size::of(kind()).with(resource, Some(amount));
    assert_eq!(field(Size::of(kind())), Err("size.memory_bytes".into()), "it says nothing");
    for (resource, named, least, most) in [
        (SizedResource::CpuMillis, "size.cpu_millis", 1, CPU_MILLIS_MAX),
        (SizedResource::MemoryBytes, "size.memory_bytes", MEMORY_BYTES_MIN, MEMORY_BYTES_MAX),
    ] {
        assert_eq!((field(of(resource, least)), field(of(resource, most))), (Ok(()), Ok(())));
        for wrong in [least - 1, most + 1] {
            assert_eq!(field(of(resource, wrong)), Err(named.into()), "{wrong}");
        }
    }
    let both = of(SizedResource::CpuMillis, 500).with(SizedResource::MemoryBytes, Some(512 << 20));
    assert_eq!(both.in_words(), "0.5 cores and 512 MiB of memory");
}
