//! The limits on what one message, task or agent may hold, each with its reason.
//!
//! They belong to the protocol: an agent or client written in another language relies on them, so they are constants and
//! not settings.

/// Largest payload of a task. Larger inputs belong in a store of their own, with a reference in the payload.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Largest output of a task, for the same reason.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Largest gRPC message either way: a frame of a few full payloads, and no more memory than that per stream.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Longest id, kind or tenant: room for a host name and a path.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest idempotency or affinity key.
pub const KEY_BYTES_MAX: usize = 256;
/// Tasks in one submission: one transaction of the store.
pub const SUBMIT_TASKS_MAX: usize = 1_000;
/// Kinds of one agent.
pub const KINDS_MAX: usize = 64;
/// Labels of one agent.
pub const LABELS_MAX: usize = 64;
/// Longest value of a label.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Required label rules of one task.
pub const REQUIRED_RULES_MAX: usize = 16;
/// Preferred label rules of one task: each may cost one more search.
pub const PREFERRED_RULES_MAX: usize = 8;
/// Values of one IN rule.
pub const RULE_VALUES_MAX: usize = 32;
/// Named resources of a task or an agent.
pub const CUSTOM_RESOURCES_MAX: usize = 16;
/// Slots of one agent: more belongs in more agents.
pub const SLOTS_MAX: u32 = 4_096;
/// Attempts an agent may list as held when it registers: those it runs, has ahead and has not seen acknowledged, for the
/// largest agent and twice over.
pub const HELD_ATTEMPTS_MAX: usize = 4 * SLOTS_MAX as usize;
/// Highest tier; 0 is used first.
pub const TIER_MAX: u8 = 15;
/// Most attempts a retry policy may ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest note of a progress report, reason or failure message kept; the rest is cut.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Upstream quotas that one task or agent draws on: each is looked at when the task is placed.
pub const QUOTA_KEYS_MAX: usize = 8;
/// Longest cooldown of an upstream quota: a day. What is used up for longer is reported again.
pub const COOLDOWN_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Units in one cost.
pub const COST_UNITS_MAX: usize = 8;
/// Ids in one Wait.
pub const WAIT_TASKS_MAX: usize = 10_000;
/// Longest timeout or backoff: a year. Beyond it a number is a mistake of units.
pub const DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 3600);
