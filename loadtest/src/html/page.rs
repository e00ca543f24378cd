//! A page that is being written. Text is escaped; what is not escaped is a constant.

use std::fmt::{self, Display, Write};

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Markup, which is a part of this program.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text from anywhere.
    pub(super) fn text(&mut self, text: impl Display) {
        // Writing into memory does not fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    /// Attributes of numbers, such as ` x="1" y="2"`.
    pub(super) fn numbers(&mut self, attributes: &[(&'static str, f64)]) {
        for (name, value) in attributes {
            let _ = write!(self.0, " {name}=\"{value:.1}\"");
        }
    }

    /// A path: `M` starts a line, the rest goes on from there.
    pub(super) fn path(&mut self, class: &'static str, steps: impl Iterator<Item = Step>) {
        self.raw("<path class=\"");
        self.raw(class);
        self.raw("\" d=\"");
        for step in steps {
            let _ = match step {
                Step::Move(x, y) => write!(self.0, "M{x:.1} {y:.1}"),
                Step::Line(x, y) => write!(self.0, "L{x:.1} {y:.1}"),
                Step::Right(width) => write!(self.0, "h{width:.2}"),
                Step::Down(height) => write!(self.0, "v{height:.2}"),
                Step::Close => write!(self.0, "z"),
            };
        }
        self.raw("\"/>\n");
    }

    /// What was written.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A step of a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Move(f64, f64),
    Line(f64, f64),
    Right(f64),
    Down(f64),
    Close,
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, whatever a name holds.
                c if c.is_control() && !matches!(c, '\n' | '\t') => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
