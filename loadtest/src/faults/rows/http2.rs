//! Peers that abuse HTTP/2: what it costs the coordinator, and others.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        Fault, Lab, Seen,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::FaultError,
        load::{Load, LoadOptions, task},
    },
    network::ends,
};

/// How long each abuse lasts, and the quiet before the first.
const ABUSE_FOR: Duration = Duration::from_secs(4);
/// Between two connections of one abuser.
const REDIAL: Duration = Duration::from_millis(100);
/// What has to be closed is closed within this: the times of the configuration below, a round, and a busy machine.
const LAST_MAX: Duration = Duration::from_millis(3_500);
/// Memory above that before the first abuse.
const GROWTH_MAX_BYTES: u64 = 256 << 20;
/// Others may be slower by this factor,
const SLOWDOWN_MAX: f64 = 5.0;
/// or as slow as this: on a small machine the abuser's own work takes as much as the coordinator's.
const P99_MAX: Duration = Duration::from_millis(250);
/// Peers that say nothing in time, or read nothing in time, are closed after this; shorter than the default for a short test.
const CONFIG: &str = "[limits]\ngreeting_timeout_ms = 2000\nunread_timeout_ms = 2000\n";

/// Every abuse, one after the other.
pub const ABUSE: Fault = Fault {
    name: "http2-abuse",
    fault: "rapid reset, floods of pings, settings, priorities and continuations, frames of one byte, thousands of idle streams, \
            messages that stop halfway, handshakes that stall, pongs that nobody reads; 4 s each",
    passes_when: "memory within 256 MiB of before; another client's p99 within 5x of before or 250 ms; what has to be closed is \
                  closed; every task succeeds; no promise broken",
    on_request: false,
    run: |lab| abuse(lab).boxed(),
};

