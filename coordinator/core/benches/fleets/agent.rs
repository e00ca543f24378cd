//! An agent of a fleet, as it registers.

use std::collections::BTreeMap;

use evenkeel_core::engine::Event;
use evenkeel_shared::{AgentId, AgentSpec, Kind, Registration, Resources, SessionEpoch};

/// Agent `n` comes, on a session of its own. Tiers are dealt out in turn.
pub fn joins(n: usize, kinds: &[Kind], slots: u32, prefetch_per_slot: u8) -> Event {
    let spec = AgentSpec {
        id: AgentId::new(&format!("agent-{n}")).expect("valid"),
        kinds: kinds.to_vec(),
        labels: BTreeMap::new(),
        capacity: Resources::slots(slots),
        tier: (n % 3) as u8,
        weight: 100,
        version: String::new(),
        prefetch_per_slot: Some(prefetch_per_slot),
        quota_keys: Vec::new(),
    };
    let session = SessionEpoch((1 << 40) + n as u64 + 1);
    let registration = Registration { spec, instance: String::new(), dial: 0, held: Vec::new() };
    Event::Register { session, registration: Box::new(registration) }
}
