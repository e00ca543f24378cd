//! What a run is to do: its inputs, and the command and the identity of each task.
//!
//! A task's identity is a digest of all that decides its output as far as it can be seen from here: directory, command,
//! input, and size and time of change of the input file and of every file that the command names (so that an edited script
//! is another task). Equal lines are told apart by their count, not by their place, so that a line put in before them
//! changes nothing.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use evenkeel_agent::executors::CommandPayload;
use evenkeel_shared::limits::PAYLOAD_BYTES_MAX;
use sha2::{Digest as _, Sha256};

use crate::exit::{CliError, Exit};

/// Inputs of one run: their names and digests take some hundred bytes each.
const INPUTS_MAX: usize = 1_000_000;
/// What stands for the input in a command.
const PLACEHOLDER: &str = "{}";
/// Changes with the meaning of the digests, so that old journals are not misread.
const DIGEST_VERSION: &[u8] = b"evenkeel run 1";

/// Where the inputs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The files that a pattern matches.
    Files(String),
    /// The lines of a file, or of stdin where it is `-`.
    Lines(PathBuf),
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file's path or the line.
    pub input: String,
    digest: Fingerprint,
}

type Fingerprint = [u8; 16];

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    words: Vec<String>,
    directory: String,
    /// Names the command in this directory on these inputs, whatever the inputs hold by now.
    pub job: String,
    /// The inputs, in order.
    pub items: Vec<Item>,
}

impl Plan {
    /// Reads the inputs of a command that runs in `directory`, an absolute path.
    ///
    /// # Errors
    /// A wrong pattern, no inputs, an unreadable one, too many, or one that is no text: payloads are JSON.
    pub fn new(source: &Source, words: &[String], directory: &Path) -> Result<Self, CliError> {
        let directory = text(directory)?.to_owned();
        let mut words = words.to_vec();
        if !words.iter().any(|word| word.contains(PLACEHOLDER)) {
            words.push(PLACEHOLDER.to_owned());
        }
        let named = named_files(&words, Path::new(&directory));
        let command = digest(&[&directory], &words, &named);
        let (name, inputs) = match source {
            Source::Files(pattern) => (format!("each {pattern}"), files(pattern, Path::new(&directory))?),
            Source::Lines(path) => (format!("lines {}", path.display()), lines(path)?),
        };
        let job = hex(&digest(&[&directory, &name], &words, &[]));
        let items = inputs
            .into_iter()
            .map(|(input, stamp)| Item { digest: digest(&[&input, &stamp], &[hex(&command)], &[]), input })
            .collect();
        let plan = Self { words, directory, job, items };
        plan.items.iter().try_for_each(|item| plan.check_size(item))?;
        Ok(plan)
    }

    /// The payload of a task.
    #[must_use]
    pub fn payload(&self, item: &Item) -> Bytes {
        let mut words = self.words.iter().map(|word| word.replace(PLACEHOLDER, &item.input));
        let payload = CommandPayload {
            program: words.next().unwrap_or_default(),
            args: words.collect(),
            cwd: Some(self.directory.clone().into()),
            ..CommandPayload::default()
        };
        // The directory is text, so this is JSON; were it not, the agent would refuse the empty payload by name.
        payload.to_bytes().unwrap_or_default()
    }

    /// The idempotency key of a task in the run of this name, for the n-th try of the whole task.
    #[must_use]
    pub fn key(run: &str, item: &Item, generation: u32) -> String {
        format!("run-{run}-{}-{generation}", hex(&item.digest))
    }

    fn check_size(&self, item: &Item) -> Result<(), CliError> {
        if self.payload(item).len() > PAYLOAD_BYTES_MAX {
            let input = crate::output::table::cut(&item.input, 60);
            return Err(CliError::usage(format!("the command for `{input}` is larger than {PAYLOAD_BYTES_MAX} bytes"))
                .hint("put long inputs into files and use --each"));
        }
        Ok(())
    }
}

