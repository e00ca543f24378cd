//! One agent's session: dial, register, heartbeat, take assignments, send results.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_proto::v1::{
    self, AgentFrame, AgentMessage, Assignment, AttemptRef, CoordinatorFrame, Draining, Heartbeat, Register,
    ResultStatus, agent_message::Message, agent_service_client::AgentServiceClient,
    coordinator_message::Message as Order,
};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use fastrand::Rng;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    fleet::Shared,
    held::{Entry, Held, Job, Steps, message},
};
use crate::{
    plan::{KIND, REGION_LABEL, RUN_LABEL, SPECIALIST_KIND},
    task_time::mix,
};

/// Frames that wait for the connection; each holds all that one step had to say.
const FRAMES_MAX: usize = 16;
/// Longest wait for the welcome.
const WELCOME_MAX: Duration = Duration::from_secs(30);
/// Longest that an agent that goes away in order finishes what it holds.
const FINISH_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the coordinator to end the session of an agent that leaves.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Heartbeats come up to so much earlier or later, so that a fleet that started together does not beat together.
const HEARTBEAT_JITTER: f64 = 0.1;
/// Shortest interval that is obeyed: a server that says 0 is not answered with a flood.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// A simulated agent works on nothing. It reports a load far from every threshold, a little higher when it is busy.
const CPU_SHARE_IDLE: f64 = 0.05;
const CPU_SHARE_PER_BUSY_SHARE: f64 = 0.3;
const MEMORY_SHARE: f64 = 0.2;

/// One agent: what it is and what it holds.
pub(super) struct Agent {
    pub shared: Arc<Shared>,
    pub index: u32,
    pub held: Held,
    pub rng: Rng,
    pub instance_id: String,
    /// Takes follow-up tasks, and only those.
    pub specialist: bool,
    pub region: Option<String>,
    /// What the scenario wants of it.
    pub wanted: watch::Receiver<Wanted>,
    /// Breaks of its connection that it has had.
    pub breaks_seen: u32,
    /// The coordinator has answered that it knows of the agent's leave.
    pub answered: bool,
}

/// What a scenario wants of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// It is to be away, and how it goes.
    pub away: Option<Away>,
    /// Counts up with each break of its connection.
    pub breaks: u32,
}

/// How an agent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// It says so, and finishes what it holds.
    Orderly,
    /// Without a word, and its work is gone.
    Abrupt,
}

/// Why an agent ends a session by itself.
enum Turn {
    /// It was to go without a word, or its connection is to break.
    Break,
    /// It was to go in order.
    Leave,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub status: Status,
    /// For how long it was welcome.
    pub lived: Duration,
}

/// A session that the coordinator has welcomed.
struct Opened {
    orders: Streaming<CoordinatorFrame>,
    welcome: v1::Welcome,
    /// What came with the welcome.
    first: CoordinatorFrame,
}

/// A live session.
struct Session {
    frames: mpsc::Sender<AgentFrame>,
    heartbeat_interval: Duration,
}

impl Agent {
    /// Has one session until it breaks. `dialled` is dropped once the coordinator has answered.
    pub(super) async fn session(&mut self, channel: Channel, dialled: impl Send) -> Broken {
        let (frames, sent) = mpsc::channel(FRAMES_MAX);
        let stop = self.shared.stop.clone();
        let opening = stop.run_until_cancelled(self.open(channel, &frames, sent)).await;
        let opened = opening.unwrap_or_else(|| Err(Status::cancelled("the run is over")));
        drop(dialled);
        let Opened { mut orders, welcome, first } = match opened {
            Ok(opened) => opened,
            Err(status) => return Broken { status, lived: Duration::ZERO },
        };
        let since = Instant::now();
        self.answered = false;
        self.shared.connected(self.index, true);
        let interval = Duration::from_millis(welcome.heartbeat_interval_ms).max(HEARTBEAT_INTERVAL_MIN);
        let session = Session { frames, heartbeat_interval: interval };
        let status = match self.welcomed(&session, &welcome.superseded, first).await {
            Ok(()) => self.pump(session, &mut orders).await,
            Err(status) => status,
        };
        self.shared.connected(self.index, false);
        Broken { status, lived: since.elapsed() }
    }

