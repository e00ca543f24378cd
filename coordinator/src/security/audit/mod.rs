//! Who changed what: a log that is only ever appended to, in which each entry has the hash of the one before.
//!
//! A call that changes something is written down twice: that it was asked for, durable before anything is changed, and what
//! came of it, durable before that is answered. So nothing is changed that is not in the log, whenever the process dies; and
//! where the log cannot be written, because the disk is full for example, such calls are refused and change nothing.
//!
//! Who can write the files can write another log, with hashes that fit. What the chain shows is a change of what was there
//! before, to whoever has noted the hash of a later entry elsewhere ([`read::verify`] takes it). Rejected: signing entries with a
//! key that the same process holds, which whoever has the process has as well.
//!
//! Refused calls are written down too, a few a second at most, without waiting for them: otherwise anybody could fill the disk.

pub mod entry;
mod log;
mod outcome;
pub mod read;
mod request;

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use evenkeel_shared::{Code, Error, limits::MESSAGE_BYTES_MAX, wire::status::to_status};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::sync::oneshot;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
};

use super::{
    Caller,
    rate::{Bucket, Rate},
};
use entry::Draft;
use log::{Log, LogLimits};
use read::{Verification, Wanted};

pub use log::AuditError;
pub use outcome::CameOf;

use crate::config::AuditConfig;

/// The name in the log of the coordinator itself.
pub const COORDINATOR: &str = "coordinator";
/// Its directory in the data directory.
pub const DIRECTORY: &str = "audit";
/// Entries that wait to be written: calls of operators, and denials. Each waits for one `fsync` at most.
const WAITING_MAX: usize = 1_024;
/// Entries that are written together.
const GROUP_MAX: usize = 256;
/// Refused calls that are written down.
const DENIALS: Rate = Rate { per_s: 5, burst: 50 };
/// When a call that could not be written down may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The log. Clones share it.
#[derive(Clone)]
pub struct Audit(Arc<State>);

