//! What is wrong with a configuration: all of it at once, each with where it was said.

use std::fmt;

use super::origin::Origin;

/// How alike (0 to 1, Jaro-Winkler) a known name must be to be suggested for an unknown one.
const ALIKE: f64 = 0.8;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting; empty: the file as a whole.
    pub path: String,
    /// What is wrong with it, in words that follow its name.
    pub message: String,
    /// What was meant, most likely. May be empty.
    pub hint: String,
    /// Where it was said; `None`: it follows from several places.
    pub origin: Option<Origin>,
}

impl Problem {
    /// Of a setting.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>, origin: Option<Origin>) -> Self {
        Self { path: path.into(), message: message.into(), hint: String::new(), origin }
    }

    /// With what was meant.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// The line of the file; 0: it is not there.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.origin.as_ref().map_or(0, |origin| origin.line)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.origin.as_ref().map(Origin::place).filter(|place| !place.is_empty()) {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}` ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// All that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// The known name most like an unknown one, as a hint.
pub fn meant<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let alike = known.into_iter().map(|known| (strsim::jaro_winkler(unknown, known), known));
    let nearest = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    nearest.map_or_else(String::new, |(_, known)| format!("did you mean `{known}`?"))
}
