//! Lists that a coordinator gives in pages.

use crate::exit::CliError;

/// Rows of a page: the most that the services allow.
pub const PAGE_SIZE: u32 = 1_000;

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