struct State {
    directory: PathBuf,
    to_writer: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    denials: Bucket,
    denials_left_out: AtomicU64,
    entries: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

struct Job {
    draft: Draft,
    written: Option<oneshot::Sender<Result<u64, AuditError>>>,
}

impl Audit {
    /// Opens the log in this data directory, or begins it, and writes down that the coordinator has started. A log that cannot
    /// be opened now is tried again with every entry.
    #[must_use]
    pub fn start(config: &AuditConfig, data_dir: &Path) -> Self {
        let directory = data_dir.join(DIRECTORY);
        let limits = LogLimits { file_bytes_max: config.file_bytes_max, files_max: config.files_max };
        let (to_writer, jobs) = sync_channel(WAITING_MAX);
        let (entries, failures) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut writer = Writer {
            directory: directory.clone(),
            limits,
            log: None,
            entries: entries.clone(),
            failures: failures.clone(),
        };
        // In this thread, so that who starts a coordinator finds the log there.
        let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }).to_string();
        // What went wrong is logged and counted, and the next entry tries again.
        let _ = writer.write(vec![own("coordinator/start", &version)]);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || writer.run(&jobs));
        if let Err(error) = &thread {
            tracing::error!(%error, "there is no thread for the audit log; what has to be written down is refused");
        }
        Self(Arc::new(State {
            directory,
            to_writer: Mutex::new(thread.is_ok().then_some(to_writer)),
            writer: Mutex::new(thread.ok()),
            denials: Bucket::default(),
            denials_left_out: AtomicU64::new(0),
            entries,
            failures,
        }))
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Entries written since the start, and those that could not be written.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.0.entries.load(Ordering::Relaxed), self.0.failures.load(Ordering::Relaxed))
    }

    /// Writes something down. It is durable when this returns its number.
    ///
    /// # Errors
    /// If it cannot be written; then whatever it is about must not happen.
    pub async fn write(&self, draft: Draft) -> Result<u64, AuditError> {
        let (written, answer) = oneshot::channel();
        self.send(Job { draft, written: Some(written) })?;
        answer.await.unwrap_or(Err(AuditError::Busy))
    }

    /// Writes down what the coordinator itself did, with what as JSON, and what came of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn record(&self, action: &str, request: &str, outcome: &str) -> Result<u64, AuditError> {
        self.write(Draft { outcome: outcome.to_owned(), ..own(action, request) }).await
    }

    /// Writes down what is about to be done although nobody has called: a change of the configuration that a file or a signal
    /// has asked for. `by` says which. What came of it is for [`Begun::ended`].
    ///
    /// # Errors
    /// If it cannot be written; then it must not happen.
    pub async fn begin(&self, by: &str, action: &str, request: &str) -> Result<Begun, AuditError> {
        let draft = Draft { by: by.to_owned(), outcome: String::new(), ..own(action, request) };
        let number = self.write(draft.clone()).await?;
        Ok(Begun { audit: self.clone(), draft, number })
    }

    /// Writes down that a call was refused, unless there were too many. Nobody waits for it.
    pub fn denied(&self, caller: Option<&Caller>, from: String, call: &str, why: &str) {
        if self.0.denials.take(1, DENIALS, Instant::now()).is_err() {
            self.0.denials_left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = self.0.denials_left_out.swap(0, Ordering::Relaxed);
        let request = serde_json::json!({ "call": call, "reason": why, "left_out_before": left_out }).to_string();
        let code = if caller.is_some() { Code::PermissionDenied } else { Code::Unauthenticated };
        let draft = Draft {
            at_unix_ms: now_unix_ms(),
            by: caller.map_or_else(String::new, |caller| caller.name.clone()),
            credential: caller.map_or_else(String::new, |caller| caller.credential.clone()),
            from,
            action: "auth/denied".into(),
            request,
            outcome: code.name().into(),
            ..Draft::default()
        };
        // One that is not written is counted, and hurts nobody.
        let _ = self.send(Job { draft, written: None });
    }

    /// Writes down that the coordinator stops, once all that was sent before is written, and closes the log. Nothing can be
    /// written after that. Returns how many entries were written since the start.
    ///
    /// # Errors
    /// If the stop cannot be written down; the log is closed all the same.
    pub async fn close(&self) -> Result<u64, AuditError> {
        let written = self.record("coordinator/stop", "{}", "OK").await;
        drop(self.0.to_writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        written.map(|_| self.counts().0)
    }

    /// Lists what was written; see [`read::list`].
    ///
    /// # Errors
    /// If the files cannot be read.
    pub async fn list(&self, wanted: Wanted) -> io::Result<(Vec<entry::Entry>, Option<u64>)> {
        let directory = self.0.directory.clone();
        tokio::task::spawn_blocking(move || read::list(&directory, &wanted)).await.map_err(io::Error::other)?
    }

    /// Checks all that was written; see [`read::verify`].
    ///
    /// # Errors
    /// If the files cannot be read.
    pub async fn verify(&self) -> io::Result<Verification> {
        let directory = self.0.directory.clone();
        tokio::task::spawn_blocking(move || read::verify(&directory, None)).await.map_err(io::Error::other)?
    }

    fn send(&self, job: Job) -> Result<(), AuditError> {
        let to_writer = self.0.to_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || {
            let problem = "it is closed: the coordinator stops".to_owned();
            AuditError::Failed { directory: self.0.directory.clone(), problem }
        };
        match to_writer.as_ref().ok_or_else(closed)?.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(AuditError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(closed()),
        }
    }
}

/// Something that is written down and about to be done.
#[derive(Clone)]
pub struct Begun {
    audit: Audit,
    draft: Draft,
    number: u64,
}

impl Begun {
    /// Writes down what came of it.
    pub async fn ended(self, outcome: &str) {
        let Self { audit, draft, number } = self;
        let outcome = Draft {
            at_unix_ms: now_unix_ms(),
            outcome: outcome.to_owned(),
            of: number,
            request: String::new(),
            ..draft
        };
        note_failure(audit.write(outcome).await, number);
    }
}

/// That something was asked for is in the log; what came of it may not be.
fn note_failure(written: Result<u64, AuditError>, number: u64) {
    if let Err(error) = written {
        tracing::error!(%error, number, "what came of it is not in the audit log; that it was asked for is");
    }
}

/// The one who writes.
struct Writer {
    directory: PathBuf,
    limits: LogLimits,
    log: Option<Log>,
    entries: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl Writer {
    /// Until nobody can send any more.
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP_MAX - 1));
            let (drafts, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.draft, job.written)).unzip();
            let written = self.write(drafts);
            for (place, waiting) in waiting.into_iter().enumerate() {
                let Some(waiting) = waiting else { continue };
                let answer = match &written {
                    Ok(first) => Ok(first + place as u64),
                    Err(problem) => {
                        Err(AuditError::Failed { directory: self.directory.clone(), problem: problem.clone() })
                    }
                };
                // Who asked may have gone.
                let _ = waiting.send(answer);
            }
        }
    }

    fn write(&mut self, drafts: Vec<Draft>) -> Result<u64, String> {
        let count = drafts.len() as u64;
        let written = self.opened().and_then(|log| log.append(drafts).map_err(|error| error.to_string()));
        match &written {
            Ok(_) => self.entries.fetch_add(count, Ordering::Relaxed),
            Err(problem) => {
                tracing::error!(problem, "the audit log cannot be written; calls that have to be in it are refused");
                self.failures.fetch_add(count, Ordering::Relaxed)
            }
        };
        written
    }

    fn opened(&mut self) -> Result<&mut Log, String> {
        if self.log.is_none() {
            let (mut log, problem) = Log::open(&self.directory, self.limits).map_err(|error| error.to_string())?;
            let (number, head) = log.head();
            tracing::info!(entries = number, head = %super::tokens::hex(head), "the audit log goes on");
            if let Some(problem) = problem {
                tracing::warn!(problem, "the end of the audit log was mended");
                let draft = own("audit/mended", &serde_json::json!({ "problem": problem }).to_string());
                log.append(vec![draft]).map_err(|error| error.to_string())?;
            }
            self.log = Some(log);
        }
        self.log.as_mut().ok_or_else(|| "it is not open".into())
    }
}

