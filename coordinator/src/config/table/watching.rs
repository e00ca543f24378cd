//! Settings of traces, the log, and the coordinator's own health.

use super::super::setting::{Kind, Setting};

pub const TELEMETRY: &[Setting] = &[
    Setting::new(
        "telemetry.otlp_endpoint",
        Kind::Text,
        "The collector of OpenTelemetry that spans are sent to by OTLP over gRPC, such as `http://127.0.0.1:4317`. Not set: \
         no spans are made.",
    )
    .variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
    Setting::number(
        "telemetry.sample_ratio",
        0.0,
        1.0,
        "Share of the tasks that are traced, of those that come without a decision of their client's.",
    ),
    Setting::count(
        "telemetry.traced_per_s_max",
        1,
        100_000,
        "Tasks traced a second, at most, whatever their clients decided; each makes some ten spans.",
    ),
    Setting::count(
        "telemetry.queue_spans_max",
        1,
        262_144,
        "Spans that wait to be sent; further ones are dropped, and counted.",
    ),
    Setting::count("telemetry.export_timeout_ms", 1, 60_000, "Longest wait for the collector's answer.").of("ms"),
];

pub const LOG_AND_HEALTH: &[Setting] = &[
    Setting::new(
        "log.filter",
        Kind::Text,
        "What is logged: a level, or directives such as `info,evenkeel_core=debug`. `--log` and EVENKEEL_LOG go before it.",
    )
    .live(),
    Setting::new("log.format", Kind::Word(&["text", "json"]), "How a line looks. `--log-format` goes before it.").live(),
    Setting::count(
        "log.lines_per_second",
        0,
        100_000,
        "Lines a second of one place in the program; what is beyond is counted and summed up. 0: all.",
    )
    .live(),
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
