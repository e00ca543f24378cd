//! Where runs are kept: a directory with `ID.json` and `ID.hdr` for each run, and `baselines.json`.
//!
//! A run is kept whole or not at all, and never overwritten: the histograms are written first, under a name that must be
//! free, and the record, by which a run is found, is moved into place when it is on the disk. Baselines are pointers: for
//! each scenario a name and the id of a run.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Histograms, RECORD_VERSION, RecordError, RunRecord, log};

/// Where runs are kept, in the working directory.
pub const RUNS_DIR: &str = ".evenkeel/runs";
/// The name of a baseline without a name.
pub const BASELINE_NAME: &str = "default";
/// The largest file that is read: a run of a day with many tenants is far below.
const FILE_BYTES_MAX: u64 = 256 << 20;
const BASELINES_FILE: &str = "baselines.json";
const BASELINES_VERSION: u32 = 1;

/// A directory of runs. It need not exist before the first is kept.
#[derive(Clone, Debug)]
pub struct RunStore {
    dir: PathBuf,
}

/// A run as it was kept.
#[derive(Clone, Debug)]
pub struct KeptRun {
    /// The document.
    pub record: RunRecord,
    /// Its histograms; none if their file is not there, as for a record that was copied alone.
    pub histograms: Option<Histograms>,
    /// Where the document is.
    pub path: PathBuf,
}

/// Baselines: for each scenario, names and ids of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baselines {
    version: u32,
    /// By scenario and name.
    pub scenarios: BTreeMap<String, BTreeMap<String, String>>,
}

impl RunStore {
    /// The runs of a directory.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps a run, and says where its record is.
    ///
    /// # Errors
    /// There is a run of this id, or the directory cannot be written.
    pub fn save(&self, record: &RunRecord, histograms: &Histograms) -> Result<PathBuf, RecordError> {
        check_id(&record.id)?;
        fs::create_dir_all(&self.dir).map_err(io_error("create the directory", &self.dir))?;
        let (json, hdr) = (self.file(&record.id, "json"), self.file(&record.id, "hdr"));
        if json.exists() {
            return Err(self.exists(&record.id));
        }
        let damaged = |reason: String| RecordError::Damaged { path: hdr.clone(), reason };
        let histograms = log::encode(histograms, record.started_at_ms, record.duration_s).map_err(damaged)?;
        let document = serde_json::to_vec_pretty(record).map_err(|error| damaged(error.to_string()))?;
        // The free name of the histograms is what makes the id this run's own.
        match write_new(&hdr, &histograms) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.exists(&record.id)),
            written => written.map_err(io_error("write", &hdr))?,
        }
        replace(&json, &document).inspect_err(|_| drop(fs::remove_file(&hdr)))?;
        Ok(json)
    }

    /// The ids of all runs, oldest first.
    ///
    /// # Errors
    /// The directory cannot be read. One that does not exist is empty.
    pub fn list(&self) -> Result<Vec<String>, RecordError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("read the directory", &self.dir))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error("read the directory", &self.dir))?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            if name != BASELINES_FILE && check_id(id).is_ok() {
                ids.push(id.to_owned());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// A run: by its id or the start of it, by the path of its record, as `latest`, or as `baseline` or `baseline:NAME` of
    /// a scenario (without one, that of the latest run).
    ///
    /// # Errors
    /// There is no such run, or its files cannot be read or are damaged.
    pub fn load(&self, reference: &str, scenario: Option<&str>) -> Result<KeptRun, RecordError> {
        self.read(&self.find(reference, scenario)?)
    }

    /// A record without its histograms, which are many times as large.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_record(&self, reference: &str, scenario: Option<&str>) -> Result<RunRecord, RecordError> {
        read_record(&self.find(reference, scenario)?)
    }

    /// The baselines.
    ///
    /// # Errors
    /// Their file cannot be read or is damaged. One that does not exist is empty.
    pub fn baselines(&self) -> Result<Baselines, RecordError> {
        let path = self.dir.join(BASELINES_FILE);
        if !path.exists() {
            return Ok(Baselines { version: BASELINES_VERSION, ..Baselines::default() });
        }
        parse(&path, BASELINES_VERSION)
    }

    /// Makes a run the baseline of its scenario; it replaces the one of the same name, whose id is returned.
    ///
    /// # Errors
    /// There is no such run, or the file cannot be written.
    pub fn set_baseline(&self, reference: &str, name: &str) -> Result<(RunRecord, Option<String>), RecordError> {
        check_id(name)?;
        let record = self.load_record(reference, None)?;
        if !self.file(&record.id, "json").exists() {
            return Err(RecordError::NotFound { reference: record.id, dir: self.dir.clone() });
        }
        let mut baselines = self.baselines()?;
        let names = baselines.scenarios.entry(record.scenario.name.clone()).or_default();
        let before = names.insert(name.to_owned(), record.id.clone());
        let path = self.dir.join(BASELINES_FILE);
        let damaged = |error: serde_json::Error| RecordError::Damaged { path: path.clone(), reason: error.to_string() };
        replace(&path, &serde_json::to_vec_pretty(&baselines).map_err(damaged)?)?;
        Ok((record, before))
    }

    fn find(&self, reference: &str, scenario: Option<&str>) -> Result<PathBuf, RecordError> {
        if reference.contains('/') || reference.ends_with(".json") {
            return Ok(PathBuf::from(reference));
        }
        let id = match reference.split_once(':') {
            None if reference == "latest" => self.latest(scenario)?,
            None if reference == "baseline" => self.baseline(BASELINE_NAME, scenario)?,
            Some(("baseline", name)) => self.baseline(name, scenario)?,
            _ => self.by_start(reference)?,
        };
        Ok(self.file(&id, "json"))
    }

    fn latest(&self, scenario: Option<&str>) -> Result<String, RecordError> {
        let ids = self.list()?;
        let of_scenario = |id: &&String| {
            scenario.is_none_or(|name| read_record(&self.file(id, "json")).is_ok_and(|run| run.scenario.name == name))
        };
        ids.iter().rev().find(of_scenario).cloned().ok_or_else(|| RecordError::Empty { dir: self.dir.clone() })
    }

    fn baseline(&self, name: &str, scenario: Option<&str>) -> Result<String, RecordError> {
        let scenario = match scenario {
            Some(scenario) => scenario.to_owned(),
            None => read_record(&self.file(&self.latest(None)?, "json"))?.scenario.name,
        };
        let baselines = self.baselines()?;
        let id = baselines.scenarios.get(&scenario).and_then(|names| names.get(name)).cloned();
        id.ok_or_else(|| RecordError::NoBaseline { name: name.to_owned(), scenario })
    }

    fn by_start(&self, start: &str) -> Result<String, RecordError> {
        let mut ids = self.list()?;
        if ids.iter().any(|id| id == start) {
            return Ok(start.to_owned());
        }
        ids.retain(|id| !start.is_empty() && id.starts_with(start));
        match (ids.pop(), ids.len()) {
            (None, _) => Err(RecordError::NotFound { reference: start.to_owned(), dir: self.dir.clone() }),
            (Some(id), 0) => Ok(id),
            (Some(_), others) => Err(RecordError::Ambiguous { reference: start.to_owned(), count: others + 1 }),
        }
    }

    fn read(&self, path: &Path) -> Result<KeptRun, RecordError> {
        let record = read_record(path)?;
        let hdr = path.with_extension("hdr");
        let histograms = if hdr.exists() { Some(read_histograms(&hdr, &record)?) } else { None };
        Ok(KeptRun { record, histograms, path: path.to_owned() })
    }

    fn file(&self, id: &str, extension: &str) -> PathBuf {
        // Ids may hold dots, so `with_extension` would cut them.
        self.dir.join(format!("{id}.{extension}"))
    }

    fn exists(&self, id: &str) -> RecordError {
        RecordError::Exists { id: id.to_owned(), dir: self.dir.clone() }
    }
}

