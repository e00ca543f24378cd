//! The agents of a measure: as many as are asked for in one process, each a session, by default on a connection of its own.
//!
//! An agent is one stream: what it hears makes what it says, without a task or a channel in between, because what agents cost
//! is taken from what is measured on a machine of few cores. Tasks take no time, or all the same fixed time in so many slots.

use std::{collections::VecDeque, io, pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    BenchError,
    wire::{AgentWire, Caller},
};

/// Sessions being opened at once: fewer than the connections that a listener keeps waiting (usually 128 or more).
const DIALS_MAX: usize = 64;
/// Longest wait for all of them.
const GATHERING_MAX: Duration = Duration::from_secs(120);
/// When nothing is due.
const NEVER: Duration = Duration::from_secs(86_400);
/// Heartbeats come up to so much earlier or later, so that a fleet that started together does not beat together.
const HEARTBEAT_JITTER: f64 = 0.1;

/// What agents are to be.
#[derive(Clone, Debug)]
pub struct AgentsPlan {
    /// Where they dial.
    pub url: String,
    /// How many.
    pub agents: u32,
    /// How many share a connection.
    pub agents_per_connection: u32,
    /// Slots of each.
    pub slots: u32,
    /// How long each task takes.
    pub task_time: Duration,
}

/// Agents that are all there; dropped, they go.
pub(super) struct Host {
    _sessions: JoinSet<()>,
    _channels: Vec<Channel>,
    ended: mpsc::Receiver<Status>,
}

