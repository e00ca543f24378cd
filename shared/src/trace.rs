//! Where a task stands in a trace: the context of W3C Trace Context (<https://www.w3.org/TR/trace-context/>), as it goes from
//! program to program and is kept with a task.
//!
//! Ids of a task's own spans are not drawn but made of the task's id and the number of the attempt. So a coordinator that
//! starts again, and one attempt that links to the one before, know them without having kept anything; and the id that an
//! agent is given as its parent is that of a span which is written only when the attempt is over.
//!
//! A context that cannot be read is left out, as the recommendation asks: nobody's work is refused for its trace.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptNumber, TaskId};

/// Longest `tracestate` that is passed on, in bytes, and most members of it: what the recommendation asks of everybody.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;
/// Length of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Flags that mean something: sampled, and (level 2) that the trace id is random.
const FLAG_SAMPLED: u8 = 1;
const FLAG_RANDOM: u8 = 2;
/// Makes the ids of a task's own span and of its attempts differ.
const OF_TASK: u64 = 0x7461_736b;

/// The number of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// The number of a span within its trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// Of these bits; 0 is none.
    #[must_use]
    pub const fn new(bits: u128) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// Of these bits; 0 is none.
    #[must_use]
    pub const fn new(bits: u64) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// The span of a whole task at the coordinator, from its acceptance to its end.
    #[must_use]
    pub const fn of_task(task: TaskId) -> Self {
        Self::mixed(task, OF_TASK << 32)
    }

    /// The span of an attempt at the coordinator, from its assignment to its end.
    #[must_use]
    pub const fn of_attempt(task: TaskId, attempt: AttemptNumber) -> Self {
        Self::mixed(task, attempt.0 as u64)
    }

    /// The finalizer of `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) over both
    /// halves: every bit of the id and of the salt has a part in every bit of the result.
    const fn mixed(task: TaskId, salt: u64) -> Self {
        let bits = task.as_u128();
        let mixed = splitmix((bits >> 64) as u64 ^ splitmix(bits as u64 ^ splitmix(salt)));
        Self(if mixed == 0 { 1 } else { mixed })
    }

    /// Its 8 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

const fn splitmix(bits: u64) -> u64 {
    let z = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a trace: what is done from here on is a child of this span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span in it.
    pub span: SpanId,
    flags: u8,
    /// What vendors add, as it came. Empty: nothing.
    state: Box<str>,
}

impl TraceContext {
    /// The beginning of a trace whose spans are kept, or are not.
    #[must_use]
    pub fn root(trace: TraceId, span: SpanId, sampled: bool) -> Self {
        let sampled = if sampled { FLAG_SAMPLED } else { 0 };
        Self { trace, span, flags: sampled | FLAG_RANDOM, state: Box::default() }
    }

    /// Reads the headers `traceparent` and `tracestate`. `None`: there is no such place; a state that breaks the rules is
    /// left out.
    #[must_use]
    pub fn parse(parent: &str, state: &str) -> Option<Self> {
        let parent = parent.trim();
        let version = hex(parent.get(..2)?)?;
        // A later version may have more after a dash, and begins with the same.
        let fits = match version {
            0 => parent.len() == PARENT_BYTES,
            0xff => false,
            _ => parent.len() == PARENT_BYTES || parent.as_bytes().get(PARENT_BYTES) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| parent.as_bytes().get(at) == Some(&b'-'));
        if !fits || !dashes {
            return None;
        }
        Some(Self {
            trace: TraceId::new(hex(parent.get(3..35)?)?)?,
            span: SpanId::new(u64::try_from(hex(parent.get(36..52)?)?).ok()?)?,
            flags: u8::try_from(hex(parent.get(53..55)?)?).ok()? & (FLAG_SAMPLED | FLAG_RANDOM),
            state: legal_state(state).into(),
        })
    }

    /// Whether the spans from here on are kept.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// The same place, whose spans are not kept.
    #[must_use]
    pub fn unsampled(mut self) -> Self {
        self.flags &= !FLAG_SAMPLED;
        self
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn at(&self, span: SpanId) -> Self {
        Self { span, ..self.clone() }
    }

    /// The header `tracestate`; empty: there is nothing to say.
    #[must_use]
    pub const fn state(&self) -> &str {
        &self.state
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        self.to_string()
    }
}

/// The header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Lower-case hexadecimal digits alone.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

fn legal_state(state: &str) -> &str {
    let state = state.trim();
    let legal = state.len() <= STATE_BYTES_MAX
        && state.split(',').count() <= STATE_MEMBERS_MAX
        && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if legal { state } else { "" }
}

/// A context in text, for formats that hold text.
#[derive(Serialize, Deserialize)]
struct Written {
    parent: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    state: String,
}

impl From<TraceContext> for Written {
    fn from(context: TraceContext) -> Self {
        Self { parent: context.to_string(), state: context.state.into() }
    }
}

impl TryFrom<Written> for TraceContext {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::parse(&written.parent, &written.state).ok_or_else(|| format!("`{}` is no traceparent", written.parent))
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
