//! Which argument of a command fills which field of its request.
//!
//! A service names the fields of a request that are wrong, as programs send them: `tasks[0].attempt_timeout_ms`. Whoever typed
//! `--timeout` has to hear of `--timeout`. Fields that come from files (a policy, settings) are named there as here, and are
//! in no table.

use clap::ArgMatches;

/// A field without indexes, and the argument that fills it or what is within it.
type Fields = &'static [(&'static str, &'static str)];

const REASON: (&str, &str) = ("reason", "--reason");
const NAME: (&str, &str) = ("name", "NAME");
const TASK: (&str, &str) = ("task_id", "ID");
const AGENT: (&str, &str) = ("agent_id", "ID");
const AGENT_FILTER: (&str, &str) = ("agent_id", "--agent");
const FROM: (&str, &str) = ("from_unix_ms", "--from");
const TO: (&str, &str) = ("to_unix_ms", "--to");

/// How a task is treated: `task submit` and `run`.
const TREATED: Fields = &[
    ("tasks.tenant", "--tenant"),
    ("tasks.priority", "--priority"),
    ("tasks.requirements.required", "--label"),
    ("tasks.requirements.preferred", "--prefer"),
    ("tasks.requirements.quota_keys", "--quota"),
    ("tasks.requirements.resources.slots", "--slots"),
    ("tasks.requirements.resources.cpu_millis", "--cpu"),
    ("tasks.requirements.resources.memory_bytes", "--memory"),
    ("tasks.requirements.resources.custom", "--resource"),
    ("tasks.queue_timeout_ms", "--queue-timeout"),
    ("tasks.attempt_timeout_ms", "--timeout"),
    ("tasks.deadline_unix_ms", "--deadline"),
    ("tasks.retry", "--retries"),
    ("tasks.budget.estimate_micros", "--cost"),
    ("tasks.budget.max_micros", "--cost-max"),
    ("tasks.budget.memory_max_bytes", "--memory-max"),
    ("tasks.budget.cpu_max_ms", "--cpu-max"),
    ("tasks.budget.wall_max_ms", "--wall-max"),
];

/// What a task is, which `run` says itself.
const SUBMITTED: Fields = &[
    ("tasks.kind", "--kind"),
    ("tasks.payload", "--payload"),
    ("tasks.idempotency_key", "--key"),
    ("tasks.affinity_key", "--affinity"),
];

/// Commands, and the fields that their arguments fill; all rows of a command count.
const COMMANDS: &[(&str, Fields)] = &[
    ("run", TREATED),
    ("task submit", TREATED),
    ("task submit", SUBMITTED),
    ("task get", &[TASK]),
    ("task explain", &[TASK]),
    ("task cancel", &[TASK, REASON]),
    ("task wait", &[("task_ids", "ID")]),
    ("task list", &[("tenant", "--tenant"), ("kind", "--kind"), AGENT_FILTER]),
    ("agents describe", &[AGENT]),
    ("agents cordon", &[AGENT, REASON]),
    ("agents drain", &[AGENT, REASON, ("deadline_ms", "--deadline")]),
    ("agents resume", &[AGENT]),
    ("agents list", &[("kind", "--kind"), ("labels", "--label")]),
    ("events", &[AGENT_FILTER, ("after_position", "--after")]),
    ("metrics query", &[("metrics", "METRICS"), ("subject", "--of"), FROM, TO, ("step_ms", "--step")]),
    ("metrics trend", &[("metric", "METRIC"), ("subject", "--of"), ("horizon_ms", "--horizon")]),
    (
        "metrics set-threshold",
        &[
            ("thresholds.warning", "--warning"),
            ("thresholds.critical", "--critical"),
            ("thresholds.for_ms", "--for"),
            REASON,
        ],
    ),
    ("allocation show", &[("name", "--name")]),
    ("allocation events", &[("subject", "--subject"), FROM, TO]),
    (
        "limits put",
        &[
            ("limit.name", "NAME"),
            ("limit.scope.tenant", "--tenant"),
            ("limit.scope.kind", "--kind"),
            ("limit.scope.agent_id", "--agent"),
            ("limit.scope.agent_label", "--agent-label"),
            ("limit.concurrency_max", "--concurrency"),
            ("limit.rate_per_s", "--rate"),
            ("limit.burst", "--burst"),
            REASON,
        ],
    ),
    ("limits delete", &[NAME, REASON]),
    (
        "limits dynamic",
        &[
            ("settings.algorithm", "--algorithm"),
            ("settings.slots_min", "--slots-min"),
            ("settings.tolerance", "--tolerance"),
            ("settings.headroom_priority", "--headroom-priority"),
            REASON,
        ],
    ),
    ("quotas report", &[("key", "KEY"), ("retry_after_ms", "--for"), REASON]),
    ("quotas clear", &[("key", "KEY")]),
    ("breakers open", &[NAME, ("open_ms", "--for"), REASON]),
    ("breakers close", &[NAME, REASON]),
    ("sizes put", &[("size.kind", "KIND"), ("size.cpu_millis", "--cpu"), ("size.memory_bytes", "--memory"), REASON]),
    ("sizes delete", &[("kind", "KIND"), REASON]),
    (
        "budgets put",
        &[
            ("budget.name", "NAME"),
            ("budget.unit", "--cap"),
            ("budget.cap", "--cap"),
            ("budget.tenant", "--tenant"),
            ("budget.kind", "--kind"),
            ("budget.warning_percent", "--warning"),
            ("budget.critical_percent", "--critical"),
            ("budget.default_estimate", "--estimate"),
            REASON,
        ],
    ),
    ("budgets delete", &[NAME, REASON]),
    (
        "prices set",
        &[
            ("prices.unit", "--unit"),
            ("prices.agent_hour", "--agent-hour"),
            ("prices.agent_prices", "--agent-price"),
            ("prices.core_hour", "--core-hour"),
            ("prices.memory_gb_hour", "--memory-gb-hour"),
            ("prices.storage_gb_hour", "--storage-gb-hour"),
            ("prices.network_mb", "--network-mb"),
            REASON,
        ],
    ),
    ("costs", &[FROM, TO, ("name", "--name"), ("limit", "--limit")]),
    ("scaling events", &[FROM, TO]),
    ("scaling override", &[("agents", "AGENTS"), ("duration_ms", "--for"), REASON]),
    ("scaling clear", &[REASON]),
    ("advice apply", &[("id", "ID"), REASON]),
    ("advice undo", &[("id", "ID"), REASON]),
    ("advice dismiss", &[("id", "ID"), REASON]),
    ("credentials revoke", &[("id", "ID"), REASON]),
    ("config rollback", &[("version", "VERSION"), REASON]),
    ("config reload", &[REASON]),
    ("log set", &[("filter", "FILTER"), ("duration_ms", "--for")]),
];