fn read_record(path: &Path) -> Result<RunRecord, RecordError> {
    parse(path, RECORD_VERSION)
}

fn read_histograms(path: &Path, record: &RunRecord) -> Result<Histograms, RecordError> {
    let damaged = |reason: String| RecordError::Damaged { path: path.to_owned(), reason };
    let histograms = log::decode(&read_bytes(path)?).map_err(damaged)?;
    // Both files say how many tasks there were, so a file of another run or with lines missing is found.
    for latency in &record.latency_ms {
        let found = histograms.get(&latency.slice, latency.phase).map_or(0, |us| us.len());
        if found != latency.count {
            let (slice, phase) = (&latency.slice, latency.phase.name());
            let wanted = latency.count;
            return Err(damaged(format!("{found} tasks for {phase} of {slice:?}, and the record says {wanted}")));
        }
    }
    Ok(histograms)
}

/// Reads a document of that version.
fn parse<T: serde::de::DeserializeOwned>(path: &Path, version: u32) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    let bytes = read_bytes(path)?;
    let damaged = |error: serde_json::Error| RecordError::Damaged { path: path.to_owned(), reason: error.to_string() };
    let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
    if head.version != u64::from(version) {
        return Err(RecordError::Version { path: path.to_owned(), found: head.version, known: version });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, RecordError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(path).to_owned();
            let name = path.file_name().unwrap_or(path.as_os_str());
            return Err(RecordError::NotFound { reference: name.to_string_lossy().into_owned(), dir });
        }
        file => file.map_err(io_error("open", path))?,
    };
    let bytes = file.metadata().map_err(io_error("read", path))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(RecordError::TooLarge { path: path.to_owned(), bytes, bytes_max: FILE_BYTES_MAX });
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(io_error("read", path))?;
    Ok(content)
}

/// Writes a file that must not exist yet, and waits until it is on the disk. What it could not finish it removes.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Puts a file in place at once: a reader sees the old content or the new one, never a part.
fn replace(path: &Path, content: &[u8]) -> Result<(), RecordError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    // Left over by a process of the same id that was killed.
    let _ = fs::remove_file(&temporary);
    write_new(&temporary, content).map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path)
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .map_err(io_error("move into place", path))
}

/// Ids and names become names of files and parts of commands.
fn check_id(id: &str) -> Result<(), RecordError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let starts = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && id.len() <= 200 && id.bytes().all(plain) {
        return Ok(());
    }
    Err(RecordError::Id { id: id.to_owned() })
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { doing, path, source }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
