use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Indices that crowd at the edges of words, blocks and the whole range, where mistakes live.
fn index() -> impl Strategy<Value = u32> {
    let max = u32::try_from(AGENTS_MAX).unwrap();
    prop_oneof![0..200u32, 4_000..4_200u32, 60_000..60_100u32, max - 100..max, 0..max]
}

fn indices() -> impl Strategy<Value = BTreeSet<u32>> {
    proptest::collection::btree_set(index(), 0..60)
}

fn set_of(model: &BTreeSet<u32>) -> AgentSet {
    model.iter().map(|&at| AgentIx(at)).collect()
}

proptest! {
    #[test]
    fn it_holds_what_a_sorted_set_holds(steps in proptest::collection::vec((index(), any::<bool>()), 0..200)) {
        let (mut set, mut model) = (AgentSet::default(), BTreeSet::new());
        for (at, put_in) in steps {
            let changed = if put_in { model.insert(at) } else { model.remove(&at) };
            prop_assert_eq!(if put_in { set.insert(AgentIx(at)) } else { set.remove(AgentIx(at)) }, changed);
            prop_assert_eq!(set.contains(AgentIx(at)), put_in);
        }
        prop_assert_eq!(set.len() as usize, model.len());
        let members: Vec<_> = model.into_iter().map(AgentIx).collect();
        prop_assert_eq!(set.draw(&mut fastrand::Rng::with_seed(1)).is_some(), !members.is_empty());
        prop_assert!(set.iter().eq(members.iter().copied()));
        prop_assert!((0..set.len()).filter_map(|nth| set.nth(nth)).eq(members));
    }

    #[test]
    fn the_first_common_is_the_next_in_the_ring(shared in indices(), a in indices(), b in indices(), from in index()) {
        let (a, b) = (&a | &shared, &b | &shared);
        let both: BTreeSet<u32> = &a & &b;
        let expected = both.range(from..).chain(both.iter()).next().map(|&at| AgentIx(at));
        prop_assert_eq!(first_common([&set_of(&a), &set_of(&b)], AgentIx(from)), expected);
        let all: Vec<_> = both.range(from..).chain(both.range(..from)).map(|&at| AgentIx(at)).collect();
        prop_assert_eq!(common_from([&set_of(&a), &set_of(&b)], AgentIx(from)).collect::<Vec<_>>(), all);
        let (a, b, shared) = (set_of(&a), set_of(&b), set_of(&both));
        prop_assert_eq!(first_common([&a, &b, &shared], AgentIx(from)), expected);
    }
}

#[test]
fn an_index_beyond_the_limit_is_not_taken() {
    let mut set = AgentSet::default();
    assert!(!set.insert(AgentIx::from(AGENTS_MAX)));
    assert!(set.insert(AgentIx::from(AGENTS_MAX - 1)));
    assert_eq!(set.len(), 1);
    assert_eq!(first_common([&set], AgentIx(u32::MAX)), Some(AgentIx::from(AGENTS_MAX - 1)));
}
