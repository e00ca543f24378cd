//! Bounds of the engine that are not settings, each with its reason.

use std::time::Duration;

/// How long the idempotency key of a finished task is remembered after its end. The store is asked before a submission is
/// handed to the engine; a task that ends in between must still be known. Far longer than any such gap.
pub const KEY_MEMORY: Duration = Duration::from_secs(60);
/// An answer of the store older than this is not trusted: half of [`KEY_MEMORY`], so that no key falls between the two.
pub const KEY_ANSWER_AGE_MAX: Duration = Duration::from_secs(30);
/// Finished tasks whose keys are remembered. At this rate over [`KEY_MEMORY`] submissions with keys are refused rather than
/// accepted twice.
pub const FINISHED_KEYS_MAX: usize = 2_000_000;
/// Recorded assignments that are remembered to answer a repeated result at once; older ones are looked up in the store.
pub const RECORDED_MAX: usize = 65_536;
/// When a refused submission is worth another try.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long after the attempt timeout the coordinator ends an attempt itself: the agent's own word should come first.
pub const ATTEMPT_TIMEOUT_MARGIN: Duration = Duration::from_secs(2);
/// The engine wants to see the time at least this often while agents are connected, to notice that it lagged.
pub const TICK_INTERVAL: Duration = Duration::from_millis(250);
/// The fleet is looked over for others that are silent, when a lease runs out, at most this often: leases of a large fleet
/// may run out all at once. Far shorter than the interval within which they do.
pub const SILENCE_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// One agent in so many may be held for a task that needs more room than comes free at once; at least one.
pub const HELD_AGENTS_SHARE: usize = 10;
/// Kinds of which statistics are kept for each agent: as many as it may take.
pub const KINDS_SEEN_MAX: usize = evenkeel_shared::limits::KINDS_MAX;
/// Agents known, with and without a session. As many as routing can index.
pub const AGENTS_MAX: usize = 262_144;
/// From this priority on, tasks are urgent: the last share of a full queue is kept for them. Two priorities of ten, so that a
/// client that marks everything as somewhat important does not use up what is there for emergencies.
pub const URGENT_FROM: u8 = 8;
/// The share of `tasks_max` and of `payload_bytes_max` that is kept for urgent tasks, in per cent: overload then looks like a
/// longer queue to them while others are already refused. More would waste a queue that is seldom full of anything urgent.
pub const URGENT_SHARE_PERCENT: u64 = 5;
/// Tasks that go with one event because something opened; what is left follows at once. Some milliseconds of the engine.
pub const PLACED_PER_EVENT_MAX: usize = 1_024;
/// Agents that are looked at with one event because a quota that they draw on has shut or opened; what is left follows at
/// once. A fleet may draw on one account together.
pub const KEYED_AGENTS_MAX: usize = 512;
/// Lanes of one budget that are opened at a time, and lanes that need more than is left and are passed over to find them. A
/// budget that gets more may have a lane of every tenant waiting; those that need much must not hide the rest for ever.
pub const LANES_OPENED_MAX: usize = 16;
/// See [`LANES_OPENED_MAX`].
pub const LANES_SKIPPED_MAX: usize = 16;
/// When what was left for a following event is done: at once, but after what has come in meanwhile.
pub const FOLLOW_UP: Duration = Duration::from_millis(1);
/// What a limit or budget does is written into the history at most this often, each by itself.
pub const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// Names of each sort of which it is remembered when they were last written about: more are looked through for old ones first.
pub const NOTES_MAX: usize = 4_096;
/// Weight of the newest attempt in the moving average of run times.
pub const RUN_TIME_WEIGHT: f64 = 0.2;
