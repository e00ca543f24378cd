//! Settings of the engine. What each trades is said where it is used, in `evenkeel-core`.

use std::collections::BTreeMap;

use evenkeel_shared::{StrategyConfig, Tenant};

use super::super::setting::{Kind, Setting, Shape, reads_as};

/// Most of a count that only a mistake of units would pass.
const MANY: u64 = 1 << 40;

const STRATEGY: Shape = Shape {
    words: "a strategy, such as { name = \"weighted\", cpu = 0.5 }",
    schema: r#"{"type":"object","required":["name"],"properties":{"name":{"enum":["round_robin","least_loaded","weighted","priority","random","power_of_two","consistent_hash","bin_pack"]}}}"#,
    word_key: Some("name"),
    check: reads_as::<StrategyConfig>,
};

const WEIGHTS: Shape = Shape {
    words: "whole numbers from 1 by tenant, such as { acme = 3 }",
    schema: r#"{"type":"object","additionalProperties":{"type":"integer","minimum":1}}"#,
    word_key: None,
    check: reads_as::<BTreeMap<Tenant, u32>>,
};

pub const ENGINE: &[Setting] = &[
    Setting::new(
        "engine.strategy",
        Kind::Table(STRATEGY),
        "The strategy at first start; one set at run time is kept in the store and wins.",
    )
    .variable("EVENKEEL_STRATEGY"),
    Setting::count("engine.seed", 0, u64::MAX, "Seed of every draw; not set: from the operating system."),
    Setting::count("engine.tasks_max", 1, MANY, "Most live tasks. Beyond it submissions get RESOURCE_EXHAUSTED.").live(),
    Setting::count("engine.payload_bytes_max", 1, 1 << 48, "Most payload bytes of live tasks.").of("bytes").live(),
    Setting::ms(
        "engine.ageing_interval_ms",
        0,
        "A waiting task counts one priority more for each such time. 0: strict priorities.",
    )
    .live(),
    Setting::new("engine.tenant_weights", Kind::Table(WEIGHTS), "Shares of tenants, where they are not 1.").live(),
    Setting::ms(
        "engine.hold_after_ms",
        1,
        "After so long a wait for more room than ever comes free at once, an agent is held for a task.",
    )
    .live(),
    Setting::ms("engine.attempt_timeout_ms", 1, "Longest time of one attempt where the task does not say.").live(),
    Setting::ms(
        "engine.reconnect_grace_ms",
        0,
        "How long the attempts of an agent whose stream ended wait for it to come back. Longer survives longer breaks of the \
         network, shorter moves the work of a dead agent sooner.",
    )
    .live(),
    Setting::ms("engine.adoption_grace_ms", 0, "The same after a restart of the coordinator."),
    Setting::count("engine.quarantine_after", 1, 1_000_000, "A task that crashed so many agents is quarantined.").live(),
    Setting::ms(
        "engine.prefetch_below_ms",
        0,
        "Tasks are given ahead of a free slot only to agents whose attempts take less on average. 0: never, unless an agent \
         asks for it.",
    )
    .live(),
    Setting::ms(
        "engine.drain_deadline_ms",
        1,
        "Time for what runs to finish when an operator drains an agent and names none.",
    )
    .live(),
    Setting::ms("engine.lost_agent_memory_ms", 0, "Agents without a session are shown for so long.").live(),
    Setting::switch(
        "engine.guards",
        "Whether upstream quotas, circuit breakers and slots that follow latency have any effect.",
    ),
    Setting::number("engine.health.cpu.warning", 0.01, 1.0, "From here on the agent is degraded.").of("share").live(),
    Setting::number("engine.health.cpu.critical", 0.01, 1.0, "From here on it is unhealthy. Above `warning`.")
        .of("share")
        .live(),
    Setting::number("engine.health.cpu.margin", 0.0, 1.0, "A level is left only so far below its bound.")
        .of("share")
        .live(),
    Setting::count("engine.health.cpu.readings", 1, 600, "Heartbeats in a row before a level is entered or left.").live(),
    Setting::number("engine.health.memory.warning", 0.01, 1.0, "From here on the agent is degraded.").of("share").live(),
    Setting::number("engine.health.memory.critical", 0.01, 1.0, "From here on it is unhealthy. Above `warning`.")
        .of("share")
        .live(),
    Setting::number("engine.health.memory.margin", 0.0, 1.0, "A level is left only so far below its bound.")
        .of("share")
        .live(),
    Setting::count("engine.health.memory.readings", 1, 600, "Heartbeats in a row before a level is entered or left.")
        .live(),
    Setting::number("engine.health.failure_rate.warning", 0.01, 1.0, "From here on the agent is degraded.")
        .of("share")
        .live(),
    Setting::number("engine.health.failure_rate.critical", 0.01, 1.0, "From here on it is unhealthy. Above `warning`.")
        .of("share")
        .live(),
    Setting::number("engine.health.failure_rate.margin", 0.0, 1.0, "A level is left only so far below its bound.")
        .of("share")
        .live(),
    Setting::count("engine.health.failure_rate.readings", 1, 600, "Attempts in a row before a level is entered or left.")
        .live(),
    Setting::count(
        "engine.health.failure_samples_min",
        1,
        1_000,
        "With fewer attempts the missing ones count as successes.",
    )
    .live(),
    Setting::ms("engine.health.failure_half_life_ms", 1, "After this long an attempt counts half.").live(),
    Setting::ms(
        "engine.lease.heartbeat_interval_ms",
        1,
        "Between two heartbeats of an agent, before its jitter. Agents that are connected keep theirs until they come again.",
    )
    .live(),
    Setting::count(
        "engine.lease.missed_max",
        1,
        100,
        "After so many missed heartbeats in a row the agent is given up. Agents that are connected keep theirs until they come \
         again.",
    )
    .live(),
];

