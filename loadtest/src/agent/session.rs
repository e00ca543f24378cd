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
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use fastrand::Rng;
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    fleet::Shared,
    held::{Entry, Held, Job, Steps, message},
};
use crate::plan::{KIND, RUN_LABEL};

/// Frames that wait for the connection; each holds all that one step had to say.
const FRAMES_MAX: usize = 16;
/// Longest wait for the welcome.
const WELCOME_MAX: Duration = Duration::from_secs(30);
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
        self.shared.connected(1);
        let interval = Duration::from_millis(welcome.heartbeat_interval_ms).max(HEARTBEAT_INTERVAL_MIN);
        let session = Session { frames, heartbeat_interval: interval };
        let status = match self.welcomed(&session, &welcome.superseded, first).await {
            Ok(()) => self.pump(session, &mut orders).await,
            Err(status) => status,
        };
        self.shared.connected(-1);
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
        Register {
            agent_id: shared.ledger.agent_id(self.index),
            instance_id: self.instance_id.clone(),
            kinds: vec![KIND.into()],
            labels: [(RUN_LABEL.to_owned(), shared.ledger.run().to_owned())].into(),
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
        loop {
            let wake = self.held.next_due().map_or(next_heartbeat, |due| due.min(next_heartbeat));
            let mut steps = Steps::default();
            tokio::select! {
                frame = orders.message() => match frame {
                    Ok(Some(frame)) => self.obey(frame, &mut steps),
                    Ok(None) => return Status::unavailable("the coordinator ended the session"),
                    Err(status) => return status,
                },
                () = sleep_until(wake.into()) => {}
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
                Order::Drain(_) | Order::Welcome(_) => {}
            }
        }
    }

    fn take(&mut self, assignment: Assignment, now: Instant, steps: &mut Steps) {
        let number = self.shared.ledger.number(&assignment.idempotency_key);
        if let (Some(number), Some(attempt)) = (number, assignment.attempt) {
            let time = self.shared.task_time.of_task(self.shared.seed, number);
            let output = assignment.idempotency_key.into();
            self.held.assign(Job { attempt, number, time, output }, now, steps);
        }
    }

    async fn carry_out(&self, session: &Session, steps: Steps) -> Result<(), Status> {
        for entry in steps.entries {
            match entry {
                Entry::Started(number) => self.shared.ledger.started(number),
                Entry::Finished => self.shared.ledger.finished(self.index),
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
    let draining = message(Message::Draining(Draining { reason: "the load test is over".into() }));
    let sent = send(&session.frames, vec![draining]).await;
    drop(session);
    let ended = async { while let Ok(Some(_)) = orders.message().await {} };
    let in_time = timeout(LEAVE_MAX, ended).await.is_ok();
    match sent {
        Ok(()) if in_time => Status::cancelled("left"),
        Ok(()) => Status::deadline_exceeded("left without an answer"),
        Err(status) => status,
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
