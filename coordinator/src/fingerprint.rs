//! The fingerprint of what a submission asks for, to tell a repeated submission from another one under the same key.
//!
//! SHA-256 over the task as the wire writes it, without its key and its place in a trace, and the payload; the first 16 bytes.
//! The encoding is that of protobuf, whose field numbers outlive renamings in the code; the one map in it has no order on the
//! wire and is hashed sorted. The defaults are filled in before, so that "not said" and "said as the default" are one.

use std::collections::BTreeMap;

use bytes::Bytes;
use evenkeel_shared::{TaskSpec, wire::task::to_task_spec};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// The fingerprint of a task and its payload.
#[must_use]
pub fn fingerprint(spec: &TaskSpec, payload: &[u8]) -> u128 {
    let mut wire = to_task_spec(spec, Bytes::new());
    wire.idempotency_key.clear();
    // The same work may be submitted again from another place.
    wire.traceparent.clear();
    wire.tracestate.clear();
    let resources = wire.requirements.as_mut().and_then(|requirements| requirements.resources.as_mut());
    let custom: BTreeMap<String, u64> = resources.map(|r| r.custom.drain().collect()).unwrap_or_default();
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&wire.encode_to_vec());
    for (name, amount) in &custom {
        part(name.as_bytes());
        part(&amount.to_be_bytes());
    }
    part(payload);
    let digest = hash.finalize();
    let (first, _) = digest.split_at(16);
    first.iter().fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::{Kind, Priority, Resources, TraceContext};

    use super::*;

    fn spec(key: &str, custom: &[(&str, u64)]) -> TaskSpec {
        let mut spec = TaskSpec::of_kind(Kind::new("echo").unwrap());
        spec.idempotency_key = key.into();
        let custom = custom.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
        spec.requirements.resources = Resources { custom, ..Resources::slots(1) };
        spec
    }

    #[test]
    fn the_same_work_has_the_same_fingerprint_under_every_key() {
        let custom: Vec<(String, u64)> = (0..12).map(|n| (format!("r{n}"), n + 1)).collect();
        let custom: Vec<(&str, u64)> = custom.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
        let first = fingerprint(&spec("a", &custom), b"in");
        for _ in 0..50 {
            assert_eq!(fingerprint(&spec("b", &custom), b"in"), first, "a hash map's order shows");
        }
    }

    #[test]
    fn where_it_was_submitted_from_is_no_part_of_the_work() {
        let base = fingerprint(&spec("a", &[]), b"in");
        let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1");
        let traced = TaskSpec { trace: trace.map(Box::new), ..spec("a", &[]) };
        assert!(traced.trace.is_some());
        assert_eq!(fingerprint(&traced, b"in"), base);
    }

    #[test]
    fn other_work_has_another() {
        let base = fingerprint(&spec("a", &[("gpu", 1)]), b"in");
        assert_ne!(fingerprint(&spec("a", &[("gpu", 2)]), b"in"), base);
        assert_ne!(fingerprint(&spec("a", &[("gpu", 1)]), b"inn"), base);
        let urgent = TaskSpec { priority: Priority::MAX, ..spec("a", &[("gpu", 1)]) };
        assert_ne!(fingerprint(&urgent, b"in"), base);
    }
}
