//! Settings and their versions, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    time,
};

/// A setting with where its value comes from.
#[derive(Clone, Debug, Serialize)]
pub struct SettingView {
    pub path: String,
    /// In TOML; empty: it is not set.
    pub value: String,
    pub source: String,
    pub origin: String,
    pub unit: String,
    pub needs_restart: bool,
    pub description: String,
}

impl From<v1::Setting> for SettingView {
    fn from(wire: v1::Setting) -> Self {
        Self {
            path: wire.path,
            value: wire.value,
            source: wire.source,
            origin: wire.origin,
            unit: wire.unit,
            needs_restart: wire.needs_restart,
            description: wire.description,
        }
    }
}

/// A configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    pub differs_from_file: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub differs_because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probation_until_unix_ms: Option<i64>,
    pub settings: Vec<SettingView>,
}

fn wanted(settings: impl Iterator<Item = SettingView>, all: bool) -> Vec<SettingView> {
    settings.filter(|setting| all || setting.source != "default").collect()
}

impl ConfigView {
    /// Of a running coordinator.
    #[must_use]
    pub fn of(wire: v1::Config, all: bool) -> Self {
        Self {
            version: Some(wire.version),
            since_unix_ms: time(wire.since_unix_ms),
            file: wire.file,
            differs_from_file: wire.differs_from_file,
            differs_because: wire.differs_because,
            probation_until_unix_ms: time(wire.probation_until_unix_ms),
            settings: wanted(wire.settings.into_iter().map(SettingView::from), all),
        }
    }

    /// Of one that would start now.
    #[must_use]
    pub fn offline(settings: Vec<SettingView>, all: bool) -> Self {
        Self {
            version: None,
            since_unix_ms: None,
            file: String::new(),
            differs_from_file: false,
            differs_because: String::new(),
            probation_until_unix_ms: None,
            settings: wanted(settings.into_iter(), all),
        }
    }
}

impl Show for ConfigView {
    fn show(&self, style: &Style) -> String {
        let mut pairs = Vec::new();
        if let Some(version) = self.version {
            pairs.push(("version", Cell::text(format!("{version}, since {}", table::at(self.since_unix_ms)))));
        }
        if !self.file.is_empty() {
            pairs.push(("file", Cell::text(&self.file)));
        }
        if self.differs_from_file {
            pairs.push(("differs", Cell::text(&self.differs_because).tone(Tone::Warn)));
        }
        if let Some(until) = self.probation_until_unix_ms {
            pairs.push(("probation", Cell::text(format!("until {}", table::at(Some(until))))));
        }
        let head = if pairs.is_empty() { String::new() } else { format!("{}\n\n", table::pairs(&pairs, style)) };
        if self.settings.is_empty() {
            return format!("{head}everything has its default; see `evenkeel config show --effective`");
        }
        let rows = self.settings.iter().map(|setting| {
            let value = if setting.value.is_empty() { "not set" } else { &setting.value };
            let from = [setting.source.as_str(), setting.origin.as_str()].join(" ");
            let change = if setting.needs_restart { "restart" } else { "live" };
            vec![Cell::text(&setting.path), Cell::text(value), Cell::text(from.trim_end()), Cell::text(change)]
        });
        format!("{head}{}", table::cells(&["SETTING", "VALUE", "FROM", "CHANGE"], rows, style))
    }
}

/// A setting that has another value.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    pub path: String,
    pub before: String,
    pub after: String,
    pub needs_restart: bool,
}

impl ChangeView {
    /// A change.
    #[must_use]
    pub fn new(path: impl Into<String>, before: String, after: String, needs_restart: bool) -> Self {
        Self { path: path.into(), before, after, needs_restart }
    }

    fn line(&self) -> String {
        let or_not = |value: &str| if value.is_empty() { "not set".to_owned() } else { value.to_owned() };
        let restart = if self.needs_restart { "  (after a restart)" } else { "" };
        format!("  {}: {} -> {}{restart}", self.path, or_not(&self.before), or_not(&self.after))
    }
}

impl From<v1::SettingChange> for ChangeView {
    fn from(wire: v1::SettingChange) -> Self {
        Self::new(wire.path, wire.before, wire.after, wire.needs_restart)
    }
}

