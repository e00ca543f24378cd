//! The commands in `--help`, under headings that say what they are for.
//!
//! clap lists all subcommands in one table; so the list is part of the template of the help. Its lines are made of the commands'
//! own descriptions, and a test holds that each command is under exactly one heading.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use clap::{Command, builder::Styles};

use crate::output::table::{self, Cell, Style};

/// Columns of the help where nobody says how wide the terminal is, as in the rest of it.
const COLUMNS: u16 = 100;

/// Headings, and the commands under each.
const GROUPS: [(&str, &[&str]); 9] = [
    ("Start something", &["dev", "coordinator", "agent"]),
    ("Have work done", &["run", "task"]),
    ("See how it goes", &["status", "top", "events", "health", "metrics", "advice", "allocation"]),
    ("Steer the fleet", &["agents", "strategy", "scaling"]),
    ("Bound use and spending", &["limits", "quotas", "breakers", "sizes", "budgets", "prices", "costs"]),
    ("Say who may do what", &["whoami", "tokens", "credentials", "certs", "audit"]),
    ("Run a coordinator", &["config", "doctor", "healthcheck", "log", "profile", "backup", "restore"]),
    ("Measure", &["loadtest"]),
    ("This program", &["completions", "help"]),
];

/// The same command line, with its commands under headings.
pub fn grouped(command: Command) -> Command {
    let terminal = io::stdout().is_terminal().then(crossterm::terminal::size);
    let columns = terminal.and_then(Result::ok).map_or(COLUMNS, |(columns, _)| columns.min(COLUMNS));
    let template = template(&command, columns);
    command.help_template(template)
}

/// The template of the help, for a terminal of so many columns.
fn template(command: &Command, columns: u16) -> String {
    let styles = command.get_styles();
    let mut text = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in GROUPS {
        write_group(&mut text, styles, heading, &lines(command, names, columns));
    }
    write_group(&mut text, styles, "Options", "{options}");
    text.push_str("{after-help}");
    text
}

fn write_group(text: &mut String, styles: &Styles, heading: &str, lines: &str) {
    let style = styles.get_header();
    let _ = write!(text, "\n{style}{heading}:{style:#}\n{lines}\n");
}

/// A line for each command, indented; all groups have one column of names.
fn lines(command: &Command, names: &[&str], columns: u16) -> String {
    const INDENT: usize = 2;
    let widest = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or(0);
    let padded: Vec<_> = names.iter().map(|name| (format!("{name:widest$}"), about(command, name))).collect();
    let pairs: Vec<_> = padded.iter().map(|(name, about)| (name.as_str(), Cell::text(about))).collect();
    let style = Style { color: false, width: Some(columns.saturating_sub(INDENT as u16)) };
    let literal = command.get_styles().get_literal();
    let table = table::pairs(&pairs, &style);
    let shown = table.lines().map(|line| {
        // A line that goes on begins with spaces.
        match line.split_at_checked(widest) {
            Some((name, rest)) if !name.trim().is_empty() => format!("{:INDENT$}{literal}{name}{literal:#}{rest}", ""),
            _ => format!("{:INDENT$}{line}", ""),
        }
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// What a command says of itself; `help` is clap's own, and is not there before the command line is used.
fn about(command: &Command, name: &str) -> String {
    match command.find_subcommand(name).and_then(Command::get_about) {
        Some(about) => about.to_string(),
        None => "Explain a command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_is_under_exactly_one_heading() {
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let distinct: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(listed.len(), distinct.len(), "twice in {listed:?}");
        let command = Cli::command();
        let there: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        assert_eq!(distinct, there);
    }

    #[test]
    fn the_help_has_every_command_once_and_fits_the_terminal() {
        for columns in [60, COLUMNS] {
            let command = Cli::command();
            let template = template(&command, columns);
            let help = command.term_width(columns.into()).help_template(template).render_help().to_string();
            for (heading, names) in GROUPS {
                let (_, rest) = help.split_once(&format!("\n{heading}:\n")).expect(heading);
                let group = rest.split("\n\n").next().unwrap_or_default();
                for name in names {
                    assert!(group.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name}: {group}");
                }
                let widest = group.lines().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(widest <= columns.into(), "{widest} of {columns} columns: {group}");
            }
            assert!(help.contains("--coordinator") && help.contains("Exit codes:"), "{help}");
        }
    }
}