/// The words of a command that was given: `task submit`.
pub fn command_of(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut level = matches.subcommand();
    while let Some((word, below)) = level {
        words.push(word);
        level = below.subcommand();
    }
    words.join(" ")
}

/// The argument of this command that fills a field such as `tasks[3].kind`.
pub fn filling(command: &str, field: &str) -> Option<&'static str> {
    let field = without_indexes(field);
    let holds = |outer: &str| field.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    fields_of(command).find(|(outer, _)| holds(outer)).map(|(_, argument)| argument)
}

/// A description with this command's arguments in the place of the fields that it names in backticks.
pub fn in_words_of(command: &str, description: &str) -> String {
    fields_of(command).fold(description.to_owned(), |text, (field, argument)| {
        let quoted = format!("`{field}`");
        if text.contains(&quoted) { text.replace(&quoted, &format!("`{argument}`")) } else { text }
    })
}

fn fields_of(command: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().filter(move |(name, _)| *name == command).flat_map(|(_, fields)| fields.iter().copied())
}

/// `tasks[3].kind` is `tasks.kind`; `custom["a.b"]` is `custom`.
fn without_indexes(field: &str) -> String {
    let mut depth = 0_u32;
    let outside = |letter: &char| {
        let was_outside = depth == 0;
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        was_outside && depth == 0
    };
    field.chars().filter(outside).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::args::Cli;

    /// What people type for an argument: `--for`, or the name that stands for its value.
    fn typed(argument: &clap::Arg) -> Option<String> {
        let named = argument.get_long().map(|long| format!("--{long}"));
        let placed = || argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        named.or_else(placed)
    }

    fn command<'a>(root: &'a Command, words: &str) -> &'a Command {
        let below = |command: &'a Command, word| command.find_subcommand(word).unwrap_or_else(|| panic!("{words}"));
        words.split(' ').fold(root, below)
    }

    #[test]
    fn every_argument_in_the_table_is_one_of_its_command() {
        let mut root = Cli::command();
        root.build();
        for (words, fields) in COMMANDS {
            let known: Vec<String> = command(&root, words).get_arguments().filter_map(typed).collect();
            for (field, argument) in *fields {
                let is_there = known.iter().any(|known| known == argument);
                assert!(is_there, "{words}: {argument} of {field} is none of {known:?}");
            }
        }
    }

    #[test]
    fn fields_are_found_by_their_path_whatever_their_indexes() {
        let check = |command, field, argument| assert_eq!(filling(command, field), argument, "{command}: {field}");
        check("task submit", "tasks[12].kind", Some("--kind"));
        check("task submit", "tasks[0].requirements.required[1].values[0]", Some("--label"));
        check("task submit", "tasks[0].requirements.resources.custom[\"a.b\"]", Some("--resource"));
        check("task submit", "tasks[0].kinds", None);
        check("quotas report", "retry_after_ms", Some("--for"));
        check("quotas list", "retry_after_ms", None);
        check("scaling policy put", "policy.agents_min", None);
    }

    #[test]
    fn a_description_that_names_another_field_names_its_argument() {
        assert_eq!(in_words_of("costs", "must be before `to_unix_ms`"), "must be before `--to`");
    }
}
