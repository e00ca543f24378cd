//! The failpoints of a build that has them.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use evenkeel_core::engine::{AgentMessage, Message};

use super::{BadFailpoints, Point};

const VARIABLE: &str = "EVENKEEL_FAILPOINTS";
/// How far sabotage keeps the commit behind its answers: long enough for the answers to reach their clients, and for a
/// kill at a random moment to fall in between.
const SABOTAGE_GAP: Duration = Duration::from_millis(20);

/// How long finished tasks are kept where that is to be seen. Longer than anything that relies on it needs.
const SHORT_RETENTION: Duration = Duration::from_secs(120);

const POINTS: [(&str, Point); 10] = [
    ("before-commit", Point::BeforeCommit),
    ("after-commit", Point::AfterCommit),
    ("after-claim-before-send", Point::AfterClaimBeforeSend),
    ("after-record-before-ack", Point::AfterRecordBeforeAck),
    ("engine", Point::Engine),
    ("store-writer", Point::StoreWriter),
    ("publisher", Point::Publisher),
    ("manager", Point::Manager),
    ("ack-before-commit", Point::AckBeforeCommit),
    ("short-retention", Point::ShortRetention),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Abort,
    Panic,
    Hang,
    On,
}

#[derive(Debug)]
enum When {
    Always,
    /// Visits until it happens.
    Nth(u64),
    Sometimes(f64, fastrand::Rng),
}

#[derive(Debug)]
struct Failpoint {
    point: Point,
    action: Action,
    when: When,
}

static FAILPOINTS: OnceLock<Mutex<Vec<Failpoint>>> = OnceLock::new();

/// Reads what is to happen, once in the life of the process.
///
/// # Errors
/// If it makes no sense.
pub fn init() -> Result<(), BadFailpoints> {
    let failpoints = parse(&std::env::var(VARIABLE).unwrap_or_default())?;
    tracing::warn!(?failpoints, "failpoints are compiled in; this build is for tests only");
    // A second coordinator in one process goes on with what the first has left.
    FAILPOINTS.get_or_init(|| Mutex::new(failpoints));
    Ok(())
}

/// Does what is to happen at this visit.
pub fn hit(point: Point) {
    match due(point) {
        Some(Action::Abort) => std::process::abort(),
        Some(Action::Panic) => panic!("failpoint {point:?}"),
        Some(Action::Hang) => {
            tracing::error!("failpoint {point:?} hangs");
            loop {
                thread::park();
            }
        }
        Some(Action::On) | None => {}
    }
}

/// A group with these messages is durable, and none of them has gone out.
pub fn committed<'a>(messages: impl Iterator<Item = &'a Message>) {
    let (mut answers, mut assigns, mut acknowledges) = (false, false, false);
    for message in messages {
        match message {
            Message::Reply { .. } => answers = true,
            Message::ToAgent { message: AgentMessage::Assign(_), .. } => assigns = true,
            Message::ToAgent { message: AgentMessage::Ack { recorded: true, .. }, .. } => acknowledges = true,
            _ => {}
        }
    }
    for (visited, point) in [
        (answers, Point::AfterCommit),
        (assigns, Point::AfterClaimBeforeSend),
        (acknowledges, Point::AfterRecordBeforeAck),
    ] {
        if visited {
            hit(point);
        }
    }
}

/// Whether messages are to go out before their commit.
#[must_use]
pub fn acks_before_commit() -> bool {
    due(Point::AckBeforeCommit).is_some()
}

/// Messages have gone out, and their commit is to be late.
pub fn acked_before_commit() {
    thread::sleep(SABOTAGE_GAP);
}

/// How long finished tasks are kept, where so long is set.
#[must_use]
pub fn retention(set: Duration) -> Duration {
    if due(Point::ShortRetention).is_some() { SHORT_RETENTION } else { set }
}

fn due(point: Point) -> Option<Action> {
    let mut failpoints = FAILPOINTS.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    let failpoint = failpoints.iter_mut().find(|failpoint| failpoint.point == point)?;
    let due = match &mut failpoint.when {
        When::Always => true,
        When::Nth(left) => {
            *left = left.saturating_sub(1);
            // Zero once, and from then on it is over.
            let now = *left == 0;
            if now {
                *left = u64::MAX;
            }
            now
        }
        When::Sometimes(probability, rng) => rng.f64() < *probability,
    };
    due.then_some(failpoint.action)
}

fn parse(text: &str) -> Result<Vec<Failpoint>, BadFailpoints> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| one(entry).map_err(|problem| BadFailpoints { entry: entry.to_owned(), problem })).collect()
}

fn one(entry: &str) -> Result<Failpoint, &'static str> {
    let (name, action) = entry.split_once('=').ok_or("has no `=`")?;
    let (_, point) = POINTS.into_iter().find(|(known, _)| *known == name).ok_or("names no failpoint")?;
    let (action, when) = match (action.split_once('@'), action.split_once('~')) {
        (Some((action, nth)), _) => {
            let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or("has no number of a visit after `@`")?;
            (action, When::Nth(nth))
        }
        (None, Some((action, odds))) => {
            let (probability, seed) = odds.split_once('/').ok_or("has no `/seed` after its probability")?;
            let probability = probability.parse().ok().filter(|p| (0.0..=1.0).contains(p));
            let seed = seed.parse().map_err(|_| "has no number for its seed")?;
            let probability = probability.ok_or("has no probability from 0 to 1")?;
            (action, When::Sometimes(probability, fastrand::Rng::with_seed(seed)))
        }
        (None, None) if action == "on" => (action, When::Always),
        (None, None) => (action, When::Nth(1)),
    };
    let action = match action {
        "abort" => Action::Abort,
        "panic" => Action::Panic,
        "hang" => Action::Hang,
        "on" => Action::On,
        _ => return Err("names no action: abort, panic, hang or on"),
    };
    if (action == Action::On) != matches!(point, Point::AckBeforeCommit | Point::ShortRetention) {
        return Err("has an action of another sort of failpoint");
    }
    Ok(Failpoint { point, action, when })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_happens_and_when() {
        let parsed = parse("after-commit=abort@17, publisher=panic~0.5/42,ack-before-commit=on,engine=hang").unwrap();
        let points: Vec<_> = parsed.iter().map(|failpoint| (failpoint.point, failpoint.action)).collect();
        assert_eq!(
            points,
            [
                (Point::AfterCommit, Action::Abort),
                (Point::Publisher, Action::Panic),
                (Point::AckBeforeCommit, Action::On),
                (Point::Engine, Action::Hang),
            ]
        );
        assert!(matches!(parsed[0].when, When::Nth(17)) && matches!(parsed[3].when, When::Nth(1)));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for text in [
            "after-commit",
            "somewhere=abort",
            "engine=dance",
            "engine=panic@0",
            "engine=panic~2/1",
            "engine=panic~0.5",
            "engine=on",
            "short-retention=hang",
            "ack-before-commit=abort",
            "short-retention=panic",
        ] {
            let error = parse(&format!("publisher=panic,{text}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn the_nth_visit_is_the_only_one_and_the_others_go_by() {
        // Nothing else in this test binary sets failpoints.
        FAILPOINTS.get_or_init(|| Mutex::new(parse("publisher=panic@3").unwrap()));
        let visits: Vec<bool> = (0..6).map(|_| due(Point::Publisher).is_some()).collect();
        assert_eq!(visits, [false, false, true, false, false, false]);
        assert!(due(Point::Engine).is_none());
    }
}
