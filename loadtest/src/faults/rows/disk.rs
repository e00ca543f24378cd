//! The disk under the database: full, read-only, failing.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use evenkeel_proto::v1::{GetRequest, ListRequest, SubmitRequest, TaskSpec};
use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::{FaultError, until},
    load::{Counts, Load, LoadOptions, task},
    process::{Process, evenkeel},
    shim::{Control, Done, Shim},
};

/// Size of the small disk: room for the log of the database at its usual size.
const DISK_BYTES: u64 = 96 << 20;
/// How long the disk stays full: several times as long as a silent agent has to live.
const FULL_FOR: Duration = Duration::from_secs(15);
/// Longest time from room on the disk to the first task taken.
const RECOVERED_MAX: Duration = Duration::from_secs(5);
/// A refusal comes at once.
const REFUSED_MAX: Duration = Duration::from_secs(1);
/// Longest wait for anything that is to happen on the way.
const STEP_MAX: Duration = Duration::from_secs(30);
const AGENTS: u32 = 4;

/// A small file system, or a library that plays one where this user may not mount.
struct SmallDisk {
    directory: PathBuf,
    mounted: bool,
    shim: Shim,
}

impl SmallDisk {
    fn new(lab: &Lab) -> Result<Self, FaultError> {
        let directory = lab.subdirectory("disk")?;
        let shim = Shim::build(&lab.subdirectory("shim")?)?;
        let size = format!("size={DISK_BYTES}");
        let mounted = system("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &directory);
        Ok(Self { directory, mounted, shim })
    }

    /// How it is made full, in words.
    fn kind(&self) -> &'static str {
        if self.mounted { "a tmpfs filled to its last page" } else { "ENOSPC from a preloaded library" }
    }

    fn options(&self) -> CoordinatorOptions {
        let env = if self.mounted { Vec::new() } else { self.shim.env() };
        CoordinatorOptions { env, data_dir: Some(self.directory.join("data")), ..CoordinatorOptions::default() }
    }

