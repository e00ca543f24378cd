//! A place in the program that logs again and again is heard some times a second, and then counted.
//!
//! A disk that is full or a peer that misbehaves can make thousands of equal lines a second, which hide all others and may fill the
//! next disk. Of each place (callsite) only so many lines a second go out; what was left out is summed up in one line once the
//! second is over. What is kept is one count for each place in the code, so its number is bounded by the code.
//!
//! Sums come from a thread that runs while there is something to sum up: a subscriber cannot log by itself, and the next
//! line of the same place may never come.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines a second of one place, unless it is set otherwise: more nobody reads.
const LINES_PER_SECOND: usize = 20;
/// Over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Bytes of a message that are repeated in its sum.
const MESSAGE_BYTES_MAX: usize = 200;
/// Lines of this target are sums.
const TARGET: &str = "evenkeel::repeats";

/// The layer. Clones share it.
#[derive(Clone, Debug)]
pub struct Repeats(Arc<State>);

#[derive(Debug)]
struct State {
    lines_per_second: AtomicUsize,
    left_out: AtomicU64,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    of: HashMap<Identifier, Place>,
    /// The thread that sums up runs.
    summing: bool,
}

/// What was said in a place in its second.
#[derive(Debug)]
struct Place {
    since: Instant,
    lines: usize,
    left_out: u64,
    level: Level,
    message: String,
}

/// What was left out of a place.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    level: Level,
    message: String,
    times: u64,
}

impl Default for Repeats {
    fn default() -> Self {
        Self(Arc::new(State {
            lines_per_second: AtomicUsize::new(LINES_PER_SECOND),
            left_out: AtomicU64::new(0),
            places: Mutex::default(),
        }))
    }
}

impl Repeats {
    /// So many lines a second of one place from here on; 0: all.
    pub fn set_lines_per_second(&self, lines: usize) {
        self.0.lines_per_second.store(lines, Ordering::Relaxed);
    }

    /// Lines that were left out since the process started.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a line of this place goes out. True in the second part if somebody has to sum up.
    fn admits(&self, now: Instant, place: Identifier, level: Level, message: impl FnOnce() -> String) -> (bool, bool) {
        let most = self.0.lines_per_second.load(Ordering::Relaxed);
        if most == 0 {
            return (true, false);
        }
        let mut places = self.places();
        let said = places.of.entry(place).or_insert_with(|| Place::new(now, level));
        if said.left_out == 0 && now.duration_since(said.since) >= WINDOW {
            *said = Place::new(now, level);
        }
        if said.lines < most {
            said.lines += 1;
            return (true, false);
        }
        if said.left_out == 0 {
            said.message = message();
        }
        said.left_out += 1;
        self.0.left_out.fetch_add(1, Ordering::Relaxed);
        (false, !std::mem::replace(&mut places.summing, true))
    }

    /// Takes the sums of places whose second is over; `None` if nothing is left to sum up.
    fn take_sums(&self, now: Instant) -> Option<Vec<Sum>> {
        let mut places = self.places();
        if places.of.values().all(|place| place.left_out == 0) {
            places.summing = false;
            return None;
        }
        let mut sums = Vec::new();
        for place in places.of.values_mut() {
            if place.left_out > 0 && now.duration_since(place.since) >= WINDOW {
                let message = std::mem::take(&mut place.message);
                sums.push(Sum { level: place.level, message, times: place.left_out });
                *place = Place::new(now, place.level);
            }
        }
        Some(sums)
    }

    fn sum_up(&self) {
        let repeats = self.clone();
        let sums = move || {
            while let Some(sums) = repeats.take_sums(Instant::now()) {
                sums.into_iter().for_each(Sum::say);
                thread::sleep(WINDOW / 2);
            }
        };
        // Without a thread nothing is summed up; the metric has the number.
        if thread::Builder::new().name("evenkeel-log".to_owned()).spawn(sums).is_err() {
            self.places().summing = false;
        }
    }
}

impl Place {
    fn new(since: Instant, level: Level) -> Self {
        Self { since, lines: 0, left_out: 0, level, message: String::new() }
    }
}

impl Sum {
    fn say(self) {
        let Self { level, message, times } = self;
        match level {
            Level::ERROR => tracing::error!(target: TARGET, times, "repeated {times} times: {message}"),
            Level::WARN => tracing::warn!(target: TARGET, times, "repeated {times} times: {message}"),
            Level::INFO => tracing::info!(target: TARGET, times, "repeated {times} times: {message}"),
            _ => tracing::debug!(target: TARGET, times, "repeated {times} times: {message}"),
        }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return true;
        }
        let message = || {
            let mut words = Words(String::new());
            event.record(&mut words);
            words.0
        };
        let (admitted, sum_up) = self.admits(Instant::now(), metadata.callsite(), *metadata.level(), message);
        if sum_up {
            self.sum_up();
        }
        admitted
    }
}

/// The message of an event, cut.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let words = format!("{value:?}");
            let end = words.floor_char_boundary(MESSAGE_BYTES_MAX);
            self.0 = words[..end].to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs `often` times in one place and once in another; what was written, and the layer.
    fn log(often: usize) -> (String, Repeats) {
        let (written, repeats) = (Written::default(), Repeats::default());
        repeats.set_lines_per_second(3);
        // The thread that sums up would log to the process's own subscriber.
        repeats.places().summing = true;
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let log = tracing_subscriber::registry().with(repeats.clone()).with(lines);
        tracing::subscriber::with_default(log, || {
            for round in 0..often {
                tracing::warn!(round, "the peer misbehaves");
            }
            tracing::info!("another place");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        (text, repeats)
    }

    #[test]
    fn a_place_is_heard_some_times_and_then_counted_and_others_are_heard() {
        let before = Instant::now();
        let (text, repeats) = log(10);
        assert_eq!(text.matches("the peer misbehaves").count(), 3, "{text}");
        assert!(text.contains("another place"), "{text}");
        assert_eq!(repeats.left_out(), 7);
        assert_eq!(repeats.take_sums(before), Some(Vec::new()), "the second is not over");
        let later = Instant::now() + WINDOW;
        let sum = Sum { level: Level::WARN, message: "the peer misbehaves".to_owned(), times: 7 };
        assert_eq!(repeats.take_sums(later), Some(vec![sum]));
        assert_eq!(repeats.take_sums(later), None);
        assert!(!repeats.places().summing, "the thread ends, and another may begin");
    }

    #[test]
    fn after_its_second_a_place_is_heard_again() {
        let repeats = Repeats::default();
        repeats.set_lines_per_second(1);
        let place = Identifier(&PLACE);
        let now = Instant::now();
        let says = |after: Duration| repeats.admits(now + after, place.clone(), Level::INFO, String::new).0;
        assert_eq!([says(Duration::ZERO), says(WINDOW), says(WINDOW)], [true, true, false]);
        assert!(!says(2 * WINDOW), "what was left out is summed up first");
        repeats.take_sums(now + 2 * WINDOW);
        assert!(says(2 * WINDOW));
        repeats.set_lines_per_second(0);
        assert!(says(2 * WINDOW), "all");
    }

    struct OnePlace;
    static PLACE: OnePlace = OnePlace;

    impl tracing::Callsite for OnePlace {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &tracing::Metadata<'_> {
            panic!("it has none")
        }
    }
}