/// What the coordinator did itself.
fn own(action: &str, request: &str) -> Draft {
    Draft {
        at_unix_ms: now_unix_ms(),
        by: COORDINATOR.into(),
        action: action.to_owned(),
        request: request.to_owned(),
        outcome: "OK".into(),
        ..Draft::default()
    }
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

type Answered = Result<http::Response<Body>, Infallible>;

/// Makes a call of one message that has to be written down. It is made to its end although the caller goes.
pub async fn audited<S>(audit: Audit, caller: Arc<Caller>, service: S, request: http::Request<Body>) -> Answered
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    match tokio::spawn(written_down(audit, caller, service, request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(Status::internal("the call failed; this is a defect").into_http()),
    }
}

async fn written_down<S>(audit: Audit, caller: Arc<Caller>, mut service: S, request: http::Request<Body>) -> Answered
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let (head, body) = request.into_parts();
    let bytes = match read_whole(body).await {
        Ok(bytes) => bytes,
        Err(status) => return Ok(status.into_http()),
    };
    let draft = Draft {
        at_unix_ms: now_unix_ms(),
        by: caller.name.clone(),
        credential: caller.credential.clone(),
        from: super::address(&head.extensions),
        action: head.uri.path().trim_start_matches('/').trim_start_matches("evenkeel.v1.").to_owned(),
        request: request::shown(head.uri.path(), &bytes),
        ..Draft::default()
    };
    let number = match audit.write(draft.clone()).await {
        Ok(number) => number,
        Err(error) => {
            tracing::warn!(%error, action = draft.action, "a call was refused");
            let what = "nothing was changed: the audit log cannot be written, and this has to be in it";
            let mut error = Error::new(Code::Unavailable, what);
            error.retry_after = Some(RETRY_AFTER);
            return Ok(to_status(&error).into_http());
        }
    };
    let answer = service
        .call(http::Request::from_parts(head, Body::new(Full::new(bytes).map_err(|never| match never {}))))
        .await;
    let outcome = match &answer {
        Ok(answer) => outcome::of(answer),
        Err(never) => match *never {},
    };
    Begun { audit, draft, number }.ended(&outcome).await;
    answer
}

/// The framed message of a request.
async fn read_whole(body: Body) -> Result<Bytes, Status> {
    let whole = Limited::new(body, MESSAGE_BYTES_MAX + 5).collect().await;
    whole.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(_) => Status::out_of_range("the request is too large"),
    })
}

#[cfg(test)]
#[path = "audited_tests.rs"]
mod tests;