    async fn open(
        &self,
        channel: Channel,
        frames: &mpsc::Sender<AgentFrame>,
        sent: mpsc::Receiver<AgentFrame>,
    ) -> Result<Opened, Status> {
        send(frames, vec![message(Message::Register(self.registration()))]).await?;
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let opening = async {
            let mut orders = client.session(ReceiverStream::new(sent)).await?.into_inner();
            let mut first = orders.message().await?.unwrap_or_default();
            let welcome = (!first.messages.is_empty()).then(|| first.messages.remove(0));
            match welcome.and_then(|welcome| welcome.message) {
                // Assignments may come with it.
                Some(Order::Welcome(welcome)) => Ok(Opened { orders, welcome, first }),
                other => Err(Status::internal(format!("the session began with {other:?} and not with a welcome"))),
            }
        };
        let late = |_| Status::deadline_exceeded(format!("no welcome within {} s", WELCOME_MAX.as_secs()));
        timeout(WELCOME_MAX, opening).await.map_err(late)?
    }

    fn registration(&self) -> Register {
        let shared = &self.shared;
        let kind = if self.specialist { SPECIALIST_KIND } else { KIND };
        let run = (RUN_LABEL.to_owned(), shared.ledger.run().to_owned());
        let region = self.region.clone().map(|region| (REGION_LABEL.to_owned(), region));
        Register {
            agent_id: shared.ledger.agent_id(self.index),
            instance_id: self.instance_id.clone(),
            kinds: vec![kind.into()],
            labels: region.into_iter().chain([run]).collect(),
            capacity: Some(v1::Resources { slots: shared.slots, ..v1::Resources::default() }),
            version: env!("CARGO_PKG_VERSION").into(),
            held: self.held.attempts(),
            ..Register::default()
        }
    }

    /// Goes on with what is held, and says so.
    async fn welcomed(
        &mut self,
        session: &Session,
        superseded: &[AttemptRef],
        first: CoordinatorFrame,
    ) -> Result<(), Status> {
        let mut steps = Steps::default();
        self.held.superseded(superseded, Instant::now(), &mut steps);
        // All that is held is told anew; what the steps say is part of it.
        steps.messages.clear();
        steps.messages.extend(self.held.starts());
        steps.messages.extend(self.held.unacknowledged());
        self.obey(first, &mut steps);
        steps.messages.push(self.heartbeat());
        self.carry_out(session, steps).await
    }

    async fn pump(&mut self, session: Session, orders: &mut Streaming<CoordinatorFrame>) -> Status {
        let mut next_heartbeat = Instant::now() + self.jittered(session.heartbeat_interval);
        let mut finish_by = None;
        loop {
            match self.turn() {
                Some(Turn::Break) => return Status::unavailable("the scenario breaks the connection"),
                Some(Turn::Leave) if finish_by.is_none() => {
                    finish_by = Some(Instant::now() + FINISH_MAX);
                    if let Err(status) = send(&session.frames, vec![draining("the scenario says so")]).await {
                        return status;
                    }
                }
                _ => {}
            }
            let finished = self.answered && self.held.is_empty();
            if finish_by.is_some_and(|by| finished || by <= Instant::now()) {
                return end(session, orders).await;
            }
            let wake = self.held.next_due().map_or(next_heartbeat, |due| due.min(next_heartbeat));
            let mut steps = Steps::default();
            tokio::select! {
                frame = orders.message() => match frame {
                    Ok(Some(frame)) => self.obey(frame, &mut steps),
                    Ok(None) => return Status::unavailable("the coordinator ended the session"),
                    Err(status) => return status,
                },
                () = sleep_until(wake.into()) => {}
                // The sender lives as long as the fleet.
                Ok(()) = self.wanted.changed() => {}
                () = self.shared.stop.cancelled() => return leave(session, orders).await,
            }
            let now = Instant::now();
            self.held.advance(now, &mut steps);
            if next_heartbeat <= now {
                next_heartbeat = now + self.jittered(session.heartbeat_interval);
                steps.messages.push(self.heartbeat());
            }
            if let Err(status) = self.carry_out(&session, steps).await {
                return status;
            }
        }
    }

    /// What the scenario wants done with this session.
    fn turn(&mut self) -> Option<Turn> {
        let wanted = *self.wanted.borrow_and_update();
        if self.breaks_seen != wanted.breaks {
            self.breaks_seen = wanted.breaks;
            return Some(Turn::Break);
        }
        wanted.away.map(|away| match away {
            Away::Orderly => Turn::Leave,
            Away::Abrupt => Turn::Break,
        })
    }

