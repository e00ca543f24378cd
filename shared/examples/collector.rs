//! A collector to look at traces without one: prints every trace that has come, as a tree, when it is told to stop.
//!
//! ```sh
//! cargo run -p evenkeel-shared --features otlp --example collector -- 127.0.0.1:4317
//! ```
//!
//! Spans are kept in memory; with `--count` they are only counted, for measurements.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
};

#[allow(dead_code, reason = "another part of it is for tests")]
#[path = "../src/otlp/receiver.rs"]
mod receiver;

use receiver::{Manner, Received, Receiver};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let counts = arguments.iter().any(|argument| argument == "--count");
    arguments.retain(|argument| argument != "--count");
    let address = arguments.first().map_or("127.0.0.1:4317", String::as_str);
    let manner = if counts { Manner::Counts } else { Manner::Takes };
    let receiver = Receiver::listen(address, manner).await?;
    eprintln!("listening at {}", receiver.endpoint());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("{} spans", receiver.count());
    let spans = receiver.spans();
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    for trace in traces {
        let spans: Vec<&Received> = spans.iter().filter(|span| span.trace == trace).collect();
        println!("\ntrace {trace}");
        show(&spans);
    }
    Ok(())
}

/// Each span below its parent, in the order in which they began, in milliseconds after the first.
fn show(spans: &[&Received]) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut below: BTreeMap<&str, Vec<&Received>> = BTreeMap::new();
    for span in spans {
        let parent = if ids.contains(span.parent.as_str()) { span.parent.as_str() } else { "" };
        below.entry(parent).or_default().push(span);
    }
    below.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns))));
    let first = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
    let mut open: Vec<(usize, &Received)> = Vec::new();
    let push = |open: &mut Vec<_>, depth, parent: &str| {
        open.extend(below.get(parent).into_iter().flatten().rev().map(|span| (depth, *span)));
    };
    push(&mut open, 0, "");
    while let Some((depth, span)) = open.pop() {
        let at = |ns: u64| ns.saturating_sub(first) as f64 / 1e6;
        let name = format!("{}{}", "  ".repeat(depth), span.name);
        let notable = [
            "evenkeel.agent.id",
            "evenkeel.strategy",
            "evenkeel.attempt.end",
            "evenkeel.task.state",
            "evenkeel.executor",
        ];
        let mut words: Vec<String> = notable
            .iter()
            .filter_map(|key| Some(format!("{}={}", key.rsplit('.').next()?, span.attributes.get(*key)?)))
            .collect();
        words.extend(span.links.iter().map(|(_, link)| format!("-> {link}")));
        words.extend(span.error.iter().map(|error| format!("error: {error}")));
        let (from, took) = (at(span.start_ns), at(span.end_ns) - at(span.start_ns));
        println!("{from:10.3} {took:10.3} ms  {name:22} {:16} {:20} {}", span.id, span.service, words.join(" "));
        push(&mut open, depth + 1, &span.id);
    }
}