/// The files that match, in the order of their paths' bytes, each with a stamp of its content.
///
/// As in a shell, `*` passes over names that begin with a dot.
fn files(pattern: &str, directory: &Path) -> Result<Vec<(String, String)>, CliError> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let wrong = |error: glob::PatternError| {
        CliError::usage(format!("`{pattern}` is not a pattern")).because(error).hint("write it as 'src/**/*.rs'")
    };
    let mut found = Vec::new();
    for path in glob::glob_with(pattern, options).map_err(wrong)? {
        let path = path.map_err(|error| unreadable(error.path(), error.error()))?;
        let metadata = fs::metadata(directory.join(&path)).map_err(|error| unreadable(&path, &error))?;
        if !metadata.is_file() {
            continue;
        }
        // Opened, because permission is known only then; better before the first task than in the middle.
        fs::File::open(directory.join(&path)).map_err(|error| unreadable(&path, &error))?;
        bound(found.len())?;
        found.push((text(&path)?.to_owned(), stamp(&metadata)));
    }
    if found.is_empty() {
        return Err(CliError::new(Exit::Error, format!("no file matches `{pattern}`"))
            .hint("quote the pattern, so that your shell leaves it alone; names with a leading dot need one in it"));
    }
    found.sort_unstable();
    Ok(found)
}

/// The lines, without their ends, each with how many equal ones came before it.
fn lines(path: &Path) -> Result<Vec<(String, String)>, CliError> {
    let reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(io::BufReader::new(fs::File::open(path).map_err(|error| unreadable(path, &error))?)),
    };
    let mut reader = reader;
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    loop {
        let mut line = Vec::new();
        let limit = PAYLOAD_BYTES_MAX as u64 + 1;
        let read =
            reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let number = found.len() + 1;
        if line.len() > PAYLOAD_BYTES_MAX {
            return Err(CliError::usage(format!("line {number} is larger than {PAYLOAD_BYTES_MAX} bytes"))
                .hint("put long inputs into files and use --each"));
        }
        let line = String::from_utf8(line).map_err(|_| CliError::usage(format!("line {number} is not UTF-8 text")))?;
        bound(found.len())?;
        let count = seen.entry(line.clone()).or_default();
        found.push((line, format!("line {count}")));
        *count += 1;
    }
    if found.is_empty() {
        return Err(CliError::new(Exit::Error, format!("there are no lines in {}", path.display())));
    }
    Ok(found)
}

fn bound(found: usize) -> Result<(), CliError> {
    if found < INPUTS_MAX {
        return Ok(());
    }
    Err(CliError::usage(format!("there are more than {INPUTS_MAX} inputs")).hint("split them over several runs"))
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::new(Exit::Error, format!("could not read `{}`", path.display())).because(error)
}

fn text(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| {
        CliError::usage(format!("the name `{}` is not UTF-8 text, which a task's payload needs", path.display()))
    })
}

/// What changes when a file's content does.
fn stamp(metadata: &fs::Metadata) -> String {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("file {} {}", metadata.len(), changed.unwrap_or_default().as_nanos())
}

/// The stamps of all files that the command names itself.
fn named_files(words: &[String], directory: &Path) -> Vec<String> {
    let stamps = words.iter().map(|word| match fs::metadata(directory.join(word)) {
        Ok(metadata) if metadata.is_file() => stamp(&metadata),
        _ => String::new(),
    });
    stamps.collect()
}

/// A digest of three lists of texts; lengths go in, so that different lists never look alike.
fn digest(first: &[&str], second: &[String], third: &[String]) -> Fingerprint {
    let mut hash = Sha256::new_with_prefix(DIGEST_VERSION);
    let mut list = |texts: Vec<&str>| {
        hash.update(texts.len().to_le_bytes());
        for text in texts {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    };
    list(first.to_vec());
    list(second.iter().map(String::as_str).collect());
    list(third.iter().map(String::as_str).collect());
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&hash.finalize()[..size_of::<Fingerprint>()]);
    fingerprint
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
