//! Where the value of a setting comes from.

/// The layers, from the lowest to the highest, and what can be put over them at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody has said anything.
    #[default]
    Default,
    /// The file.
    File,
    /// The environment.
    Environment,
    /// A flag of the command line.
    Flag,
    /// An earlier version was put back in force.
    Rollback,
}

impl Source {
    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::Rollback => "rollback",
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Which layer.
    pub source: Source,
    /// The line of the file, from 1; 0: not the file.
    pub line: u32,
    /// The variable, the flag, the version.
    pub name: String,
}

impl Origin {
    /// A line of the file.
    #[must_use]
    pub const fn line(line: u32) -> Self {
        Self { source: Source::File, line, name: String::new() }
    }

    /// A variable, a flag or a version.
    #[must_use]
    pub fn named(source: Source, name: impl Into<String>) -> Self {
        Self { source, line: 0, name: name.into() }
    }

    /// Where in its source: `line 12`, `EVENKEEL_GRPC`, `--grpc`. Empty for defaults.
    #[must_use]
    pub fn place(&self) -> String {
        if self.line > 0 { format!("line {}", self.line) } else { self.name.clone() }
    }
}
