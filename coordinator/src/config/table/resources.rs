//! Settings of the resource manager and of the fleet's size.

use evenkeel_core::capacity::Policy;

use super::super::setting::{Kind, Setting, Shape, reads_as};
use crate::actuators::ActuatorConfig;

const POLICY: Shape = Shape {
    words: "a policy, as `evenkeel scaling policy get` shows it",
    schema: r#"{"type":"object"}"#,
    word_key: None,
    check: reads_as::<Policy>,
};

const ACTUATOR: Shape = Shape {
    words: "an actuator, such as { name = \"webhook\", url = \"http://127.0.0.1:9000/scale\" }",
    schema: r#"{"type":"object","required":["name"],"properties":{"name":{"enum":["advise","local","command","webhook","keda"]}}}"#,
    word_key: Some("name"),
    check: reads_as::<ActuatorConfig>,
};

pub const RESOURCES: &[Setting] = &[
    Setting::switch(
        "resources.enabled",
        "Whether there is a resource manager: without it the fleet is not measured over time, not scaled and not advised \
         about; limits, quotas, breakers and budgets stay.",
    ),
    Setting::new(
        "resources.look_back_interval_ms",
        // Often: some tenths of a second of a thread each time. Seldom: advice is about an hour.
        Kind::Whole { min: 1_000, max: 3_600_000 },
        "How often the last hour's tasks are looked back at for advice: what they requested and used, and whether another \
         strategy would have done better.",
    )
    .of("ms"),
    Setting::new(
        "scaling.template",
        Kind::Text,
        "The template of the policy at first start; a policy that was put later is kept in the store and wins. Not set: the \
         fleet is not scaled before a policy is put.",
    )
    .variable("EVENKEEL_SCALING_POLICY"),
    Setting::count("scaling.agents_min", 0, 1_000_000, "At least so many agents; not set: as the template says."),
    Setting::count("scaling.agents_max", 0, 1_000_000, "At most so many; not set: as the template says."),
    Setting::new("scaling.policy", Kind::Table(POLICY), "A whole policy instead of a template."),
    Setting::new("scaling.actuator", Kind::Table(ACTUATOR), "What carries decisions out.").variable("EVENKEEL_ACTUATOR"),
    Setting::ms(
        "scaling.drain_timeout_ms",
        0,
        "How long agents that go may take to finish what they run. Not set: 10 minutes.",
    ),
    Setting::ms("scaling.join_timeout_ms", 0, "How long new agents may take to join. Not set: 2 minutes."),
    Setting::ms(
        "scaling.quiet_ms",
        0,
        "Nothing is decided for so long after the start, while agents come back. Not set: `engine.adoption_grace_ms`.",
    ),
];
