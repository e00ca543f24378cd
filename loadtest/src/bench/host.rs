//! What the hidden commands of the bench run: a server, agents or a client, in a process of its own.

use std::{
    fmt,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use evenkeel_proto::v1::Delivery;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    BenchError,
    agents::{AgentsPlan, Host},
    client::{self, Closed, Open, Told, Trouble},
    nats::Agents,
    wire::{ClientWire, Evenkeel, Yardstick},
    yardstick,
};

/// What agents and clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The yardstick's language.
    Yardstick,
    /// Evenkeel's, tasks on disk.
    Durable,
    /// Evenkeel's, tasks in memory.
    Ephemeral,
    /// That of NATS, with a queue group.
    Nats,
    /// The same, with a work queue of JetStream.
    Jetstream,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yardstick => "yardstick",
            Self::Durable => "durable",
            Self::Ephemeral => "ephemeral",
            Self::Nats => "nats",
            Self::Jetstream => "jetstream",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Yardstick, Self::Durable, Self::Ephemeral, Self::Nats, Self::Jetstream];
        all.into_iter().find(|protocol| protocol.to_string() == text).ok_or_else(|| format!("`{text}` is no protocol"))
    }
}

/// In which words.
enum Language {
    Yardstick(Yardstick),
    Evenkeel(Evenkeel),
    /// With a work queue, or without.
    Nats(bool),
}

impl Protocol {
    const fn language(self) -> Language {
        match self {
            Self::Yardstick => Language::Yardstick(Yardstick),
            Self::Durable => Language::Evenkeel(Evenkeel { delivery: Delivery::Durable }),
            Self::Ephemeral => Language::Evenkeel(Evenkeel { delivery: Delivery::Ephemeral }),
            Self::Nats => Language::Nats(false),
            Self::Jetstream => Language::Nats(true),
        }
    }

    /// Whether it keeps tasks on disk.
    pub(super) const fn is_kept(self) -> bool {
        matches!(self, Self::Durable | Self::Jetstream)
    }

    /// Whether it is that of a program that has to be installed.
    pub(super) const fn is_nats(self) -> bool {
        matches!(self, Self::Nats | Self::Jetstream)
    }
}

/// What a client is to do.
#[derive(Clone, Copy, Debug)]
pub struct ClientPlan {
    /// Its language.
    pub protocol: Protocol,
    /// The load.
    pub load: Load,
    /// Tasks that count, in a closed loop.
    pub tasks: u64,
    /// Tasks before them.
    pub warm_up: u64,
    /// Tasks in flight.
    pub in_flight: u64,
    /// Tasks in one message.
    pub batch: u64,
    /// Bulk tasks per second, in an open loop.
    pub rate: f64,
    /// Urgent ones.
    pub urgent_rate: f64,
    /// How long an open loop counts, after a quarter of it as a warm-up.
    pub seconds: f64,
}

/// How tasks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As calls, each when one before it has ended.
    Calls,
    /// In batches, when tasks before them have ended.
    Stream,
    /// At a rate.
    Open,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calls => "calls",
            Self::Stream => "stream",
            Self::Open => "open",
        })
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Calls, Self::Stream, Self::Open];
        all.into_iter().find(|load| load.to_string() == text).ok_or_else(|| format!("`{text}` is no load"))
    }
}

/// Serves the yardstick until told to stop. Its address goes to stdout.
///
/// # Errors
/// If it cannot listen.
pub async fn run_server(stop: CancellationToken) -> Result<(), BenchError> {
    let listener =
        TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(BenchError::io("listen"))?;
    let address = listener.local_addr().map_err(BenchError::io("listen"))?;
    line(&format!("http://{address}")).map_err(BenchError::io("say where it listens"))?;
    yardstick::serve(listener, stop).await.map_err(BenchError::io("serve"))
}

/// Runs agents until told to stop. Once all are welcome, `ready` goes to stdout.
///
/// # Errors
/// If they are not, or a session ends.
pub async fn run_agents(protocol: Protocol, plan: AgentsPlan, stop: CancellationToken) -> Result<(), BenchError> {
    match protocol.language() {
        Language::Yardstick(wire) => stay(Host::gather(wire, &plan).await?, stop, Host::ended).await,
        Language::Evenkeel(wire) => stay(Host::gather(wire, &plan).await?, stop, Host::ended).await,
        Language::Nats(kept) => stay(Agents::gather(&plan, kept).await?, stop, Agents::ended).await,
    }
}

async fn stay<A>(
    mut agents: A,
    stop: CancellationToken,
    ended: impl AsyncFnOnce(&mut A) -> BenchError,
) -> Result<(), BenchError> {
    line("ready").map_err(BenchError::io("say that the agents are there"))?;
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = ended(&mut agents) => Err(error),
    }
}

/// Runs a client. What it has to tell goes to stdout, as JSON.
///
/// # Errors
/// If there is no connection. Whatever goes wrong later is told.
pub async fn run_client(url: &str, plan: ClientPlan) -> Result<(), BenchError> {
    let ended = match plan.protocol.language() {
        Language::Yardstick(wire) => drive(wire, client::connect(url).await?, plan).await,
        Language::Evenkeel(wire) => drive(wire, client::connect(url).await?, plan).await,
        Language::Nats(kept) => plan.closed().nats(url, kept, tell).await,
    };
    tell(&ended.unwrap_or_else(Told::from));
    Ok(())
}

impl ClientPlan {
    const fn closed(self) -> Closed {
        let Self { tasks, warm_up, in_flight, batch, .. } = self;
        Closed { tasks, warm_up, in_flight, batch }
    }
}

async fn drive<W: ClientWire>(wire: W, channel: Channel, plan: ClientPlan) -> Result<Told, Trouble> {
    match plan.load {
        Load::Calls => plan.closed().calls(wire, channel, tell).await,
        Load::Stream => plan.closed().stream(wire, channel, tell).await,
        Load::Open => {
            let (rate, urgent_rate, lasts) = (plan.rate, plan.urgent_rate, Duration::from_secs_f64(plan.seconds));
            let measured = Open { rate, urgent_rate, warm_up: lasts / 4, lasts }.run(wire, channel, tell).await?;
            Ok(Told::Verified { tasks: measured.tasks })
        }
    }
}

fn tell(told: &Told) {
    // Without a reader there is nobody to measure for; the process ends with its work.
    let _ = line(&serde_json::json!(told).to_string());
}

fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
