//! Checksums of what is written once: a task as it was accepted, its payload, its output.
//!
//! SQLite has checksums in its log and none in the database, so a byte that a disk returns wrong within a value is simply
//! another value. With a sum it is an error: damage is reported and not executed. What changes during a task's life (its
//! state, its counters) has no sum, because each change would have to read the row first; of that only what cannot be is
//! found.
//!
//! The sum is made for accidents and not against forgers, and has to be cheap, since the store writer computes it for every
//! task: one multiplication for eight bytes. Each step is invertible, so two inputs of one length that differ within eight
//! bytes never have the same sum. CRC-64 was not chosen because it would be slower, and a cryptographic hash because it
//! would be much slower, without finding more of that.

use evenkeel_shared::TaskId;
use rusqlite::Row;

use super::super::StoreError;

/// Odd, with its bits well mixed: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sum that is being computed.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self(FACTOR)
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(FACTOR);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// With these bytes too. Their number counts as well, so that nothing moves from one part to the next.
    pub fn part(mut self, bytes: &[u8]) -> Self {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self
    }

    /// With a value that may not be there, which is not the same as an empty one.
    pub fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.part(&[1]).part(bytes),
            None => self.part(&[0]),
        }
    }

    /// As it is stored.
    pub const fn stored(self) -> i64 {
        self.0.cast_signed()
    }
}

/// The sum of some bytes, as it is stored.
pub fn of_bytes(bytes: &[u8]) -> i64 {
    Sum::new().part(bytes).stored()
}

/// What of a task never changes, as the columns have it.
pub struct Accepted<'a> {
    pub place: i64,
    pub id: &'a [u8],
    pub accepted_at: i64,
    pub tenant: &'a str,
    pub kind: &'a str,
    pub fingerprint: &'a [u8],
    pub key: Option<&'a str>,
    pub redrive_of: Option<&'a [u8]>,
    pub spec: &'a [u8],
}

impl Accepted<'_> {
    /// Its sum, as it is stored.
    pub fn sum(&self) -> i64 {
        Sum::new()
            .part(&self.place.to_le_bytes())
            .part(self.id)
            .part(&self.accepted_at.to_le_bytes())
            .part(self.tenant.as_bytes())
            .part(self.kind.as_bytes())
            .part(self.fingerprint)
            .optional(self.key.map(str::as_bytes))
            .optional(self.redrive_of)
            .part(self.spec)
            .stored()
    }

    /// Compares the task with its sum.
    pub fn check(&self, stored: i64, id: TaskId) -> Result<(), StoreError> {
        if self.sum() == stored { Ok(()) } else { Err(damaged("what was asked for", id)) }
    }
}

/// Compares a task with its sum. The row has all columns of [`Accepted`], and the sum.
pub fn check_task(row: &Row<'_>, id: TaskId) -> Result<(), StoreError> {
    let Some(stored) = row.get::<_, Option<i64>>("task_sum")? else { return Ok(()) };
    let bytes = |column: &str| -> Result<&[u8], StoreError> { super::row::blob(row, column) };
    let text =
        |column: &str| Ok::<_, StoreError>(row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?);
    let redrive_of = row.get_ref("redrive_of")?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    let accepted = Accepted {
        place: row.get("place")?,
        id: bytes("id")?,
        accepted_at: row.get("accepted_at")?,
        tenant: text("tenant")?.unwrap_or_default(),
        kind: text("kind")?.unwrap_or_default(),
        fingerprint: bytes("fingerprint")?,
        key: text("key")?,
        redrive_of,
        spec: bytes("spec")?,
    };
    accepted.check(stored, id)
}

/// Compares a value of a task with its sum.
pub fn check_bytes(what: &'static str, bytes: &[u8], stored: Option<i64>, id: TaskId) -> Result<(), StoreError> {
    match stored {
        Some(stored) if of_bytes(bytes) != stored => Err(damaged(what, id)),
        _ => Ok(()),
    }
}

fn damaged(what: &str, id: TaskId) -> StoreError {
    StoreError::Corrupt(format!("{what} of task {id} is not what was written"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let sum = |parts: &[&str]| parts.iter().fold(Sum::new(), |sum, part| sum.part(part.as_bytes())).stored();
        assert_ne!(sum(&["ab", "c"]), sum(&["a", "bc"]));
        assert_ne!(sum(&["", "a"]), sum(&["a", ""]));
        assert_ne!(sum(&[""]), sum(&["\0"]));
        assert_ne!(Sum::new().optional(None).stored(), Sum::new().optional(Some(b"")).stored());
    }

    proptest! {
        #[test]
        fn every_byte_counts(mut bytes in prop::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let before = of_bytes(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_ne!(of_bytes(&bytes), before);
        }
    }
}
