//! One entry, its line in the file, and its place in the chain.
//!
//! The hash of an entry is SHA-256 over the hash of the one before and over everything in the entry, each text with its length
//! before it, so that no two entries are written with the same bytes. It does not depend on how JSON is spelled.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::security::tokens::{from_hex, hex};

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first entry of all follows.
pub const BEGINNING: Hash = [0; 32];
/// Before the fields: another way to write them down would get another name.
const DOMAIN: &[u8] = b"evenkeel.audit.1";
/// Bytes of a request as JSON, and of other texts.
pub const REQUEST_BYTES_MAX: usize = 4 << 10;
const TEXT_BYTES_MAX: usize = 1 << 10;

/// What is to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The name of who did it.
    pub by: String,
    /// The lasting name of its credential.
    pub credential: String,
    /// Its address.
    pub from: String,
    /// What it did.
    pub action: String,
    /// What it asked for, as JSON.
    pub request: String,
    /// What came of it; empty: not yet known.
    pub outcome: String,
    /// The entry whose outcome this is; 0: of none.
    pub of: u64,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The name of who did it.
    pub by: String,
    /// The lasting name of its credential.
    pub credential: String,
    /// Its address.
    pub from: String,
    /// What it did.
    pub action: String,
    /// What it asked for, as JSON.
    pub request: String,
    /// What came of it; empty: that is in a later entry, if it is known at all.
    pub outcome: String,
    /// The entry whose outcome this is; 0: of none.
    pub of: u64,
    /// The hash of the entry before.
    pub before: String,
    /// The hash of this one.
    pub hash: String,
}

impl Entry {
    /// The entry after the one with this hash.
    #[must_use]
    pub fn new(draft: Draft, number: u64, before: &Hash) -> Self {
        let mut entry = Self {
            number,
            at_unix_ms: draft.at_unix_ms,
            by: cut(draft.by, TEXT_BYTES_MAX),
            credential: cut(draft.credential, TEXT_BYTES_MAX),
            from: cut(draft.from, TEXT_BYTES_MAX),
            action: cut(draft.action, TEXT_BYTES_MAX),
            request: cut(draft.request, REQUEST_BYTES_MAX),
            outcome: cut(draft.outcome, TEXT_BYTES_MAX),
            of: draft.of,
            before: hex(before),
            hash: String::new(),
        };
        entry.hash = hex(&entry.hash_after(before));
        entry
    }

    /// The hash that it should have after the one with this hash.
    #[must_use]
    pub fn hash_after(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(before);
        hash.update(self.number.to_be_bytes());
        hash.update(self.at_unix_ms.to_be_bytes());
        hash.update(self.of.to_be_bytes());
        for text in [&self.by, &self.credential, &self.from, &self.action, &self.request, &self.outcome] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }

    /// Its hash as it says; `None`: it says none.
    #[must_use]
    pub fn own_hash(&self) -> Option<Hash> {
        from_hex(&self.hash)
    }

    /// What is wrong with it as the entry of this number after the one with this hash.
    #[must_use]
    pub fn problem(&self, number: u64, before: &Hash) -> Option<String> {
        if self.number != number {
            return Some(format!("entry {number} is missing; {} follows", self.number));
        }
        if from_hex(&self.before).as_ref() != Some(before) {
            return Some("it does not follow the entry before it".into());
        }
        (self.own_hash() != Some(self.hash_after(before))).then(|| "it was changed: its hash is another".into())
    }

    /// Its line, with the end of it.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Texts and numbers can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The beginning of a text, so many bytes at most.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft { at_unix_ms: 5, by: "a".into(), action: "b".into(), ..Draft::default() }
    }

    #[test]
    fn the_hash_of_an_entry_depends_on_the_one_before() {
        let after = |before: Hash| Entry::new(draft(), 2, &before).hash;
        assert_ne!(after([1; 32]), after([2; 32]), "or a changed entry could be followed by the same head");
    }

    #[test]
    fn every_field_is_in_the_hash() {
        let entry = Entry::new(draft(), 1, &BEGINNING);
        assert_eq!(entry.problem(1, &BEGINNING), None);
        let changes: [fn(&mut Entry); 8] = [
            |e| e.at_unix_ms += 1,
            |e| e.of += 1,
            |e| e.by.push('x'),
            |e| e.credential.push('x'),
            |e| e.from.push('x'),
            |e| e.action.push('x'),
            |e| e.request.push('x'),
            |e| e.outcome.push('x'),
        ];
        for change in changes {
            let mut changed = entry.clone();
            change(&mut changed);
            assert!(changed.problem(1, &BEGINNING).unwrap().contains("changed"), "{changed:?}");
        }
        assert!(entry.problem(2, &BEGINNING).unwrap().contains("missing"));
        assert!(entry.problem(1, &[1; 32]).unwrap().contains("does not follow"));
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_changes_the_hash() {
        let one = Entry::new(Draft { by: "ab".into(), credential: "c".into(), ..draft() }, 1, &BEGINNING);
        let other = Entry::new(Draft { by: "a".into(), credential: "bc".into(), ..draft() }, 1, &BEGINNING);
        assert_ne!(one.hash, other.hash);
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let entry = Entry::new(Draft { request: "{\"x\":\"\n\u{2028}\"}".into(), ..draft() }, 7, &[9; 32]);
        let line = entry.line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<Entry>(&line).unwrap(), entry);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let entry = Entry::new(Draft { request: "é".repeat(3_000), ..draft() }, 1, &BEGINNING);
        assert_eq!(entry.request.len(), REQUEST_BYTES_MAX);
    }
}