    fn obey(&mut self, frame: CoordinatorFrame, steps: &mut Steps) {
        let now = Instant::now();
        for order in frame.messages.into_iter().filter_map(|order| order.message) {
            match order {
                Order::Assignment(assignment) => self.take(assignment, now, steps),
                Order::Cancel(cancel) => {
                    if let Some(attempt) = &cancel.attempt {
                        self.held.cancel(attempt, now, steps);
                    }
                }
                Order::ResultAck(ack) => {
                    let number = ack.attempt.as_ref().and_then(|attempt| self.held.acknowledged(attempt));
                    match (ack.status(), number) {
                        (ResultStatus::Stale, _) => self.shared.ledger.stale(),
                        (ResultStatus::Recorded, Some(number)) => self.shared.ledger.recorded(number),
                        _ => {}
                    }
                }
                // What runs takes milliseconds, and the coordinator gives a draining agent nothing new.
                Order::Drain(_) => self.answered = true,
                Order::Welcome(_) => {}
            }
        }
    }

    fn take(&mut self, assignment: Assignment, now: Instant, steps: &mut Steps) {
        let number = self.shared.ledger.number(&assignment.idempotency_key);
        if let (Some(number), Some(attempt)) = (number, assignment.attempt) {
            let (time, failure_share) = self.shared.work(number);
            let time = time.mul_f64(self.shared.slowness(self.index));
            let draw = mix(self.shared.seed ^ mix(u64::from(number) << 32 | u64::from(attempt.attempt)));
            let fails = failure_share > 0.0 && Rng::with_seed(draw).f64() < failure_share;
            let output = assignment.idempotency_key.into();
            self.held.assign(Job { attempt, number, time, output, fails }, now, steps);
        }
    }

    async fn carry_out(&self, session: &Session, steps: Steps) -> Result<(), Status> {
        if !steps.entries.is_empty() {
            let now = Instant::now();
            self.shared.ledger.busy(self.index, self.held.running(), now);
            for entry in steps.entries {
                match entry {
                    Entry::Started(number) => self.shared.ledger.started(number, now),
                    Entry::Finished(number, ran) => self.shared.ledger.finished(self.index, number, ran),
                }
            }
        }
        if steps.messages.is_empty() {
            return Ok(());
        }
        send(&session.frames, steps.messages).await
    }

    fn heartbeat(&self) -> AgentMessage {
        let running = self.held.running();
        let busy_share = running as f64 / f64::from(self.shared.slots);
        message(Message::Heartbeat(Heartbeat {
            cpu_share: CPU_SHARE_IDLE + CPU_SHARE_PER_BUSY_SHARE * busy_share,
            memory_share: MEMORY_SHARE,
            running_tasks: u32::try_from(running).unwrap_or(u32::MAX),
            ..Heartbeat::default()
        }))
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(1.0 + HEARTBEAT_JITTER * (2.0 * self.rng.f64() - 1.0))
    }
}

/// Says that the agent leaves, so that the coordinator does not take it for dead, and waits for the stream's end.
async fn leave(session: Session, orders: &mut Streaming<CoordinatorFrame>) -> Status {
    match send(&session.frames, vec![draining("the load test is over")]).await {
        Ok(()) => end(session, orders).await,
        Err(status) => status,
    }
}

fn draining(reason: &str) -> AgentMessage {
    message(Message::Draining(Draining { reason: reason.into() }))
}

/// Says nothing more, and waits for the stream's end.
async fn end(session: Session, orders: &mut Streaming<CoordinatorFrame>) -> Status {
    drop(session);
    let ended = async { while let Ok(Some(_)) = orders.message().await {} };
    match timeout(LEAVE_MAX, ended).await {
        Ok(()) => Status::cancelled("left"),
        Err(_) => Status::deadline_exceeded("left without an answer"),
    }
}

async fn send(frames: &mpsc::Sender<AgentFrame>, messages: Vec<AgentMessage>) -> Result<(), Status> {
    frames.send(AgentFrame { messages }).await.map_err(|_| Status::unavailable("the connection is gone"))
}

/// Whether another try can help.
pub(super) fn passes(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::OutOfRange
    )
}
