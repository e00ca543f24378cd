//! Lists that a coordinator gives in pages.

use std::time::SystemTime;

use clap::Args;

use crate::{exit::CliError, quantity};

/// Rows of a page: the most that the services allow.
pub const PAGE_SIZE: u32 = 1_000;

/// Which part of a history, newest first.
#[derive(Debug, Args)]
pub struct Stretch {
    /// From when on: 2h ago, or a date and time
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    from: Option<SystemTime>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    to: Option<SystemTime>,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
}

impl Stretch {
    /// When it begins, as messages have it; 0: with the history.
    pub fn begins_unix_ms(&self) -> i64 {
        self.from.map_or(0, quantity::unix_ms)
    }

    /// When it ends, as messages have it; 0: now.
    pub fn ends_unix_ms(&self) -> i64 {
        self.to.map_or(0, quantity::unix_ms)
    }

    /// Rows of a page: no more than are shown.
    pub fn page_size(&self) -> u32 {
        self.limit.clamp(1, PAGE_SIZE)
    }
}

/// Takes so many of a list at most. `read` is given the token of a page, empty for the first one, and gives what is on it and
/// the token of the next one, empty if there is none.
///
/// # Errors
/// The first one of `read` or `take`.
pub async fn each<T>(
    most: usize,
    mut read: impl AsyncFnMut(String) -> Result<(Vec<T>, String), CliError>,
    mut take: impl FnMut(T) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let (mut left, mut token) = (most, String::new());
    while left > 0 {
        let (page, next) = read(token).await?;
        for item in page.into_iter().take(left) {
            left -= 1;
            take(item)?;
        }
        if next.is_empty() {
            break;
        }
        token = next;
    }
    Ok(())
}

/// The whole of a list.
///
/// # Errors
/// The first one of `read`.
pub async fn all<T>(read: impl AsyncFnMut(String) -> Result<(Vec<T>, String), CliError>) -> Result<Vec<T>, CliError> {
    let mut all = Vec::new();
    let take = |item| {
        all.push(item);
        Ok(())
    };
    each(usize::MAX, read, take).await?;
    Ok(all)
}
