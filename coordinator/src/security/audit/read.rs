//! Reading the log: listing what was done, and checking that nothing of it was changed.
//!
//! Works on the files alone, so it needs no coordinator, and another machine can do it with a copy.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::entry::{BEGINNING, Entry, Hash};
use crate::security::tokens::{from_hex, hex};

/// The action of an entry that says which files have gone.
pub const REMOVED: &str = "audit/removed";
const SUFFIX: &str = ".jsonl";
/// Bytes of a line: the texts of an entry, each character written as six at most.
const LINE_BYTES_MAX: u64 = 128 << 10;
/// Bytes that one listing reads before it says where to go on.
const LISTED_BYTES_MAX: u64 = 64 << 20;

/// The file that begins with the entry of this number.
#[must_use]
pub fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// The files in a directory with the numbers of their first entries, in their order.
///
/// # Errors
/// If the directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).filter(|number| number.len() == 20);
        if let Some(first) = number.and_then(|number| number.parse().ok()) {
            found.push((first, file.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The lines of a file, each with whether it is whole: the last one may be one that is being written.
struct Lines(BufReader<File>);

impl Lines {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }

    fn next(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let mut line = Vec::new();
        let count = self.0.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let whole = line.last() == Some(&b'\n');
        Ok((count > 0).then_some((line, whole)))
    }
}

/// The end of a file.
#[derive(Debug, Default)]
pub struct End {
    /// The last entry, if its line can be read.
    pub last: Option<Entry>,
    /// Whole lines.
    pub lines: u64,
    /// Bytes of whole lines.
    pub whole_bytes: u64,
    /// Bytes after them.
    pub torn_bytes: u64,
}

/// The end of a file.
///
/// # Errors
/// If it cannot be read.
pub fn end_of(path: &Path) -> io::Result<End> {
    let (mut lines, mut end, mut last) = (Lines::of(path)?, End::default(), Vec::new());
    while let Some((line, whole)) = lines.next()? {
        if !whole {
            end.torn_bytes += line.len() as u64;
            continue;
        }
        end.whole_bytes += line.len() as u64;
        end.lines += 1;
        last = line;
    }
    end.last = serde_json::from_slice(&last).ok();
    Ok(end)
}

/// The first entry of a file, if there is one.
///
/// # Errors
/// If it cannot be read.
pub fn first_of(path: &Path) -> io::Result<Option<Entry>> {
    let line = Lines::of(path)?.next()?;
    Ok(line.and_then(|(line, _)| serde_json::from_slice(&line).ok()))
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Entries that were looked at.
    pub entries: u64,
    /// The first one that is there.
    pub first: u64,
    /// The first that does not fit, and why.
    pub broken: Option<(u64, String)>,
    /// The hash of the last entry.
    pub head: String,
}

/// Checks all entries, and that one of them has the hash that was noted earlier, if one is given.
///
/// # Errors
/// If the files cannot be read.
pub fn verify(directory: &Path, noted: Option<&str>) -> io::Result<Verification> {
    let mut found = Verification::default();
    let (mut head, mut next): (Hash, Option<u64>) = (BEGINNING, None);
    // Where the log begins later than with its first entry: the hash before, which rotation has written down.
    let mut begins_after: Option<Hash> = None;
    let mut noted_is_there = noted.is_none();
    let files = files(directory)?;
    let count = files.len();
    for (i, (first, path)) in files.into_iter().enumerate() {
        let mut lines = Lines::of(&path)?;
        while let Some((line, whole)) = lines.next()? {
            if !whole && i + 1 == count {
                // It is being written, or was when the process died; nobody was told that it is there.
                break;
            }
            let number = next.unwrap_or(first);
            let Ok(entry) = serde_json::from_slice::<Entry>(&line) else {
                found.broken = Some((number, "its line cannot be read".into()));
                return Ok(found);
            };
            if next.is_none() {
                found.first = number;
                if number > 1 {
                    head = from_hex(&entry.before).unwrap_or(BEGINNING);
                    begins_after = Some(head);
                }
            }
            if let Some(problem) = entry.problem(number, &head) {
                found.broken = Some((number, problem));
                return Ok(found);
            }
            if begins_after.is_some_and(|hash| says_removed(&entry, found.first, &hash)) {
                begins_after = None;
            }
            noted_is_there |= noted.is_some_and(|noted| noted.eq_ignore_ascii_case(&entry.hash));
            head = entry.own_hash().unwrap_or(BEGINNING);
            next = Some(number + 1);
            found.entries += 1;
        }
    }
    found.head = if found.entries > 0 { hex(&head) } else { String::new() };
    if begins_after.is_some() {
        let what = "it is the first that is there, and nothing says that those before it were removed".to_owned();
        found.broken = Some((found.first, what));
    } else if !noted_is_there {
        let what = "no entry has the hash that was noted; entries after it, or with it, were removed or changed";
        found.broken = Some((next.unwrap_or(1), what.into()));
    }
    Ok(found)
}

fn says_removed(entry: &Entry, first: u64, before: &Hash) -> bool {
    let said = serde_json::from_str::<serde_json::Value>(&entry.request).unwrap_or_default();
    entry.action == REMOVED
        && said["entries_up_to"].as_u64() == first.checked_sub(1)
        && said["hash"].as_str().and_then(from_hex).as_ref() == Some(before)
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this caller; empty: of all.
    pub by: String,
    /// Of this action, with or without its package; empty: all.
    pub action: String,
    /// From this time on; 0: from the beginning.
    pub from_unix_ms: i64,
    /// Before this time; 0: until now.
    pub until_unix_ms: i64,
    /// Older than the entry of this number.
    pub before: Option<u64>,
    /// So many.
    pub count: usize,
}

impl Wanted {
    fn is(&self, entry: &Entry) -> bool {
        let action = self.action.as_str();
        let is_action = || {
            entry.action == action || entry.action.strip_suffix(action).is_some_and(|rest| rest.ends_with(['.', '/']))
        };
        entry.of == 0
            && self.before.is_none_or(|before| entry.number < before)
            && (self.by.is_empty() || self.by == entry.by)
            && (action.is_empty() || is_action())
            && entry.at_unix_ms >= self.from_unix_ms
            && (self.until_unix_ms == 0 || entry.at_unix_ms < self.until_unix_ms)
    }
}

/// The entries that are wanted, newest first, each with its outcome, and the number before which to go on if there may be
/// more.
///
/// # Errors
/// If the files cannot be read. Lines that make no sense are passed over: checking is another question.
pub fn list(directory: &Path, wanted: &Wanted) -> io::Result<(Vec<Entry>, Option<u64>)> {
    let mut found: Vec<Entry> = Vec::new();
    let mut outcomes: HashMap<u64, String> = HashMap::new();
    let mut read_bytes = 0;
    let files = files(directory)?;
    for (i, (first, path)) in files.iter().enumerate().rev() {
        // An outcome may be in the file after its entry, so a file is passed over only if the next one begins before as well.
        let next = files.get(i + 2).map(|(next, _)| *next);
        if wanted.before.is_some_and(|before| next.is_some_and(|next| before <= next) && before <= *first) {
            continue;
        }
        if read_bytes >= LISTED_BYTES_MAX {
            return Ok((found, files.get(i + 1).map(|(first, _)| *first)));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = Lines::of(path)?;
        while let Some((line, _)) = lines.next()? {
            read_bytes += line.len() as u64;
            entries.extend(serde_json::from_slice::<Entry>(&line).ok());
        }
        for mut entry in entries.into_iter().rev() {
            if entry.of > 0 {
                outcomes.insert(entry.of, entry.outcome);
                continue;
            }
            let outcome = outcomes.remove(&entry.number);
            if !wanted.is(&entry) {
                continue;
            }
            if found.len() == wanted.count {
                return Ok((found.clone(), found.last().map(|last| last.number)));
            }
            if entry.outcome.is_empty() {
                entry.outcome = outcome.unwrap_or_else(|| "not known: the process ended before".into());
            }
            found.push(entry);
        }
    }
    Ok((found, None))
}