fn lines(first: String, changes: &[ChangeView]) -> String {
    std::iter::once(first).chain(changes.iter().map(ChangeView::line)).collect::<Vec<_>>().join("\n")
}

/// What would come of a configuration.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedView {
    pub sound: bool,
    pub changes: Vec<ChangeView>,
    #[serde(skip)]
    compared_with: &'static str,
}

impl CheckedView {
    /// It is sound, and differs so from the defaults.
    #[must_use]
    pub fn sound(changes: Vec<ChangeView>) -> Self {
        Self { sound: true, changes, compared_with: "the defaults" }
    }

    /// It is sound, and would change so much where it is in force.
    #[must_use]
    pub fn would(wire: v1::ConfigChange) -> Self {
        let changes = wire.changes.into_iter().map(ChangeView::from).collect();
        Self { sound: true, changes, compared_with: "what is in force" }
    }
}

impl Show for CheckedView {
    fn show(&self, _style: &Style) -> String {
        let first = match self.changes.len() {
            0 => format!("the configuration is sound, and the same as {}", self.compared_with),
            n => format!("the configuration is sound; it differs in {n} from {}:", self.compared_with),
        };
        lines(first, &self.changes)
    }
}

/// A change that was made.
#[derive(Clone, Debug, Serialize)]
pub struct MadeView {
    /// 0: nothing has changed.
    pub version: u64,
    pub changes: Vec<ChangeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probation_until_unix_ms: Option<i64>,
}

impl From<v1::ConfigChange> for MadeView {
    fn from(wire: v1::ConfigChange) -> Self {
        Self {
            version: wire.version,
            changes: wire.changes.into_iter().map(ChangeView::from).collect(),
            probation_until_unix_ms: time(wire.probation_until_unix_ms),
        }
    }
}

impl Show for MadeView {
    fn show(&self, _style: &Style) -> String {
        if self.version == 0 {
            return "nothing has changed".to_owned();
        }
        let probation = match self.probation_until_unix_ms {
            Some(until) => format!(", on probation until {}", table::at(Some(until))),
            None => String::new(),
        };
        lines(format!("version {} is in force{probation}:", self.version), &self.changes)
    }
}

/// A version.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    pub version: u64,
    pub at_unix_ms: i64,
    pub cause: String,
    pub by: String,
    pub reason: String,
    pub changes: Vec<ChangeView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rolled_back_because: String,
    pub in_force: bool,
}

impl From<v1::ConfigVersion> for VersionView {
    fn from(wire: v1::ConfigVersion) -> Self {
        Self {
            version: wire.version,
            at_unix_ms: wire.at_unix_ms,
            cause: wire.cause,
            by: wire.by,
            reason: wire.reason,
            changes: wire.changes.into_iter().map(ChangeView::from).collect(),
            rolled_back_because: wire.rolled_back_because,
            in_force: wire.in_force,
        }
    }
}

impl Row for VersionView {
    const HEADERS: &'static [&'static str] = &["VERSION", "AT", "CAUSE", "BY", "CHANGES", "REASON"];

    fn cells(&self) -> Vec<Cell> {
        let changes: Vec<String> = self.changes.iter().map(|change| change.line().trim().to_owned()).collect();
        let version = if self.in_force { format!("{} *", self.version) } else { self.version.to_string() };
        let reason = match self.rolled_back_because.as_str() {
            "" => self.reason.clone(),
            because => format!("{} (rolled back: {because})", self.reason),
        };
        vec![
            Cell::text(version),
            Cell::text(table::at(Some(self.at_unix_ms))),
            Cell::text(&self.cause),
            Cell::text(&self.by),
            Cell::text(changes.join("; ")),
            Cell::text(reason.trim()),
        ]
    }
}

/// Something that is wrong, in a line.
#[must_use]
pub fn problem(problem: &v1::ConfigProblem) -> String {
    let place = if problem.line > 0 { format!("line {}: ", problem.line) } else { String::new() };
    let path = if problem.path.is_empty() { String::new() } else { format!("`{}` ", problem.path) };
    let hint = if problem.hint.is_empty() { String::new() } else { format!("; {}", problem.hint) };
    format!("{place}{path}{}{hint}", problem.message)
}
