//! Random valid histories pass, and a random break of one is always found.

use proptest::{prelude::*, sample::Index};

use super::{
    Expect, Rule,
    breaks::BREAKS,
    check,
    model::{Plan, history, plans},
};

fn expect(plans: &[Plan]) -> Expect {
    Expect { all_over: plans.iter().all(Plan::is_over), ..Expect::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn valid_histories_pass(plans in plans(), turned in any::<bool>()) {
        let mut history = history(&plans);
        if turned {
            // The order in which it was written down does not matter.
            history.recorded.reverse();
            history.executions.reverse();
            history.submissions.reverse();
            history.sightings.reverse();
            history.acknowledgements.reverse();
        }
        let verdict = check(&history, expect(&plans));
        prop_assert!(verdict.is_clean(), "{verdict}");
    }

    #[test]
    fn a_break_is_always_found(plans in plans(), one in any::<Index>(), which in any::<Index>()) {
        let one = &BREAKS[one.index(BREAKS.len())];
        let mut history = history(&plans);
        prop_assume!((one.apply)(&mut history, which));
        let all_over = one.rules == [Rule::NotOver];
        let verdict = check(&history, Expect { all_over, ..Expect::default() });
        let named = one.rules.iter().any(|rule| verdict.broken.contains_key(rule));
        prop_assert!(named, "{}, and not found:\n{verdict}", one.name);
    }
}

#[test]
fn every_rule_is_among_the_breaks() {
    for rule in Rule::ALL {
        assert!(BREAKS.iter().any(|one| one.rules.contains(rule)), "{rule}");
    }
}
