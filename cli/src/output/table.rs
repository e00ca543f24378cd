//! Text for people: tables, pairs, colours, times and sizes.
//!
//! Whatever comes from elsewhere (payloads, notes, names) may hold control characters; they are escaped, so that a task's
//! output cannot drive the terminal.

use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use unicode_width::UnicodeWidthStr as _;

use super::Row;

/// What the output can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Colours.
    pub color: bool,
    /// Columns of the terminal; `None`: not a terminal, so nothing is wrapped.
    pub width: Option<u16>,
}

/// How good the news in a cell is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// Good.
    Good,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
}

impl Tone {
    const fn color(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Warn => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
        }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Text; `-` stands for none.
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = printable(text.as_ref());
        Self { text: if text.is_empty() { "-".to_owned() } else { text }, ..Self::default() }
    }

    /// A number, to the right.
    pub fn number(number: impl ToString) -> Self {
        Self { text: number.to_string(), right: true, ..Self::default() }
    }

    /// In this tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A table of these rows.
#[must_use]
pub fn grid<R: Row>(rows: &[R], style: &Style) -> String {
    cells(R::HEADERS, rows.iter().map(Row::cells), style)
}

/// A table of these cells.
///
/// Texts are wrapped between words, never within one: an id in pieces cannot be copied. Where the terminal is too narrow for that,
/// the table is as wide as it needs, and the terminal wraps its lines.
pub fn cells(headers: &[&str], rows: impl Iterator<Item = Vec<Cell>>, style: &Style) -> String {
    let rows: Vec<Vec<Cell>> = rows.collect();
    let needs: Vec<Need> = headers.iter().enumerate().map(|(column, header)| Need::of(header, column, &rows)).collect();
    let least: usize = needs.iter().map(|need| need.least() + usize::from(GAP)).sum();
    let width = style.width.filter(|width| least <= usize::from(*width) + usize::from(GAP));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| comfy_cell(cell, style)));
    }
    for ((n, column), need) in table.column_iter_mut().enumerate().zip(&needs) {
        let gap = if n + 1 == needs.len() { 0 } else { GAP };
        let least = u16::try_from(need.word).unwrap_or(u16::MAX).saturating_add(gap);
        column.set_padding((0, gap)).set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    trimmed(&table.to_string())
}

/// Spaces between two columns.
const GAP: u16 = 2;
/// A text of several words gets at least so many columns: in fewer it would be a column of single words.
const TEXT_COLUMNS_MIN: usize = 12;

/// How wide a column has to be, in columns of the terminal: a letter of Chinese takes two of them, an accent none.
struct Need {
    /// The longest word in it.
    word: usize,
    /// The longest text.
    text: usize,
}

impl Need {
    fn of(header: &str, column: usize, rows: &[Vec<Cell>]) -> Self {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.as_str());
        let texts = || std::iter::once(header).chain(cells.clone());
        let longest = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.width()).max().unwrap_or(0);
        Self { word: longest(&mut texts().flat_map(|text| text.split(' '))), text: longest(&mut texts()) }
    }

    /// The least with which it can be read.
    fn least(&self) -> usize {
        self.word.max(self.text.min(TEXT_COLUMNS_MIN))
    }
}

fn comfy_cell(cell: Cell, style: &Style) -> comfy_table::Cell {
    let aligned = comfy_table::Cell::new(cell.text).set_alignment(match cell.right {
        true => CellAlignment::Right,
        false => CellAlignment::Left,
    });
    match cell.tone.color() {
        Some(color) if style.color => aligned.fg(color),
        _ => aligned,
    }
}

/// Names and values, one pair per line, the values in one column, wrapped between words where the terminal ends.
#[must_use]
pub fn pairs(pairs: &[(&str, Cell)], style: &Style) -> String {
    let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let beside = width + usize::from(GAP);
    let columns = style.width.map_or(usize::MAX, |columns| usize::from(columns).saturating_sub(beside));
    let value = |cell: &Cell| {
        let lines = wrapped(&cell.text, columns).into_iter().map(|line| tinted(&line, cell.tone, style));
        lines.collect::<Vec<_>>().join(&format!("\n{:beside$}", ""))
    };
    let padding = |name: &str| " ".repeat(beside.saturating_sub(name.width()));
    let lines: Vec<String> =
        pairs.iter().map(|(name, cell)| format!("{name}{}{}", padding(name), value(cell))).collect();
    lines.join("\n")
}

/// The text in lines of so many columns, if its words are not longer.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (n, word) in text.split(' ').enumerate() {
        match lines.last_mut() {
            Some(line) if n == 0 => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The text in this tone.
#[must_use]
pub fn tinted(text: &str, tone: Tone, style: &Style) -> String {
    use crossterm::style::Stylize as _;
    if !style.color {
        return text.to_owned();
    }
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Good => text.green().to_string(),
        Tone::Warn => text.yellow().to_string(),
        Tone::Bad => text.red().to_string(),
    }
}