async fn abuse(lab: &mut Lab) -> Result<Seen, FaultError> {
    let options = CoordinatorOptions { config: CONFIG.into(), ..CoordinatorOptions::default() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let host = HostOptions { agents: 2, slots: 16, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", host)?;
    clients.until_agents(2).await?;
    let options = LoadOptions { rate: Some(100.0), batch: 1, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    sleep(ABUSE_FOR).await;
    let before_p99 = p99(&load.take_acceptance_us());
    let before_bytes = coordinator.process().resident_bytes();
    let bound = before_p99.mul_f64(SLOWDOWN_MAX).max(P99_MAX);
    let (mut passed, mut told) = (true, format!("before: p99 {}", ms(before_p99)));
    for kind in ABUSES {
        let abused = abuse_with(*kind, coordinator.grpc()).await;
        let p99 = p99(&load.take_acceptance_us());
        let growth = coordinator.process().resident_bytes().saturating_sub(before_bytes);
        let closed = abused.longest <= LAST_MAX || !kind.must_be_closed();
        passed &= closed && p99 <= bound && growth <= GROWTH_MAX_BYTES;
        told += &format!(
            "; {}: p99 {}, +{} MiB, {} connections, the longest {:.1} s",
            kind.name(),
            ms(p99),
            growth >> 20,
            abused.connections,
            abused.longest.as_secs_f64()
        );
    }
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let (succeeded, others) = ends(&judged.history);
    told += &format!("; {succeeded} tasks succeeded, {others} did not");
    Ok(judged.seen(passed && succeeded > 0 && others == 0, told))
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn p99(sorted_us: &[u64]) -> Duration {
    let at = (sorted_us.len() * 99).div_ceil(100).saturating_sub(1);
    Duration::from_micros(sorted_us.get(at).copied().unwrap_or(u64::MAX))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abuse {
    RapidReset,
    Pings,
    PingsUnread,
    Settings,
    Priorities,
    Continuations,
    TinyFrames,
    IdleStreams,
    HalfMessages,
    StalledHandshakes,
}

const ABUSES: &[Abuse] = &[
    Abuse::RapidReset,
    Abuse::Pings,
    Abuse::PingsUnread,
    Abuse::Settings,
    Abuse::Priorities,
    Abuse::Continuations,
    Abuse::TinyFrames,
    Abuse::IdleStreams,
    Abuse::HalfMessages,
    Abuse::StalledHandshakes,
];

impl Abuse {
    fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid reset",
            Self::Pings => "pings",
            Self::PingsUnread => "pings with unread answers",
            Self::Settings => "settings",
            Self::Priorities => "priorities",
            Self::Continuations => "continuations",
            Self::TinyFrames => "frames of one byte",
            Self::IdleStreams => "idle streams",
            Self::HalfMessages => "half messages",
            Self::StalledHandshakes => "stalled handshakes",
        }
    }

    /// Connections that do it at a time.
    fn connections(self) -> usize {
        match self {
            Self::IdleStreams | Self::HalfMessages => 8,
            Self::StalledHandshakes => 2_000,
            _ => 2,
        }
    }

    /// The others keep what they have: they cost no more than an honest peer does.
    fn must_be_closed(self) -> bool {
        matches!(
            self,
            Self::RapidReset
                | Self::PingsUnread
                | Self::Continuations
                | Self::TinyFrames
                | Self::HalfMessages
                | Self::StalledHandshakes
        )
    }

    /// What is said once, and what is said again and again; nothing: the peer sits on what it has.
    fn script(self) -> (Vec<u8>, Vec<u8>) {
        let mut once = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let mut again = Vec::new();
        match self {
            // Streams have numbers of their own.
            Self::RapidReset | Self::HalfMessages => {}
            Self::Pings | Self::PingsUnread => again = frame(PING, 0, 0, &[7; 8]).repeat(FRAMES),
            Self::Settings => again = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(FRAMES),
            Self::Priorities => again = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]).repeat(FRAMES),
            Self::Continuations => {
                once.extend(frame(HEADERS, 0, 1, &headers(SUBMIT)));
                again = frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y").repeat(FRAMES);
            }
            Self::TinyFrames => {
                once.extend(frame(HEADERS, END_HEADERS, 1, &headers(SUBMIT)));
                once.extend(frame(DATA, 0, 1, &MESSAGE_OF_A_MEBIBYTE));
                again = frame(DATA, 0, 1, b"x").repeat(FRAMES);
            }
            Self::IdleStreams => {
                for stream in (1..2 * 1_024).step_by(2) {
                    once.extend(frame(HEADERS, END_HEADERS, stream, &headers(SUBMIT_STREAM)));
                }
            }
            Self::StalledHandshakes => once.truncate(10),
        }
        (once, again)
    }
}

/// What became of the abusers' connections.
#[derive(Default)]
struct Abused {
    connections: usize,
    longest: Duration,
}

async fn abuse_with(kind: Abuse, address: &str) -> Abused {
    let until = Instant::now() + ABUSE_FOR;
    let mut peers = JoinSet::new();
    for _ in 0..kind.connections() {
        peers.spawn(abuse_on(kind, address.to_owned(), until));
    }
    let mut abused = Abused::default();
    while let Some(Ok(lasted)) = peers.join_next().await {
        abused.connections += lasted.len();
        abused.longest = lasted.into_iter().fold(abused.longest, Duration::max);
    }
    abused
}

/// Abuses connection after connection; answers how long each lasted.
async fn abuse_on(kind: Abuse, address: String, until: Instant) -> Vec<Duration> {
    let mut lasted = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        abuse_once(kind, &address, until).await;
        lasted.push(began.elapsed());
        sleep(REDIAL).await;
    }
    lasted
}

