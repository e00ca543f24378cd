use std::time::Duration;

use super::*;
use crate::otlp::{
    receiver::{Manner, Receiver},
    span::new_trace,
};

/// Far longer than anything here takes, so that what ends in time does so by itself.
const LONG: Duration = Duration::from_secs(60);

fn exporter(endpoint: String, queue_spans_max: usize) -> Exporter {
    let source = Source { service: "evenkeel-test", instance: "t1".into(), version: "0" };
    Exporter::start(&Settings { endpoint, queue_spans_max, timeout: LONG }, &source).unwrap()
}

fn span(name: &'static str) -> Span {
    let now = wall_clock();
    Span::new(new_trace(), name, now, now)
}

#[tokio::test]
async fn what_is_sent_arrives_with_its_source() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let exporter = exporter(receiver.endpoint(), 100);
    (0..3).for_each(|_| exporter.send(span("a").with("n", 7_u64).failed(Some("broke".into()))));
    let spans = receiver.until(|spans| spans.len() == 3).await;
    assert_eq!((spans[0].service.as_str(), spans[0].name.as_str()), ("evenkeel-test", "a"));
    assert_eq!(spans[0].attributes["n"], "7");
    assert_eq!(spans[0].error.as_deref(), Some("broke"));
    assert_eq!(exporter.stop(LONG).await, Counts { exported: 3, ..Counts::default() });
    assert_eq!(exporter.health().failing, None);
}

#[tokio::test]
async fn a_stop_sends_what_is_queued() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let exporter = exporter(receiver.endpoint(), 10_000);
    (0..2_000).for_each(|_| exporter.send(span("a")));
    assert_eq!(exporter.stop(LONG).await.exported, 2_000);
    assert_eq!(receiver.spans().len(), 2_000);
    exporter.send(span("late"));
    assert_eq!(exporter.counts().dropped, 1, "after the end there is no room");
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let receiver = Receiver::start(Manner::Hangs).await.unwrap();
    let exporter = exporter(receiver.endpoint(), 8);
    exporter.send(span("first"));
    receiver.called(1).await;
    // The thread waits for an answer that does not come; the queue holds eight, and all else is dropped.
    (0..100).for_each(|_| exporter.send(span("more")));
    assert_eq!(exporter.counts(), Counts { dropped: 92, queued: 9, ..Counts::default() });
    // It ends although it hangs, and says what was lost. With no time at all nothing more is sent.
    let counts = exporter.stop(Duration::ZERO).await;
    assert_eq!(counts, Counts { dropped: 101, ..Counts::default() });
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_refuses_is_said_to() {
    let receiver = Receiver::start(Manner::Refuses).await.unwrap();
    let refused = exporter(receiver.endpoint(), 8);
    refused.send(span("a"));
    receiver.called(1).await;
    assert_eq!(refused.stop(LONG).await, Counts { failed: 1, ..Counts::default() });
    let (why, _) = refused.health().failing.unwrap();
    assert!(why.contains("nothing is taken here"), "{why}");
    // A port that nobody listens on.
    let absent = exporter("http://127.0.0.1:1".into(), 8);
    absent.send(span("a"));
    assert_eq!(absent.stop(LONG).await, Counts { failed: 1, ..Counts::default() });
    assert!(absent.health().failing.is_some());
}

#[test]
fn an_address_that_is_none_is_refused_with_how_to_write_it() {
    for bad in ["", "http://", "ftp://a", "a b"] {
        let settings = Settings { endpoint: bad.into(), queue_spans_max: 1, timeout: LONG };
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(&format!("`{bad}` is no address of a collector")), "{error}");
    }
}
