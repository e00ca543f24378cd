//! Settings of the process: addresses, bounds, the store, reloads.

use super::super::setting::{Kind, Setting};

/// Most that a queue or a number of connections can be set to: more than a machine has room for, and less than what the
/// queues and semaphores behind the settings can count to.
const COUNT_MAX: u64 = 1 << 28;
const HOURS_MAX: u64 = 366 * 24;
const DAYS_MAX: u64 = 366;

pub const TOP: &[Setting] = &[
    Setting::new("grpc", Kind::Address, "Where gRPC is served. Port 0: any that is free."),
    Setting::new("http", Kind::Address, "Where HTTP is served. Port 0: any that is free."),
    Setting::new(
        "http_names",
        Kind::Texts,
        "Names under which HTTP is asked, beside addresses, `localhost` and names without a dot. Requests under other names \
         are refused: a web page could have made them.",
    )
    .live(),
    Setting::new("data_dir", Kind::Path, "Where the data is kept; made if it is not there."),
    Setting::switch(
        "ephemeral",
        "Keep the data for the life of the process only, in a temporary directory; `data_dir` is not used.",
    ),
    Setting::switch("insecure", "Serve other machines without TLS or authentication."),
    Setting::switch(
        "abort_on_panic",
        "End the process when a thread panics. Without it an actor that panics leaves a process that answers UNAVAILABLE.",
    ),
    Setting::ms("shutdown_deadline_ms", 100, "How long a stop may take before what is left is cut off.").live(),
];

pub const LIMITS: &[Setting] = &[
    Setting::count(
        "limits.connections_max",
        1,
        COUNT_MAX,
        "Connections to the gRPC port at a time: one for each agent of a large fleet, and clients. Each is an open file.",
    )
    .live(),
    Setting::count(
        "limits.connections_per_address_max",
        1,
        COUNT_MAX,
        "Connections from one address to each port at a time; a network of IPv6 with a prefix of 64 bits counts as one \
         address, and this machine is exempt. More agents than that behind one router need more.",
    ),
    Setting::count(
        "limits.handshakes_max",
        1,
        1 << 16,
        "TLS handshakes under way on each port; one more, and the oldest is given up. Each may hold 64 KiB of what its peer \
         says.",
    ),
    Setting::ms(
        "limits.greeting_timeout_ms",
        100,
        "How long a peer may take to say what it has to say first: a connection its greeting, its TLS handshake included, an HTTP request its headers, a \
         session its registration. For HTTP headers and registrations a change counts after a restart.",
    )
    .live(),
    Setting::ms(
        "limits.unread_timeout_ms",
        100,
        "How long a peer may leave what is sent to it unread, and what it has begun to send unfinished. A message has 8 MiB \
         at most, so the default asks for 140 kB/s.",
    )
    .live(),
    Setting::count(
        "limits.session_queue_max",
        1,
        COUNT_MAX,
        "Messages queued for one agent before it is cut off. An agent with 4,096 slots may be sent two for each at once. \
         Sessions that are open keep theirs.",
    )
    .live(),
    Setting::count("limits.recent_events_max", 1, COUNT_MAX, "Recent events kept in memory for those who watch."),
    Setting::count("limits.watcher_queue_max", 1, COUNT_MAX, "Events queued for one watcher before it is cut off.").live(),
    Setting::count("limits.watchers_max", 1, COUNT_MAX, "Watchers at a time, of tasks and of the fleet each.").live(),
    Setting::count("limits.ephemeral_kept_max", 0, COUNT_MAX, "Finished ephemeral tasks kept in memory."),
    Setting::count("limits.ephemeral_kept_bytes_max", 0, 1 << 48, "Bytes of their outputs.").of("bytes"),
];

pub const STORE: &[Setting] = &[
    Setting::count(
        "store.retention_hours",
        24,
        HOURS_MAX,
        "Finished tasks are kept for so long. At least a day: clients rely on it for their idempotency keys.",
    )
    .of("h")
    .live(),
    Setting::count(
        "store.fine_hours",
        1,
        HOURS_MAX,
        "Measurements are kept as they were taken for so long, and by the quarter of an hour after that.",
    )
    .of("h")
    .live(),
    Setting::count(
        "store.history_days",
        32,
        DAYS_MAX,
        "Measurements, costs, scaling decisions and what was declared before are kept for so long. At least 32 days, so that \
         what a budget has spent in a month is known to the end of the month.",
    )
    .of("d")
    .live(),
    Setting::count(
        "store.cache_bytes",
        1 << 20,
        1 << 40,
        "Memory for the pages of the database that its writer has read or written: best as much as the tasks that are not \
         finished take, and their indexes. It fills in time, up to the size of the database.",
    )
    .of("bytes"),
];

pub const RELOAD: &[Setting] = &[
    Setting::switch(
        "reload.watch",
        "Take changes of the file as they come. Without it: on SIGHUP and on request alone.",
    ),
    Setting::count(
        "reload.debounce_ms",
        1,
        60_000,
        "How long a file has to stay as it is before it is read: programs write in pieces.",
    )
    .of("ms")
    .live(),
    Setting::count(
        "reload.poll_ms",
        100,
        3_600_000,
        "The file is compared so often besides, for file systems that do not tell of changes.",
    )
    .of("ms")
    .live(),
    Setting::count(
        "reload.probation_ms",
        0,
        3_600_000,
        "A change that breaks the coordinator's health within this time is rolled back by itself. 0: none is.",
    )
    .of("ms")
    .live(),
];
