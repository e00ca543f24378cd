//! Ids, as types that cannot be mixed up.
//!
//! Names that people choose ([`AgentId`], [`Kind`], [`Tenant`]) are shared text, checked when made. Numbers that the
//! coordinator makes ([`SessionEpoch`], [`AssignmentId`], [`EventPosition`]) carry the store's incarnation in their upper
//! half, so that a restarted coordinator never makes the same one twice.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{error::Violation, limits::NAME_BYTES_MAX, time::Timestamp};

/// A task: a UUID version 7, so that ids sort by time of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u128);

impl TaskId {
    /// The id for a task accepted at `at`; of `random`, 74 bits are used (RFC 9562, section 5.7).
    #[must_use]
    pub fn new(at: Timestamp, random: u128) -> Self {
        const RANDOM_A: u128 = 0xfff << 64;
        const RANDOM_B: u128 = (1 << 62) - 1;
        let millis = u128::from(at.unix_millis()) & 0xffff_ffff_ffff;
        Self((millis << 80) | (7 << 76) | (random & RANDOM_A) | (2 << 62) | (random & RANDOM_B))
    }

    /// From its 16 bytes as a big-endian number.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// Its 16 bytes as a big-endian number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = Violation;

    fn from_str(text: &str) -> Result<Self, Violation> {
        uuid::Uuid::parse_str(text)
            .map(|id| Self(id.as_u128()))
            .map_err(|_| Violation::new("task_id", format!("`{}` is not a task id (a UUID)", cut(text))))
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn cut(text: &str) -> &str {
    const SHOWN: usize = 64;
    if text.len() <= SHOWN {
        return text;
    }
    let end = (0..=SHOWN).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

/// Refuses what is not 1 to 128 characters of `[A-Za-z0-9._:/-]`.
pub(crate) fn check_name(field: &'static str, text: &str) -> Result<(), Violation> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-');
    if text.is_empty() {
        return Err(Violation::new(field, "must not be empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Violation::new(
            field,
            format!("is {} bytes long; at most {NAME_BYTES_MAX} are allowed", text.len()),
        ));
    }
    if !text.bytes().all(legal) {
        return Err(Violation::new(field, format!("`{}` has a character outside A-Z a-z 0-9 . _ : / -", cut(text))));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the name: 1 to 128 characters of `[A-Za-z0-9._:/-]`.
            ///
            /// # Errors
            /// A violation that names the field and says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, Violation> {
                check_name($field, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Violation;

            fn from_str(text: &str) -> Result<Self, Violation> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Violation;

            fn try_from(text: String) -> Result<Self, Violation> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// An agent's lasting name, unique in the fleet.
    AgentId,
    "agent_id"
);
name!(
    /// What a task is: agents say which kinds they take.
    Kind,
    "kind"
);
name!(
    /// Whose work a task is. Tenants share the fleet fairly.
    Tenant,
    "tenant"
);
name!(
    /// A quota of some service upstream that several agents or tasks draw on together, such as an API account.
    QuotaKey,
    "quota_key"
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Which attempt at a task: 1 is the first.
    AttemptNumber(u32)
);
number!(
    /// One assignment of a task to an agent; never made twice.
    AssignmentId(u64)
);
number!(
    /// One session of an agent; a higher one fences a lower one.
    SessionEpoch(u64)
);
number!(
    /// A place in the history of events; grows with every event.
    EventPosition(u64)
);

/// The fencing token: which attempt at which task, by which assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The task.
    pub task: TaskId,
    /// Which attempt at it.
    pub attempt: AttemptNumber,
    /// By which assignment.
    pub assignment: AssignmentId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_version_7_sort_by_time_and_read_back() {
        let early = TaskId::new(Timestamp::from_unix_millis(1_000), u128::MAX);
        let late = TaskId::new(Timestamp::from_unix_millis(1_001), 0);
        assert!(early < late);
        let uuid = uuid::Uuid::from_u128(early.as_u128());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(early.to_string().parse::<TaskId>(), Ok(early));
    }

    #[test]
    fn names_are_checked() {
        assert!(Kind::new("ml/embed:v2").is_ok());
        for bad in ["", "a b", "ünï", &"x".repeat(129)] {
            assert!(Kind::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