impl Host {
    /// Dials, and waits until all are welcome.
    pub(super) async fn gather<W: AgentWire>(wire: W, plan: &AgentsPlan) -> Result<Self, BenchError> {
        crate::files::allow_connections(plan.agents.div_ceil(plan.agents_per_connection))?;
        let endpoint = Endpoint::from_shared(plan.url.clone()).map_err(BenchError::dial(&plan.url))?;
        let (tell_ended, ended) = mpsc::channel(1);
        let mut host = Self { _sessions: JoinSet::new(), _channels: Vec::new(), ended };
        let dials = std::sync::Arc::new(Semaphore::new(DIALS_MAX));
        let (tell_welcome, mut welcomes) = mpsc::channel(DIALS_MAX);
        for index in 0..plan.agents {
            if index % plan.agents_per_connection == 0 {
                host._channels.push(endpoint.connect_lazy());
            }
            let Some(channel) = host._channels.last().cloned() else { break };
            let (wire, plan, dials) = (wire.clone(), plan.clone(), std::sync::Arc::clone(&dials));
            let (welcome, ended) = (tell_welcome.clone(), tell_ended.clone());
            host._sessions.spawn(async move {
                let Ok(permit) = dials.acquire().await else { return };
                if let Err(status) = session(wire, &plan, index, channel, welcome, ended.clone()).await {
                    let _ = ended.try_send(status);
                }
                drop(permit);
            });
        }
        let all = async {
            for _ in 0..plan.agents {
                tokio::select! {
                    _ = welcomes.recv() => {}
                    Some(status) = host.ended.recv() => return Err(BenchError::Session(Box::new(status))),
                }
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(GATHERING_MAX, all).await;
        in_time.map_err(|_| BenchError::Late { what: "all agents are welcome", waited: GATHERING_MAX })??;
        Ok(host)
    }

    /// Waits until a session ends, which none should.
    pub(super) async fn ended(&mut self) -> BenchError {
        match self.ended.recv().await {
            Some(status) => BenchError::Session(Box::new(status)),
            None => BenchError::io("keep the sessions")(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Opens a session and waits until it is welcome. It goes on by itself, as the body of its request.
async fn session<W: AgentWire>(
    wire: W,
    plan: &AgentsPlan,
    index: u32,
    channel: Channel,
    welcome: mpsc::Sender<()>,
    ended: mpsc::Sender<Status>,
) -> Result<(), Status> {
    let (tell_orders, orders) = oneshot::channel();
    let (tell_welcome, welcomed) = oneshot::channel();
    let agent = Agent {
        hello: Some(wire.hello(index, plan.slots)),
        wire,
        orders: Orders::Opening(orders),
        jobs: VecDeque::new(),
        slots_free: VecDeque::from(vec![Instant::now(); plan.slots as usize]),
        task_time: plan.task_time,
        heartbeats: None,
        timer: Box::pin(sleep_until(Instant::now() + NEVER)),
        welcome: Some(tell_welcome),
        ended,
    };
    let opened = Caller::new(channel).streaming(W::SESSION, agent.stream()).await?;
    let _ = tell_orders.send(opened);
    welcomed.await.map_err(|_| Status::unavailable("the session ended before a welcome"))?;
    let _ = welcome.send(()).await;
    Ok(())
}

enum Orders<D> {
    Opening(oneshot::Receiver<Streaming<D>>),
    Open(Box<Streaming<D>>),
}

struct Heartbeats {
    interval: Duration,
    next: Instant,
}

struct Agent<W: AgentWire> {
    wire: W,
    hello: Option<W::Up>,
    orders: Orders<W::Down>,
    /// What it works on, and when that is done.
    jobs: VecDeque<(Instant, W::Job)>,
    /// When each slot is free again, the next one first.
    slots_free: VecDeque<Instant>,
    task_time: Duration,
    heartbeats: Option<Heartbeats>,
    timer: Pin<Box<Sleep>>,
    welcome: Option<oneshot::Sender<()>>,
    ended: mpsc::Sender<Status>,
}

/// Tasks that were just heard of.
struct Heard<J>(Vec<J>);

impl<J> Extend<J> for Heard<J> {
    fn extend<T: IntoIterator<Item = J>>(&mut self, jobs: T) {
        self.0.extend(jobs);
    }
}

impl<W: AgentWire> Agent<W> {
    /// What it says.
    fn stream(self) -> impl Stream<Item = W::Up> + Send + 'static {
        stream::unfold(self, |mut agent| async move {
            match agent.next().await {
                Ok(said) => Some((said, agent)),
                Err(status) => {
                    let _ = agent.ended.try_send(status);
                    None
                }
            }
        })
    }

    async fn next(&mut self) -> Result<W::Up, Status> {
        if let Some(hello) = self.hello.take() {
            return Ok(hello);
        }
        if let Orders::Opening(orders) = &mut self.orders {
            let opened = orders.await.map_err(|_| Status::unavailable("the session was not opened"))?;
            self.orders = Orders::Open(Box::new(opened));
        }
        loop {
            let Orders::Open(orders) = &mut self.orders else { return Err(Status::internal("it is not open")) };
            let down = tokio::select! {
                biased;
                down = orders.message() => Some(down?.ok_or_else(|| Status::unavailable("the session ended"))?),
                () = self.timer.as_mut() => None,
            };
            let said = match down {
                Some(down) => self.heard(down),
                None => self.due(Instant::now()),
            };
            if let Some(said) = said {
                return Ok(said);
            }
        }
    }

    fn heard(&mut self, down: W::Down) -> Option<W::Up> {
        let mut jobs = Heard(Vec::new());
        if let Some(interval_ms) = self.wire.heard(down, &mut jobs) {
            let _ = self.welcome.take().map(|welcome| welcome.send(()));
            if interval_ms > 0 {
                let interval = Duration::from_millis(interval_ms);
                self.heartbeats =
                    Some(Heartbeats { interval, next: Instant::now() + interval.mul_f64(fastrand::f64()) });
                self.set_timer();
            }
        }
        if jobs.0.is_empty() {
            return None;
        }
        if self.task_time.is_zero() {
            return Some(self.wire.done(jobs.0.into_iter(), Duration::ZERO));
        }
        let now = Instant::now();
        for job in jobs.0 {
            let begins = self.slots_free.pop_front().unwrap_or(now).max(now);
            let done = begins + self.task_time;
            self.slots_free.push_back(done);
            self.jobs.push_back((done, job));
        }
        self.set_timer();
        None
    }

    /// What is due now: results first, or a heartbeat.
    fn due(&mut self, now: Instant) -> Option<W::Up> {
        let count = self.jobs.iter().take_while(|(done, _)| *done <= now).count();
        let said = if count > 0 {
            let done = self.jobs.drain(..count).map(|(_, job)| job);
            Some(self.wire.done(done, self.task_time))
        } else {
            let due = self.heartbeats.as_mut().filter(|heartbeats| heartbeats.next <= now);
            due.and_then(|heartbeats| {
                let jitter = 1.0 + HEARTBEAT_JITTER * (2.0 * fastrand::f64() - 1.0);
                heartbeats.next = now + heartbeats.interval.mul_f64(jitter);
                self.wire.heartbeat()
            })
        };
        self.set_timer();
        said
    }

    fn set_timer(&mut self) {
        let heartbeat = self.heartbeats.as_ref().map(|heartbeats| heartbeats.next);
        let job = self.jobs.front().map(|(done, _)| *done);
        let next = heartbeat.into_iter().chain(job).min();
        self.timer.as_mut().reset(next.unwrap_or_else(|| Instant::now() + NEVER));
    }
}
