use std::sync::{Arc, Mutex};

use evenkeel_shared::Code;

use super::*;
use crate::hub::HubLimits;

/// Events are numbers; odd ones are kept in memory only. The store has what was published, as after a commit.
#[derive(Clone, Default)]
struct Numbers {
    stored: Arc<Mutex<Vec<u64>>>,
    /// Published while the page is read.
    meanwhile: Arc<Mutex<Vec<u64>>>,
}

struct World {
    numbers: Numbers,
    hub: Hub<u64>,
}

impl World {
    fn new(ring: usize, queue: usize) -> Self {
        let hub = Hub::new(EventPosition(0), HubLimits { ring, queue, watchers: 2 });
        Self { numbers: Numbers::default(), hub }
    }

    fn publish(&self, events: impl IntoIterator<Item = u64>) {
        for event in events {
            if event % 2 == 0 {
                self.numbers.stored.lock().unwrap().push(event);
            }
            self.hub.publish([event]);
        }
    }

    fn watch(&self, after: Option<u64>, follow: bool, outbound: usize) -> mpsc::Receiver<Result<u64, Status>> {
        let (sender, receiver) = mpsc::channel(outbound);
        let source = NumbersAnd { numbers: self.numbers.clone(), hub: self.hub.clone() };
        let watcher = Watcher { source, hub: self.hub.clone(), outbound: sender, lifecycle: Lifecycle::default() };
        tokio::spawn(watcher.run(after.map(EventPosition), follow));
        receiver
    }
}

struct NumbersAnd {
    numbers: Numbers,
    hub: Hub<u64>,
}

impl Source for NumbersAnd {
    type Event = u64;
    type Wire = u64;

    async fn page(&self, after: EventPosition) -> Result<Vec<u64>, Error> {
        let page = {
            let stored = self.numbers.stored.lock().unwrap();
            stored.iter().copied().filter(|n| *n > after.0).take(PAGE).collect()
        };
        for event in self.numbers.meanwhile.lock().unwrap().drain(..) {
            if event % 2 == 0 {
                self.numbers.stored.lock().unwrap().push(event);
            }
            self.hub.publish([event]);
        }
        Ok(page)
    }

    fn wire(&self, event: &u64) -> Option<u64> {
        Some(*event)
    }
}

async fn take(receiver: &mut mpsc::Receiver<Result<u64, Status>>, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(receiver.recv().await.unwrap().unwrap());
    }
    seen
}

#[tokio::test]
async fn the_store_the_ring_and_live_events_follow_each_other() {
    let world = World::new(4, 100);
    world.publish(1..=20);
    let mut watcher = world.watch(Some(11), true, 100);
    assert_eq!(take(&mut watcher, 7).await, [12, 14, 16, 17, 18, 19, 20]);
    world.publish(21..=23);
    assert_eq!(take(&mut watcher, 3).await, [21, 22, 23]);
}

#[tokio::test]
async fn events_published_while_the_store_is_read_are_neither_lost_nor_repeated() {
    let world = World::new(4, 100);
    world.publish(1..=10);
    world.numbers.meanwhile.lock().unwrap().extend(11..=30);
    let mut watcher = world.watch(Some(0), false, 100);
    let mut seen = Vec::new();
    while let Some(event) = watcher.recv().await {
        seen.push(event.unwrap());
    }
    let stored = (2..=26).step_by(2);
    assert_eq!(seen, stored.chain(27..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_history_comes_in_pages() {
    let world = World::new(1, 1);
    world.publish(1..=PAGE as u64 * 5);
    let mut watcher = world.watch(Some(0), false, 8);
    let mut seen = Vec::new();
    while let Some(event) = watcher.recv().await {
        seen.push(event.unwrap());
    }
    assert!(seen.is_sorted() && seen.len() == PAGE * 5 / 2, "{} events", seen.len());
}

#[tokio::test]
async fn a_slow_watcher_is_told_where_to_resume() {
    let world = World::new(4, 2);
    let mut watcher = world.watch(Some(0), true, 1);
    world.publish([2]);
    assert_eq!(take(&mut watcher, 1).await, [2]);
    world.publish((4..40).step_by(2));
    let mut last = 2;
    let status = loop {
        match watcher.recv().await.unwrap() {
            Ok(event) => {
                assert_eq!(event, last + 2, "a gap before the cut");
                last = event;
            }
            Err(status) => break status,
        }
    };
    let error = evenkeel_shared::wire::status::from_status(&status);
    assert_eq!(error.code, Code::ResourceExhausted);
    assert_eq!(error.resource, Some(("event", last.to_string())));
}
