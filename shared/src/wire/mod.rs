//! Conversions between the domain and the wire: the only place where generated types and domain types meet.
//!
//! Functions named after a domain thing (`task_spec`, `registration`) read it off the wire and check everything; what they
//! refuse is a [`Violation`] whose path is that of the protobuf field. Functions named `to_…` write and
//! cannot fail. They are functions and not `From` impls, because most need a second part (a payload, a token) and because
//! `into()` hides at the call site which of two types is the checked one.
//!
//! Text that people read (notes, reasons, failure messages) is cut to [`NOTE_BYTES_MAX`] instead of being refused: an
//! overlong message must not lose the result it came with.

pub mod agent;
pub mod enums;
pub mod labels;
pub mod quantities;
pub mod spend;
pub mod status;
pub mod strategy;
pub mod task;

use crate::{error::Violation, limits::NOTE_BYTES_MAX};

/// The text, cut to [`NOTE_BYTES_MAX`] bytes at a character boundary.
#[must_use]
pub fn cut_note(text: String) -> String {
    cut(text, NOTE_BYTES_MAX)
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// The text, unless it is longer than `bytes_max`.
fn short(field: &str, text: String, bytes_max: usize) -> Result<String, Violation> {
    if text.len() > bytes_max {
        return Err(Violation::new(field, format!("is {} bytes long; at most {bytes_max} are allowed", text.len())));
    }
    Ok(text)
}

/// Refuses a list or map of more than `max` entries.
fn few(field: &str, len: usize, max: usize) -> Result<(), Violation> {
    if len > max {
        return Err(Violation::new(field, format!("has {len} entries; at most {max} are allowed")));
    }
    Ok(())
}

/// The path of one entry of a list.
fn entry(list: &str, index: usize) -> String {
    format!("{list}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut_note("short".into()), "short");
        let long = format!("{}ü", "x".repeat(NOTE_BYTES_MAX - 1));
        assert_eq!(cut_note(long), "x".repeat(NOTE_BYTES_MAX - 1));
    }
}