/// The text with control characters escaped; newlines too, since a cell is a line, and what turns the direction of writing, since
/// the rest of the line would be read backwards.
#[must_use]
pub fn printable(text: &str) -> String {
    if !text.chars().any(drives_the_terminal) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if drives_the_terminal(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

fn drives_the_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, cut to so many characters with an ellipsis.
#[must_use]
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A point in time, in UTC to the millisecond.
#[must_use]
pub fn at(unix_ms: Option<i64>) -> String {
    match unix_ms.and_then(|ms| u64::try_from(ms).ok()) {
        Some(ms) => SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(ms))
            .map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_millis(time).to_string()),
        None => "-".to_owned(),
    }
}

/// A duration, in two units at most.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let (us, ms, s) = (duration.as_micros(), duration.as_millis(), duration.as_secs());
    match s {
        0 if ms == 0 => format!("{us}µs"),
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", s, (ms % 1_000) / 100),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, (s / 60) % 60),
        _ => format!("{}d {}h", s / 86_400, (s / 3_600) % 24),
    }
}

/// A size in powers of 1024.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// An amount, to a millionth of its unit, without zeros at its end.
#[must_use]
pub fn amount(amount: f64) -> String {
    let shown = format!("{amount:.6}");
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A measurement, to three places and without zeros at its end.
#[must_use]
pub fn measure(value: f64) -> String {
    let shown = format!("{value:.3}");
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share of 0 to 1 as per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Without spaces at the ends of lines: they would only get in the way of copying.
fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_driven_by_what_is_shown() {
        assert_eq!(printable("plain ü"), "plain ü");
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn durations_and_sizes_are_short() {
        let check = |ms, shown: &str| assert_eq!(duration(Duration::from_millis(ms)), shown);
        check(0, "0µs");
        check(15, "15ms");
        check(1_250, "1.2s");
        check(61_000, "1m 1s");
        check(90_000_000, "1d 1h");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn amounts_have_no_zeros_at_their_end() {
        for (value, shown) in [(0.0, "0"), (5.0, "5"), (10.0, "10"), (0.125, "0.125"), (1e-6, "0.000001")] {
            assert_eq!(amount(value), shown);
        }
        assert_eq!(measure(0.12345), "0.123");
    }

    #[test]
    fn tables_line_up_and_have_no_trailing_spaces() {
        let rows = [("a", 1), ("long name", 22)].map(|(name, n)| vec![Cell::text(name), Cell::number(n)]);
        let table = cells(&["name", "count"], rows.into_iter(), &Style::default());
        assert_eq!(table, "NAME       COUNT\na              1\nlong name     22");
    }

    #[test]
    fn what_stands_beside_wide_letters_and_accents_lines_up() {
        // Two columns each; three letters and an accent that takes no column.
        let names = ["\u{65e5}\u{672c}", "ete\u{301}"];
        let rows = names.map(|name| vec![Cell::text(name), Cell::text("x")]);
        let table = cells(&["name", "is"], rows.into_iter(), &Style { color: false, width: Some(40) });
        let before: Vec<usize> =
            table.lines().skip(1).filter_map(|line| Some(line.split_once('x')?.0.width())).collect();
        assert_eq!(before, [6, 6], "{table}");
        let shown = pairs(&names.map(|name| (name, Cell::text("x"))), &Style::default());
        let before: Vec<usize> = shown.lines().filter_map(|line| Some(line.split_once('x')?.0.width())).collect();
        assert_eq!(before, [6, 6], "{shown}");
        assert_eq!(wrapped("\u{65e5}\u{672c} \u{65e5}\u{672c}", 8), ["\u{65e5}\u{672c}"; 2]);
    }

    #[test]
    fn no_word_is_broken_on_a_terminal_of_any_width_and_no_line_is_too_long_on_one_that_is_wide_enough() {
        let id = "01a20114-13ab-7115-a502-083585677bf6";
        let texts = [id, "no connected agent takes tasks of kind nope: start one that does", "3"];
        let row = || vec![Cell::text(texts[0]), Cell::text(texts[1]), Cell::number(texts[2])];
        let check = |columns: u16, lines_fit: bool| {
            let style = Style { color: false, width: Some(columns) };
            let tables = [
                cells(&["task", "what to do", "slots"], [row()].into_iter(), &style),
                pairs(&[("task", Cell::text(id)), ("what to do", Cell::text(texts[1]))], &style),
            ];
            for table in tables {
                let words = texts[..2].iter().flat_map(|text| text.split(' '));
                words.for_each(|word| assert!(table.contains(word), "{word} is broken at {columns}:\n{table}"));
                let longest = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(!lines_fit || longest <= columns.into(), "{longest} at {columns}:\n{table}");
            }
        };
        // The id, twelve of the text, "slots", and two gaps.
        let least = 36 + 12 + 5 + 4;
        (1..least).for_each(|columns| check(columns, false));
        (least..160).for_each(|columns| check(columns, true));
    }

    #[test]
    fn a_value_that_is_wrapped_stays_in_its_column() {
        let style = Style { color: false, width: Some(20) };
        let shown = pairs(&[("state", Cell::text("queued")), ("waits for", Cell::text("room on an agent"))], &style);
        assert_eq!(shown, "state      queued\nwaits for  room on\n           an agent");
    }

    #[test]
    fn a_time_that_is_not_set_is_a_dash() {
        assert_eq!(at(None), "-");
        assert_eq!(at(Some(0)), "1970-01-01T00:00:00.000Z");
    }
}
