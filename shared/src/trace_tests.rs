use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_header_reads_back() {
    let context = TraceContext::parse(PARENT, "vendor=a:1,other=2").unwrap();
    assert!(context.is_sampled());
    assert_eq!((context.parent().as_str(), context.state()), (PARENT, "vendor=a:1,other=2"));
    assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let unsampled = context.unsampled();
    assert!(!unsampled.is_sampled());
    assert!(unsampled.parent().ends_with("-00"));
}

#[test]
fn what_is_no_header_is_no_context() {
    for bad in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473ü-0f067aa0ba902b7-01",
    ] {
        assert_eq!(TraceContext::parse(bad, ""), None, "{bad:?}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let later = format!("01{}-what-comes-later", &PARENT[2..]);
    assert_eq!(TraceContext::parse(&later, "").unwrap().parent(), PARENT);
    let flags = format!("{}ff", &PARENT[..53]);
    assert!(TraceContext::parse(&flags, "").unwrap().parent().ends_with("-03"), "flags that mean nothing are left out");
}

#[test]
fn a_state_that_breaks_the_rules_is_left_out() {
    for bad in ["a=\u{e9}".to_owned(), "x".repeat(513), vec!["a=1"; 33].join(",")] {
        assert_eq!(TraceContext::parse(PARENT, &bad).unwrap().state(), "", "{bad:?}");
    }
}

#[test]
fn spans_of_a_task_have_ids_of_their_own_that_anybody_finds_again() {
    let mut seen = BTreeSet::new();
    for number in 0..1_000 {
        let task = TaskId::from_u128(number);
        assert!(seen.insert(SpanId::of_task(task)));
        for attempt in 1..=10 {
            assert!(seen.insert(SpanId::of_attempt(task, AttemptNumber(attempt))));
            assert_eq!(
                SpanId::of_attempt(task, AttemptNumber(attempt)),
                SpanId::of_attempt(task, AttemptNumber(attempt))
            );
        }
    }
}

#[test]
fn a_context_is_kept_as_text() {
    let context = TraceContext::parse(PARENT, "a=1").unwrap();
    let json = serde_json::to_string(&context).unwrap();
    assert!(json.contains(PARENT), "{json}");
    assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
}

proptest! {
    #[test]
    fn any_text_is_read_or_left_out_and_reads_back(parent in ".{0,80}", state in ".{0,40}") {
        if let Some(context) = TraceContext::parse(&parent, &state) {
            prop_assert_eq!(TraceContext::parse(&context.parent(), context.state()), Some(context));
        }
    }

    #[test]
    fn any_context_reads_back(trace in 1_u128.., span in 1_u64.., sampled: bool) {
        let context = TraceContext::root(TraceId::new(trace).unwrap(), SpanId::new(span).unwrap(), sampled);
        prop_assert_eq!(TraceContext::parse(&context.parent(), ""), Some(context));
    }
}
