//! What may be shown of an address, and of an error about data that is somebody's own.
//!
//! A URL may hold a user's password before its host, or a key in its query. Wherever one is written for people (logs, errors,
//! settings, events) it goes through [`without_secrets`], which finds URLs within any text: values are shown as parts of
//! larger ones. Rejected: a type for addresses that hides them by itself, because settings travel as plain values through
//! files, variables and versions, and are only shown at the end.

use std::borrow::Cow;

/// In the place of what is not shown.
pub const HIDDEN: &str = "***";

/// What a URL in a text ends with, beside blanks.
const ENDS: &[char] = &['"', '\'', '`', '<', '>', '{', '}', '(', ')', '|', '\\', '^'];

/// The text without user and password, and without the query, of each URL in it.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(after.len());
        let (url, after) = after.split_at(end);
        shown.push_str(before);
        shown.push_str("://");
        push_url(&mut shown, url);
        rest = after;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Whether there is something in a text that is not shown.
#[must_use]
pub fn has_secrets(text: &str) -> bool {
    without_secrets(text) != text
}

/// Whether a URL names a user, with a password or without.
#[must_use]
pub fn names_a_user(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| authority(rest).0.contains('@'))
}

/// What serde finds wrong with data, without the value that it found: `invalid type: string "x", expected a map` is shown as
/// `invalid type, expected a map`. Names of fields, lines and columns stay.
#[must_use]
pub fn without_value(problem: &str) -> String {
    const QUOTE: [&str; 4] = ["invalid type", "invalid value", "invalid length", "unknown variant"];
    let found =
        QUOTE.iter().find(|start| problem.strip_prefix(**start).is_some_and(|rest| rest.starts_with([':', ' '])));
    match found.zip(problem.rfind(", expected")) {
        Some((start, at)) => format!("{start}{}", problem.get(at..).unwrap_or_default()),
        // Without what was expected there is no telling where the value ends.
        None => found.map_or_else(|| problem.to_owned(), |start| (*start).to_owned()),
    }
}

/// Host and port of what follows the scheme, with the user before them, and what follows.
fn authority(url: &str) -> (&str, &str) {
    url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()))
}

fn push_url(shown: &mut String, url: &str) {
    let (authority, rest) = authority(url);
    match authority.rsplit_once('@') {
        Some((_, host)) => shown.extend([HIDDEN, "@", host]),
        None => shown.push_str(authority),
    }
    match rest.split_once('?') {
        Some((path, _)) => shown.extend([path, "?", HIDDEN]),
        None => shown.push_str(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(without_secrets(text), expected);
        assert_eq!(has_secrets(text), text != expected);
    }

    #[test]
    fn users_and_queries_are_left_out() {
        check("http://user:pass@host:9/path?key=1#x", "http://***@host:9/path?***");
        check("https://token@host", "https://***@host");
        check("http://a:p@ss@host/", "http://***@host/");
        check("http://host?key=1", "http://host?***");
    }

    #[test]
    fn what_has_none_stays_as_it_is() {
        for text in ["", "no address", "http://127.0.0.1:9000/scale", "a://b c://d", "mail@example.org", "http://h/a@b"]
        {
            check(text, text);
        }
    }

    #[test]
    fn an_address_within_a_text_is_found() {
        check(
            "{ name = \"webhook\", url = \"http://u:p@h/s?k=1\" } and `http://u@h` twice",
            "{ name = \"webhook\", url = \"http://***@h/s?***\" } and `http://***@h` twice",
        );
    }

    #[test]
    fn a_value_that_is_wrong_is_not_said() {
        let check = |problem: &str, expected: &str| assert_eq!(without_value(problem), expected);
        let wrong = "invalid type: string \"x, expected y\", expected a sequence at line 1 column 27";
        check(wrong, "invalid type, expected a sequence at line 1 column 27");
        check("unknown variant `x`, expected one of `a`, `b`", "unknown variant, expected one of `a`, `b`");
        check("invalid value: x", "invalid value");
        check("missing field `program` at line 1 column 2", "missing field `program` at line 1 column 2");
    }

    #[test]
    fn only_what_stands_before_the_host_is_a_user() {
        assert!(names_a_user("http://u@h") && names_a_user("x://u:p@h/"));
        assert!(!names_a_user("http://h/a@b") && !names_a_user("u@h"));
    }
}
