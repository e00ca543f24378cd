//! What two credentials that are shown together allow an agent.

use super::*;

fn grant(ids: &[&str], slots_max: Option<u32>, labels: Option<&[&str]>) -> AgentGrant {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    AgentGrant { ids: texts(ids), slots_max, labels: labels.map(texts) }
}

/// What both allow does not depend on which of them was shown first.
fn check(one: &AgentGrant, other: &AgentGrant, expected: &AgentGrant) {
    assert_eq!(one.and(other), *expected);
    assert_eq!(other.and(one), *expected);
}

#[test]
fn the_smaller_number_of_slots_holds_and_any_number_is_no_smaller_one() {
    let slots = |max| grant(&[], max, None);
    check(&slots(Some(4)), &slots(Some(2)), &slots(Some(2)));
    check(&slots(Some(4)), &slots(None), &slots(Some(4)));
    check(&slots(None), &slots(None), &slots(None));
}

#[test]
fn a_label_has_to_be_in_both_and_its_value_too() {
    let labels = |labels: Option<&[&str]>| grant(&[], None, labels);
    check(&labels(Some(&["zone", "gpu"])), &labels(Some(&["zone=eu"])), &labels(Some(&["zone=eu"])));
    check(&labels(Some(&["zone=eu"])), &labels(None), &labels(Some(&["zone=eu"])));
    check(&labels(Some(&["gpu", "zone=eu"])), &labels(Some(&["gpu"])), &labels(Some(&["gpu"])));
    // Something that no label is: without anything, it would have to be read as none at all, or as any.
    check(&labels(Some(&["zone=eu"])), &labels(Some(&["zone=us"])), &labels(Some(&[""])));
}

#[test]
fn an_id_has_to_be_in_both() {
    let ids = |ids: &[&str]| grant(ids, None, None);
    check(&ids(&["web-*", "db"]), &ids(&["web-1"]), &ids(&["web-1"]));
    check(&ids(&["web-*"]), &ids(&[]), &ids(&["web-*"]));
    check(&ids(&["web-*"]), &ids(&["db"]), &ids(&[""]));
}
