//! Settings of traces, the log, and the coordinator's own health.

use super::super::setting::Setting;

pub const TELEMETRY: &[Setting] = &[];

pub const LOG_AND_HEALTH: &[Setting] = &[
    Setting::ms("health.sample_interval_ms", 100, "Between two looks at the parts.").live(),
    Setting::ms("health.recover_after_ms", 0, "A part has to be better for so long before its status gets better.").live(),
    Setting::ms("health.loop_lag_degraded_ms", 1, "The engine's loop is degraded if it was late by so much.").live(),
    Setting::ms(
        "health.loop_lag_unhealthy_ms",
        1,
        "It is unhealthy, and the coordinator not ready, from so much on; not below `loop_lag_degraded_ms`.",
    )
    .live(),
    Setting::ms("health.commit_degraded_ms", 1, "The store is degraded if one transaction takes so long.").live(),
    Setting::ms(
        "health.commit_unhealthy_ms",
        1,
        "It is unhealthy, and the coordinator not ready, from so long on; not below `commit_degraded_ms`.",
    )
    .live(),
    Setting::count(
        "health.disk_free_degraded_bytes",
        0,
        u64::MAX,
        "The disk is degraded with less free where the data is; not below `disk_free_unhealthy_bytes`.",
    )
    .of("bytes")
    .live(),
    Setting::count(
        "health.disk_free_unhealthy_bytes",
        0,
        u64::MAX,
        "It is unhealthy with less. The coordinator stays ready until a transaction finds no room.",
    )
    .of("bytes")
    .live(),
    Setting::number(
        "health.connections_degraded",
        0.0,
        1.0,
        "Sessions are degraded if so large a share of `limits.connections_max` is taken.",
    )
    .of("share")
    .live(),
    Setting::ms(
        "health.stuck_ms",
        500,
        "`/healthz` fails if the engine's loop has not turned for so long: restarting is the only remedy.",
    )
    .live(),
    Setting::ms(
        "health.watchdog_ms",
        0,
        "The process ends itself (code 72) if the engine's loop has not turned for so long, unless it waits for the store or \
         the disk is full. 0: never; at least 1000 otherwise.",
    )
    .live(),
    Setting::count(
        "health.stop_announce_ms",
        0,
        3_600_000,
        "A stop says so for so long (readiness off, health not serving) before it refuses anything, so that load balancers \
         send clients elsewhere. Counts against `shutdown_deadline_ms`.",
    )
    .of("ms")
    .live(),
];