/// Abuses one connection until it is closed, or nothing that it asked for is held any more, or the time is up.
async fn abuse_once(kind: Abuse, address: &str, until: Instant) {
    let Ok(stream) = TcpStream::connect(address).await else { return };
    let (mut reads, mut writes) = stream.into_split();
    let (once, again) = kind.script();
    let speaks = async {
        writes.write_all(&once).await?;
        if kind == Abuse::HalfMessages {
            // By then the windows are as large as the coordinator wants them.
            sleep(REDIAL).await;
            writes.write_all(&half_messages()).await?;
        }
        if kind == Abuse::RapidReset {
            return flood_resets(&mut writes).await;
        }
        while !again.is_empty() {
            writes.write_all(&again).await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let hears = async {
        let mut answer = [0; 16 << 10];
        if kind == Abuse::PingsUnread {
            std::future::pending::<()>().await;
        }
        let mut resets = Resets::default();
        while let Ok(count @ 1..) = reads.read(&mut answer).await {
            // A peer of whose messages none found room is harmless, and need not be closed.
            if kind == Abuse::HalfMessages && resets.count(&answer[..count]) == HALF_MESSAGES {
                return;
            }
        }
    };
    let closed = async {
        tokio::select! {
            _ = speaks => {}
            () = hears => {}
        }
    };
    // At the end what is still open is closed.
    let _ = timeout(until.saturating_duration_since(Instant::now()), closed).await;
}

/// Streams with the beginning of a message each, all that the window of a connection lets through.
fn half_messages() -> Vec<u8> {
    let mut frames = Vec::new();
    for stream in (1..).step_by(2).take(HALF_MESSAGES) {
        frames.extend(frame(HEADERS, END_HEADERS, stream, &headers(SUBMIT)));
        frames.extend(frame(DATA, 0, stream, &MESSAGE_OF_A_MEBIBYTE));
        for _ in 0..3 {
            frames.extend(frame(DATA, 0, stream, &[0; 16 << 10]));
        }
    }
    frames
}

/// Counts the streams that the other side resets.
#[derive(Default)]
struct Resets {
    /// The beginning of a frame whose end is still to come.
    rest: Vec<u8>,
    seen: usize,
}

impl Resets {
    fn count(&mut self, bytes: &[u8]) -> usize {
        self.rest.extend_from_slice(bytes);
        while let [a, b, c, sort, ..] = *self.rest
            && let end = FRAME_HEAD_BYTES + u32::from_be_bytes([0, a, b, c]) as usize
            && self.rest.len() >= end
        {
            self.seen += usize::from(sort == RST_STREAM);
            self.rest.drain(..end);
        }
        self.seen
    }
}

/// Opens streams and resets each at once.
async fn flood_resets(writes: &mut tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()> {
    let mut stream = 1;
    loop {
        let mut frames = Vec::new();
        for _ in 0..FRAMES {
            frames.extend(frame(HEADERS, END_HEADERS, stream, &headers(SUBMIT)));
            frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            stream += 2;
        }
        writes.write_all(&frames).await?;
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames in one write.
const FRAMES: usize = 200;
/// Half messages of a mebibyte on one connection: on all eight more than the coordinator has room for.
const HALF_MESSAGES: usize = 80;
/// Length, sort, flags and stream.
const FRAME_HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// How a gRPC message begins: not compressed, a mebibyte long.
const MESSAGE_OF_A_MEBIBYTE: [u8; 5] = [0, 0, 0x10, 0, 0];
const SUBMIT: &str = "/evenkeel.v1.TaskService/Submit";
const SUBMIT_STREAM: &str = "/evenkeel.v1.TaskService/SubmitStream";

fn frame(sort: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let head = [length[1], length[2], length[3], sort, flags];
    [head.as_slice(), &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call, without compression but for the names that HTTP/2 numbers.
fn headers(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [
        // `:method: POST` and `:scheme: http` have numbers as a whole; the names of the others have.
        vec![0x83, 0x86, 0x04],
        text(path),
        vec![0x01],
        text("localhost"),
        vec![0x0f, 0x10],
        text("application/grpc"),
        vec![0x00],
        text("te"),
        text("trailers"),
    ]
    .concat()
}
