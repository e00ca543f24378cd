//! Makes a change under test through the coordinator's API, and puts back what was in force before it.
//!
//! A task of its own does it: a coordinator that is just being restarted by a fault is asked again for a while, and the
//! run's clock does not wait for that. When the run ends in whatever way, interruption included, the task puts back
//! what it found, so a coordinator that was there before the run is left as it was.

use std::{sync::Arc, time::Duration};

use evenkeel_proto::v1::{self, GetStrategyRequest, SetStrategyRequest, cluster_service_client::ClusterServiceClient};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{StrategyConfig, wire::strategy};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};

/// A change that could not be made for so long is given up: the part of the run that it is tested in goes by.
const MAKE_MAX: Duration = Duration::from_secs(10);
/// A change is tried to be undone for longer: a restarted coordinator may have a large store to recover.
const UNDO_MAX: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Pauses between tries: the first, and the longest that it doubles to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Commands under way: a change is made once and undone once.
const COMMANDS_MAX: usize = 2;

/// What came of a command.
#[derive(Debug)]
pub(super) enum Done {
    /// Of making the change.
    Made(Instant, Result<(), String>),
    /// Of undoing it.
    Undone(Instant, Result<(), String>),
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Make,
    Undo,
}

/// The task that makes the change and undoes it.
#[derive(Debug)]
pub(super) struct Changer {
    commands: mpsc::Sender<Command>,
    done: mpsc::Receiver<Done>,
    task: JoinHandle<Result<(), String>>,
}

/// Resolves once what was in force before is in force again, or could not be put back.
#[derive(Clone, Debug)]
pub struct Restored(Arc<tokio::sync::watch::Receiver<bool>>);

impl Restored {
    /// Waits for it; call it after the judge is gone.
    pub async fn wait(&self) {
        let mut receiver = (*self.0).clone();
        // The task that tells it is gone: there is nothing to wait for.
        let _ = receiver.wait_for(|restored| *restored).await;
    }
}

impl Changer {
    /// Starts the task; within a runtime.
    pub(super) fn start(client: ClusterServiceClient<Channel>, wanted: &StrategyConfig) -> (Self, Restored) {
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let (told, done) = mpsc::channel(COMMANDS_MAX);
        let (restored, over) = tokio::sync::watch::channel(false);
        let worker = Worker { client, wanted: strategy::to_strategy(wanted), before: None, changed: false };
        let task = tokio::spawn(async move {
            let result = worker.work(orders, told).await;
            let _ = restored.send(true);
            result
        });
        (Self { commands, done, task }, Restored(Arc::new(over)))
    }

    pub(super) fn make(&self) {
        // There is room for every command that a trial gives.
        let _ = self.commands.try_send(Command::Make);
    }

    pub(super) fn undo(&self) {
        let _ = self.commands.try_send(Command::Undo);
    }

    /// What came of a command, if something new did.
    pub(super) fn done(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Ends the task once what was in force before is in force again.
    pub(super) async fn close(self) -> Result<(), String> {
        drop((self.commands, self.done));
        self.task.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

struct Worker {
    client: ClusterServiceClient<Channel>,
    wanted: v1::StrategyConfig,
    /// What was in force; read once, before the first change.
    before: Option<v1::StrategyConfig>,
    /// The change is in force, or may be.
    changed: bool,
}

impl Worker {
    async fn work(mut self, mut orders: mpsc::Receiver<Command>, told: mpsc::Sender<Done>) -> Result<(), String> {
        while let Some(command) = orders.recv().await {
            let done = match command {
                Command::Make => {
                    let result = self.make().await;
                    Done::Made(Instant::now(), result)
                }
                Command::Undo => {
                    let result = self.undo().await;
                    Done::Undone(Instant::now(), result)
                }
            };
            // Whoever does not listen any more has dropped the commands too.
            let _ = told.send(done).await;
        }
        self.undo().await
    }

    async fn make(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + MAKE_MAX;
        if self.before.is_none() {
            let client = self.client.clone();
            let get = || {
                let mut client = client.clone();
                async move { client.get_strategy(GetStrategyRequest {}).await }
            };
            self.before = Some(patiently("read the strategy in force", deadline, get).await?);
        }
        // Also a call without an answer may have changed it.
        self.changed = true;
        self.set(self.wanted, deadline).await
    }

    async fn undo(&mut self) -> Result<(), String> {
        let Some(before) = self.before.filter(|_| self.changed) else { return Ok(()) };
        self.set(before, Instant::now() + UNDO_MAX).await?;
        self.changed = false;
        Ok(())
    }

    async fn set(&self, wanted: v1::StrategyConfig, deadline: Instant) -> Result<(), String> {
        let client = self.client.clone();
        let set = || {
            let mut client = client.clone();
            async move { client.set_strategy(SetStrategyRequest { strategy: Some(wanted) }).await }
        };
        let in_force = patiently("set the strategy", deadline, set).await?;
        // Defaults may be left out on the wire; what they stand for has to be the same.
        if strategy::strategy(in_force) == strategy::strategy(wanted) {
            return Ok(());
        }
        Err(format!("the coordinator answered that {in_force:?} is in force instead of {wanted:?}"))
    }
}

/// Asks until there is an answer, or a refusal that another try does not change, or the deadline has passed.
async fn patiently<F>(doing: &str, deadline: Instant, mut call: impl FnMut() -> F) -> Result<v1::StrategyConfig, String>
where
    F: Future<Output = Result<tonic::Response<v1::StrategyConfig>, Status>>,
{
    let mut pause = PAUSE.0;
    loop {
        let status = match timeout(CALL_MAX, call()).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("no answer within {} s", CALL_MAX.as_secs())),
        };
        if !passes(&status) || Instant::now() + pause > deadline {
            return Err(format!("could not {doing}: {}: {}", status.code(), status.message()));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Whether another try may end otherwise: nobody was there, or the connection broke.
fn passes(status: &Status) -> bool {
    let broken = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => true,
        Code::Unknown | Code::Internal | Code::Cancelled => broken,
        _ => false,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
