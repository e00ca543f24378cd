//! Changes of the configuration in words: for the log, for events, and for who asks why the file and what runs differ.

use crate::config::Change;

/// Changes named in one line of the log or one event; the version has them all.
const NAMED_MAX: usize = 20;

/// Why what runs differs from the file: for the reason that was given, or because a restart is needed for these settings.
pub(super) fn why_it_differs(given: String, waiting: &[&str]) -> String {
    if given.is_empty() && !waiting.is_empty() {
        return format!("a restart is needed for {}", waiting.join(", "));
    }
    given
}

/// The changes in words, without their values where those are secret.
pub(super) fn named(changes: &[Change]) -> String {
    let not_set = |value: String| if value.is_empty() { "not set".to_owned() } else { value };
    let one = |change: &Change| {
        let restart = if change.setting.live { "" } else { " (after a restart)" };
        let (before, after) = (not_set(change.shown_before()), not_set(change.shown_after()));
        format!("{} {before} -> {after}{restart}", change.setting.path)
    };
    let mut words: Vec<String> = changes.iter().take(NAMED_MAX).map(one).collect();
    if changes.len() > NAMED_MAX {
        words.push(format!("and {} more", changes.len() - NAMED_MAX));
    }
    words.join(", ")
}