    fn fill(&self) -> Result<(), FaultError> {
        if !self.mounted {
            return self.shim.set(Control::Enospc, 1);
        }
        let path = self.directory.join("filler");
        let mut file = fs::File::create(&path).map_err(FaultError::io("create", &path))?;
        // What else is written meanwhile takes the last pages away, or leaves some: both is what a full disk is like.
        loop {
            match file.write_all(&[1; 4_096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(FaultError::io("write", path)(error)),
            }
        }
    }

    fn free(&self) -> Result<(), FaultError> {
        if !self.mounted {
            return self.shim.set(Control::Enospc, 0);
        }
        let path = self.directory.join("filler");
        fs::remove_file(&path).map_err(FaultError::io("remove", path))
    }

    fn remount(&self, how: &str) -> bool {
        system("mount", &["-o", &format!("remount,{how}")], &self.directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // The processes on it may still be about to end.
            let lazily = ["-l"];
            system("umount", &lazily, &self.directory);
        }
    }
}

fn system(program: &str, args: &[&str], directory: &Path) -> bool {
    let done = Command::new(program).args(args).arg(directory).output();
    done.is_ok_and(|output| output.status.success())
}

/// The disk is full, and then it is not.
pub const FULL: Fault = Fault {
    name: "disk-full",
    fault: "the disk of the database is full for 15 s under load, then freed",
    passes_when: "submissions refused at once with RESOURCE_EXHAUSTED that says why, reads work, no agent is given up, and a \
                  task is taken within 5 s of the room, by the same process; no promise broken",
    on_request: false,
    run: |lab| full(lab).boxed(),
};

async fn full(lab: &mut Lab) -> Result<Seen, FaultError> {
    let disk = SmallDisk::new(lab)?;
    let mut coordinator = Coordinator::start(lab, disk.options()).await?;
    let clients = coordinator.clients()?;
    let _agents =
        Host::start(lab, &coordinator.url(), "a", HostOptions { agents: AGENTS, slots: 4, ..HostOptions::default() })?;
    clients.until_agents(AGENTS).await?;
    let load = LoadOptions { rate: Some(300.0), batch: 5, task: |_| heavy(20), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    taken(&load, 300).await?;
    let done = first_task(&clients).await?;
    disk.fill()?;
    ready(&clients, 503).await?;

    let mut wrong = Vec::new();
    let (began, pid) = (Instant::now(), coordinator.process().pid());
    while began.elapsed() < FULL_FOR {
        look(&clients, &done, &mut wrong).await?;
        sleep(Duration::from_millis(500)).await;
    }
    let before = load.counts().acknowledged;
    let freed = Instant::now();
    disk.free()?;
    taken(&load, before + 1).await?;
    let recovered = freed.elapsed();
    ready(&clients, 200).await?;
    let lost = clients.metric("evenkeel_leases_expired_total").await?
        + clients.metric("evenkeel_attempts_lost_total").await?
        + clients.metric("evenkeel_results_stale_total").await?;
    let same = coordinator.process().pid() == pid && pid.is_some();
    taken(&load, before + 300).await?;
    let Counts { refused, unknown, .. } = load.counts();
    let history = load.finish(SETTLE_MAX).await;
    // What was acknowledged has to be on the disk, and not only in the process.
    coordinator.terminate().await?;
    coordinator.restart().await?;
    let judged = judge(lab, &clients, history).await?;
    wrong.sort();
    wrong.dedup();
    let text = format!(
        "{}; {refused} tasks refused, {unknown} in doubt; a task was taken {} ms after there was room; {lost} leases, attempts \
         and results lost{}",
        disk.kind(),
        recovered.as_millis(),
        if wrong.is_empty() { String::new() } else { format!("; wrong while it was full: {}", wrong.join(", ")) },
    );
    let passed = wrong.is_empty() && same && recovered <= RECOVERED_MAX && lost == 0.0 && refused > 0;
    Ok(judged.seen(passed, text))
}

/// A task with enough in it to grow a log quickly.
fn heavy(wait_ms: u64) -> TaskSpec {
    let plain = task(wait_ms);
    // The rest of the payload is space, which JSON passes over.
    let mut payload = plain.payload.to_vec();
    payload.resize(4_096, b' ');
    TaskSpec { payload: payload.into(), ..plain }
}

/// Waits until so many tasks in all were acknowledged.
pub(super) async fn taken(load: &Load, count: u64) -> Result<(), FaultError> {
    let acknowledged = || {
        let enough = load.counts().acknowledged >= count;
        async move { enough.then_some(()) }
    };
    until(&format!("{count} tasks are taken"), STEP_MAX, acknowledged).await
}

async fn ready(clients: &Clients, expected: u16) -> Result<(), FaultError> {
    let answers = || async { (clients.http_get("/readyz").await.ok()?.0 == expected).then_some(()) };
    until(&format!("/readyz answers {expected}"), STEP_MAX, answers).await
}

/// A task that is known to be over.
async fn first_task(clients: &Clients) -> Result<String, FaultError> {
    let mut calls = clients.tasks.clone();
    let page =
        calls.list(ListRequest { page_size: 1, ..ListRequest::default() }).await.map_err(FaultError::call("List"))?;
    let task = page.into_inner().tasks.into_iter().next();
    task.map(|task| task.task_id).ok_or_else(|| FaultError::Other("List answered no task".to_owned()))
}

/// What clients, probes and operators get on a full disk; writes down what is not as it should be.
async fn look(clients: &Clients, task_id: &str, wrong: &mut Vec<String>) -> Result<(), FaultError> {
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let mut calls = clients.tasks.clone();
    match timeout(REFUSED_MAX, calls.submit(SubmitRequest { tasks: vec![task(1)] })).await {
        Ok(Err(status)) => {
            expect(status.code() == Code::ResourceExhausted && status.message().contains("disk"), status.message());
        }
        Ok(Ok(_)) => expect(false, "a submission was taken"),
        Err(_) => expect(false, "a submission was not answered"),
    }
    let request = GetRequest { task_id: task_id.to_owned(), include_payload: true, include_attempts: true };
    expect(calls.get(request).await.is_ok(), "Get failed");
    expect(calls.list(ListRequest::default()).await.is_ok(), "List failed");
    let status = clients.clone().status().await?;
    expect(!status.ready, "Status says ready");
    expect(status.agents_healthy == AGENTS, "an agent is not healthy");
    let (code, why) = clients.http_get("/readyz").await?;
    expect(code == 503 && why.contains("disk"), "/readyz does not say why");
    expect(clients.http_get("/healthz").await?.0 == 200, "/healthz fails");
    expect(clients.metric("evenkeel_store_full").await? == 1.0, "the metric is not 1");
    Ok(())
}

/// A sync of the database fails once.
pub const SYNC_FAILS: Fault = Fault {
    name: "fsync-error",
    fault: "one fsync of the database fails with EIO, 5 times at random moments under load",
    passes_when: "the process ends with 74 each time, the next start is clean; no promise broken",
    on_request: false,
    run: |lab| sync_fails(lab).boxed(),
};

const FAILURES: u32 = 5;
/// The exit code of a coordinator whose store failed (`EX_IOERR`).
const EXIT_STORE_FAILED: i32 = 74;

async fn sync_fails(lab: &mut Lab) -> Result<Seen, FaultError> {
    let shim = Shim::build(&lab.subdirectory("shim")?)?;
    let options = CoordinatorOptions { env: shim.env(), ..CoordinatorOptions::default() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let _agents = Host::start(lab, &coordinator.url(), "a", HostOptions { slots: 8, ..HostOptions::default() })?;
    clients.until_agents(1).await?;
    let load = LoadOptions { rate: Some(200.0), batch: 4, ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    let mut codes = Vec::new();
    for _ in 0..FAILURES {
        taken(&load, load.counts().acknowledged + 50).await?;
        sleep(Duration::from_millis(lab.rng.u64(0..300))).await;
        shim.set(Control::FsyncFail, 1)?;
        codes.push(coordinator.process().ended().await?.code());
        coordinator.restart().await?;
    }
    let failed = shim.count(Done::SyncsFailed)?;
    taken(&load, load.counts().acknowledged + 50).await?;
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let text = format!("{failed} syncs failed; the process ended with {codes:?}");
    let passed = failed == i64::from(FAILURES) && codes.iter().all(|code| *code == Some(EXIT_STORE_FAILED));
    Ok(judged.seen(passed, text))
}

/// The data directory cannot be written.
pub const READ_ONLY: Fault = Fault {
    name: "disk-read-only",
    fault: "a start on a data directory that cannot be written, which is then made writable",
    passes_when: "refused with what cannot be written, why, and what to do; afterwards it starts with all that was there; no \
                  promise broken",
    on_request: false,
    run: |lab| read_only(lab).boxed(),
};

async fn read_only(lab: &mut Lab) -> Result<Seen, FaultError> {
    let disk = SmallDisk::new(lab)?;
    let options = CoordinatorOptions { env: Vec::new(), ..disk.options() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let load = Load::start(clients.clone(), LoadOptions { tasks: 100, ..LoadOptions::default() });
    taken(&load, 100).await?;
    coordinator.terminate().await?;
    writable(&disk, coordinator.data_dir(), false)?;
    let (code, said) = refusal(lab, coordinator.data_dir()).await?;
    writable(&disk, coordinator.data_dir(), true)?;
    coordinator.restart().await?;
    let _agents = Host::start(lab, &coordinator.url(), "a", HostOptions { slots: 8, ..HostOptions::default() })?;
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let data = coordinator.data_dir().display().to_string();
    // The reason comes after what the log has to say.
    let reason = said.find("error:").map_or(said.as_str(), |at| &said[at..]);
    let what_to_do = ["mount it for writing", "give it the data directory"];
    let clear = reason.contains(&data) && what_to_do.iter().any(|advice| reason.contains(advice));
    let text = format!("ended with {code:?}: {}", reason.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(judged.seen(code == Some(1) && clear, text))
}

/// A mount where there is one, permissions otherwise. Permissions do not bind root, who may mount.
fn writable(disk: &SmallDisk, data_dir: &Path, writable: bool) -> Result<(), FaultError> {
    use std::os::unix::fs::PermissionsExt as _;
    if disk.mounted {
        let done = disk.remount(if writable { "rw" } else { "ro" });
        return if done { Ok(()) } else { Err(FaultError::Other("the disk cannot be mounted anew".to_owned())) };
    }
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(FaultError::io("change the mode of", path))
    };
    mode(data_dir, if writable { 0o700 } else { 0o500 })?;
    let entries = fs::read_dir(data_dir).map_err(FaultError::io("list", data_dir))?;
    for entry in entries.flatten() {
        mode(&entry.path(), if writable { 0o600 } else { 0o400 })?;
    }
    Ok(())
}

/// How a start on this directory ends, and what it says.
///
/// # Errors
/// If it does not end.
pub(super) async fn refusal(lab: &Lab, data_dir: &Path) -> Result<(Option<i32>, String), FaultError> {
    let mut command = evenkeel(&lab.program, ["coordinator", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(data_dir);
    let log = lab.directory().join("refused.log");
    // Only what this start says.
    let _ = fs::remove_file(&log);
    let mut process = Process::start(command, &log)?;
    let status = process.ended().await?;
    Ok((status.code(), process.log()))
}
