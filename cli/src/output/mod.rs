//! What goes to stdout: one [`Show`] per thing, in the format asked for.
//!
//! Each thing is a serde struct, which is its JSON shape (snake_case, ids as text, times in milliseconds since the Unix
//! epoch), and knows how to show itself to people. `json` is one document per command, `jsonl` one line per item; a
//! stream of events is one line per event in both. Logs and progress never go here.

pub mod agent;
pub mod allocation;
pub mod answer;
pub mod attempt;
pub mod audit;
pub mod budget;
pub mod cluster;
pub mod component;
pub mod config;
pub mod credential;
pub mod event;
pub mod explain;
pub mod guard;
pub mod health;
pub mod limit;
pub mod measure;
pub mod scaling;
pub mod size;
pub mod table;
pub mod task;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use table::Style;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One line of JSON per item
    Jsonl,
}

/// Something that can be printed.
pub trait Show: Serialize {
    /// As text for people, without a newline at the end.
    fn show(&self, style: &Style) -> String;
}

/// Something that has a line in a table.
pub trait Row: Serialize {
    /// The heads of its columns.
    const HEADERS: &'static [&'static str];

    /// Its cells, one per column.
    fn cells(&self) -> Vec<table::Cell>;
}

/// Something that happens, shown as one line as soon as it does.
pub trait Line: Serialize {
    /// As one line for people.
    fn line(&self, style: &Style) -> String;
}

/// Prints to stdout.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format asked for.
    pub format: Format,
    style: Style,
}

impl Output {
    /// Output as asked for; colours only on a terminal and without `NO_COLOR`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width = if terminal { crossterm::terminal::size().ok().map(|(width, _)| width) } else { None };
        Self { format, style: Style { color, width } }
    }

    /// Prints one thing.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn one(&self, thing: &impl Show) -> io::Result<()> {
        match self.format {
            Format::Table => print(&thing.show(&self.style)),
            Format::Json => print(&serde_json::to_string_pretty(thing)?),
            Format::Jsonl => print(&serde_json::to_string(thing)?),
        }
    }

    /// Prints a list; `empty` is what people read when there is nothing in it.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn list<R: Row>(&self, rows: &[R], empty: &str) -> io::Result<()> {
        match self.format {
            Format::Table if rows.is_empty() => {
                // A note and no data: stdout stays empty, so that `| wc -l` counts nothing.
                eprintln!("{empty}");
                Ok(())
            }
            Format::Table => print(&table::grid(rows, &self.style)),
            Format::Json => print(&serde_json::to_string_pretty(rows)?),
            Format::Jsonl => {
                let mut stdout = io::stdout().lock();
                for row in rows {
                    serde_json::to_writer(&mut stdout, row)?;
                    stdout.write_all(b"\n")?;
                }
                stdout.flush()
            }
        }
    }

    /// Prints one event of a stream.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn event(&self, event: &impl Line) -> io::Result<()> {
        match self.format {
            Format::Table => print(&event.line(&self.style)),
            Format::Json | Format::Jsonl => print(&serde_json::to_string(event)?),
        }
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Bytes as JSON has them: text if they are UTF-8, else base64 under another name.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Blob {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Binary {
        /// The bytes in base64 (RFC 4648, padded).
        base64: String,
    },
}

impl Blob {
    /// `None` for no bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        if bytes.is_empty() {
            return None;
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { base64: BASE64_STANDARD.encode(bytes) },
        })
    }
}

/// An enum's name as JSON has it: without its prefix, in lower case.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// A point in time from the wire; `None` if it is not set.
fn time(unix_ms: i64) -> Option<i64> {
    (unix_ms > 0).then_some(unix_ms)
}

/// Text from the wire; `None` if it is empty.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