pub const GUARDS: &[Setting] = &[
    Setting::count("engine.outliers.consecutive_failures", 1, 1_000, "Failures in a row that eject.").live(),
    Setting::number("engine.outliers.rate_excess", 0.05, 1.0, "A failure rate so far above that of the others ejects.")
        .of("share")
        .live(),
    Setting::count("engine.outliers.samples_min", 1, 1_000, "The rate of an agent counts from so many attempts on.")
        .live(),
    Setting::ms("engine.outliers.half_life_ms", 1, "After this long an attempt counts half.").live(),
    Setting::ms(
        "engine.outliers.ejection_base_ms",
        1,
        "The first ejection lasts this long, the second twice as long, and so on.",
    )
    .live(),
    Setting::ms(
        "engine.outliers.ejection_max_ms",
        1,
        "The longest ejection. After this long without one the count begins anew.",
    )
    .live(),
    Setting::number(
        "engine.outliers.fleet_share_max",
        0.0,
        0.5,
        "At most this share of the fleet is ejected at a time; but one agent of two or more may always be.",
    )
    .of("share")
    .live(),
    Setting::switch("engine.breakers.enabled", "Whether they open by themselves. By hand they do in any case.").live(),
    Setting::number("engine.breakers.failure_ratio", 0.05, 1.0, "Share of the latest attempts whose failure opens.")
        .of("share")
        .live(),
    Setting::count("engine.breakers.window_attempts", 1, 1_000, "The latest attempts are so many at most.").live(),
    Setting::ms("engine.breakers.window_ms", 1, "And at most so old.").live(),
    Setting::count(
        "engine.breakers.attempts_min",
        1,
        1_000,
        "The share counts from so many attempts on; at most `window_attempts`.",
    )
    .live(),
    Setting::count(
        "engine.breakers.consecutive_failures",
        1,
        1_000,
        "So many failures in a row open, whatever the share.",
    )
    .live(),
    Setting::count(
        "engine.breakers.agents_min",
        1,
        100,
        "So many different agents must have failed, where there are as many.",
    )
    .live(),
    Setting::count("engine.breakers.trials", 1, 100, "Attempts let through to see whether it is well again.").live(),
    Setting::ms(
        "engine.breakers.open_base_ms",
        1,
        "How long it is open the first time; each time after that twice as long.",
    )
    .live(),
    Setting::ms("engine.breakers.open_max_ms", 1, "And at most. Closed for so long, it begins at the base again.")
        .live(),
    Setting::number("engine.breakers.jitter", 0.0, 0.5, "Share of that by which it may be shorter, by chance.")
        .of("share")
        .live(),
    Setting::ms("engine.ramp.duration_ms", 1, "How long it takes until an agent has all its slots.").live(),
    Setting::number(
        "engine.ramp.initial_share",
        0.0,
        1.0,
        "Share of its slots that it may use at once; at least one slot in any case.",
    )
    .of("share")
    .live(),
    Setting::count("engine.ramp.steps", 1, 100, "Number of equal steps.").live(),
    Setting::ms("engine.panic.window_ms", 1, "Agents have to vanish within this long of each other.").live(),
    Setting::ms("engine.panic.quiet_ms", 1, "It ends when no agent has vanished for this long.").live(),
    Setting::number("engine.panic.lost_share", 0.1, 1.0, "More than this share of the fleet has to vanish.")
        .of("share")
        .live(),
    Setting::count("engine.panic.fleet_min", 2, 1_000_000, "A smaller fleet never panics.").live(),
    Setting::count("engine.panic.permits_per_s_min", 1, 1_000_000, "Lost tasks placed again, at least.")
        .of("1/s")
        .live(),
    Setting::number(
        "engine.panic.permits_per_s_per_agent",
        0.0,
        1_000.0,
        "Lost tasks placed again for each agent that is left, if that is more.",
    )
    .of("1/s")
    .live(),
    Setting::ms(
        "engine.staleness.half_life_ms",
        1,
        "After this long a share has moved halfway to that of an agent of which nothing is known.",
    )
    .live(),
];
