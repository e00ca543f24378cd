use std::time::Duration;

use bytes::Bytes;
use evenkeel_shared::{AssignmentId, AttemptNumber, TaskId};
use proptest::prelude::*;
use prost::Message as _;
use v1::attempt_result::Outcome as WireOutcome;

use super::*;

fn attempt(number: u64) -> AttemptRef {
    AttemptRef { task: TaskId::from_u128(number.into()), attempt: AttemptNumber(1), assignment: AssignmentId(number) }
}

fn succeeded(outbox: &mut Outbox, number: u64, output: impl Into<Bytes>) {
    outbox.result(attempt(number), &Outcome::Succeeded(output.into()), Duration::ZERO, None);
}

fn progress(number: u64, fraction: f64) -> Progress {
    Progress { attempt: attempt(number), fraction, note: String::new(), usage: None }
}

/// All frames there are, each as words.
fn frames(outbox: &mut Outbox) -> Vec<Vec<String>> {
    let number = |attempt: Option<v1::AttemptRef>| attempt.unwrap().assignment_id;
    let word = |message: v1::AgentMessage| match message.message.unwrap() {
        Message::Heartbeat(_) => "beat".to_owned(),
        Message::Started(started) => format!("started {}", number(started.attempt)),
        Message::Progress(progress) => format!("progress {} {}", number(progress.attempt), progress.fraction),
        Message::Result(result) => format!("result {}", number(result.attempt)),
        Message::Draining(_) => "draining".to_owned(),
        Message::Register(_) => "register".to_owned(),
        Message::QuotaExhausted(quota) => format!("quota {}", quota.key),
    };
    let frames = std::iter::from_fn(|| outbox.next_frame());
    frames.map(|frame| frame.messages.into_iter().map(word).collect()).collect()
}

#[test]
fn what_has_gathered_goes_into_one_frame_with_the_heartbeat_first() {
    let mut outbox = Outbox::new(8);
    outbox.started(attempt(1));
    outbox.progress(progress(2, 0.1));
    outbox.progress(progress(2, 0.2));
    succeeded(&mut outbox, 1, "x");
    outbox.draining(String::new());
    outbox.heartbeat(v1::Heartbeat::default());
    assert_eq!(frames(&mut outbox), [["beat", "started 1", "result 1", "draining", "progress 2 0.2"]]);
    assert!(outbox.is_empty());
}

#[test]
fn a_result_makes_the_progress_before_it_worthless() {
    let mut outbox = Outbox::new(8);
    outbox.progress(progress(1, 0.5));
    succeeded(&mut outbox, 1, "x");
    assert_eq!(frames(&mut outbox), [["result 1"]]);
}

#[test]
fn the_last_word_on_each_quota_goes_before_results_and_no_more_wait_than_may() {
    let mut outbox = Outbox::new(8);
    let report = |number: usize, seconds| QuotaReport {
        key: QuotaKey::new(&format!("key-{number}")).unwrap(),
        retry_after: Duration::from_secs(seconds),
        reason: String::new(),
    };
    succeeded(&mut outbox, 1, "x");
    for seconds in 1..=2 {
        outbox.quota(report(1, seconds));
    }
    let said = outbox.next_frame().unwrap().messages;
    let first = said[0].message.clone().unwrap();
    assert!(matches!(&first, Message::QuotaExhausted(quota) if quota.retry_after_ms == 2_000), "{first:?}");
    assert_eq!(said.len(), 2, "the other is the result");

    for number in 0..2 * QUOTAS_MAX {
        outbox.quota(report(number, 1));
    }
    assert!(!outbox.is_empty());
    let said: Vec<String> = frames(&mut outbox).concat();
    assert_eq!(said.len(), QUOTAS_MAX);
    assert!(outbox.is_empty());
}

#[test]
fn a_new_session_hears_again_of_all_but_what_was_acknowledged() {
    let mut outbox = Outbox::new(8);
    for number in 1..=3 {
        succeeded(&mut outbox, number, "x");
    }
    frames(&mut outbox);
    outbox.forget(attempt(2));
    outbox.heartbeat(v1::Heartbeat::default());
    outbox.draining(String::new());
    outbox.restart([attempt(9)].into_iter());
    assert_eq!(frames(&mut outbox), [["started 9", "result 1", "result 3"]]);
    assert_eq!(outbox.unacked().collect::<Vec<_>>(), [attempt(1), attempt(3)]);
}

#[test]
fn a_result_forgotten_before_it_was_sent_is_not_sent() {
    let mut outbox = Outbox::new(8);
    succeeded(&mut outbox, 1, "x");
    outbox.forget(attempt(1));
    assert!(frames(&mut outbox).is_empty());
}

#[test]
fn it_is_full_at_its_number_of_results_or_of_bytes() {
    let mut outbox = Outbox::new(2);
    succeeded(&mut outbox, 1, "x");
    assert!(!outbox.is_full());
    succeeded(&mut outbox, 2, "x");
    assert!(outbox.is_full());
    outbox.forget(attempt(1));
    assert!(!outbox.is_full());
    succeeded(&mut outbox, 3, vec![0; UNACKED_BYTES_MAX]);
    outbox.forget(attempt(2));
    assert!(outbox.is_full());
    outbox.forget(attempt(3));
    assert!(!outbox.is_full());
}

proptest! {
    #[test]
    fn every_result_is_sent_and_no_frame_is_too_large(
        sizes in prop::collection::vec(prop_oneof![8 => 0..1_000_usize, 1 => Just(OUTPUT_BYTES_MAX)], 0..700),
    ) {
        let mut outbox = Outbox::new(1_000);
        for (number, &size) in (0..).zip(&sizes) {
            succeeded(&mut outbox, number, vec![0; size]);
            outbox.progress(Progress { note: "n".repeat(5_000), ..progress(10_000 + number, 0.5) });
        }
        let (mut sent, mut reports) = (Vec::new(), 0);
        while let Some(frame) = outbox.next_frame() {
            prop_assert!(frame.encoded_len() <= MESSAGE_BYTES_MAX, "{} bytes", frame.encoded_len());
            for message in frame.messages {
                match message.message {
                    Some(Message::Result(v1::AttemptResult { outcome: Some(WireOutcome::Success(done)), .. })) => {
                        sent.push(done.output.len());
                    }
                    _ => reports += 1,
                }
            }
        }
        prop_assert_eq!(reports, sizes.len());
        prop_assert_eq!(sent, sizes);
    }
}
