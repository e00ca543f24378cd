//! A network that can be made to fail: a proxy on the loopback that stands between programs under test.
//!
//! It listens on a port, dials its target for each connection, and carries bytes both ways. What it does to them is a
//! [`Conditions`] value, a [`Path`] for each direction, which can be changed at any time, for all connections or only for
//! those to come. Nothing is kept without a bound: a direction holds at most [`QUEUED_BYTES_MAX`] and then reads no more,
//! so that the sender feels it as it would on a real network.
//!
//! Bytes are never reordered or altered, and two kinds of loss are told apart. [`Loss::Held`] is what TCP makes of lost
//! packets: nothing arrives, and all of it does once the network has healed, however late. [`Loss::Silent`] is a peer that
//! is gone without a word: what is sent to it vanishes, the connection is never closed and never heals.
//!
//! Rules of the kernel (`tc netem`, `iptables`) were rejected: they need root, and concern the whole machine.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

mod pump;

pub use pump::QUEUED_BYTES_MAX;

/// Connections that wait to be accepted, as elsewhere.
const BACKLOG: u32 = 1_024;
/// Connections made by the proxy itself to fill a backlog of none. The kernel takes one or two.
const FILLERS_MAX: usize = 8;
/// A connection to this machine that takes longer than that is not going to be taken.
const FULL_AFTER: Duration = Duration::from_millis(100);

/// What happens to bytes that go one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// How long they are under way.
    pub delay: Duration,
    /// And so much longer at most, drawn for each piece. What was sent first arrives first.
    pub jitter: Duration,
    /// Whether they arrive.
    pub loss: Loss,
    /// They arrive in pieces of 1 to so many bytes. None: as they come.
    pub pieces_max: Option<usize>,
    /// So many of them a second at most.
    pub bytes_per_s: Option<u64>,
    /// They arrive, but word that the sender has closed or broken off does not.
    pub ends_lost: bool,
    /// The connection is reset after 1 to so many of them, drawn once for each connection and change of conditions.
    pub reset_within: Option<u64>,
}

/// Whether bytes arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// They do.
    #[default]
    None,
    /// Not before this ends; then all of them.
    Held,
    /// Never, and nothing after them on that connection, not even its end.
    Silent,
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// From those who dial to the target.
    pub to_server: Path,
    /// And back.
    pub to_client: Path,
}

impl Conditions {
    /// The same both ways.
    pub fn both(path: Path) -> Self {
        Self { to_server: path, to_client: path }
    }
}

/// What becomes of those who dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepting {
    /// They are let in.
    #[default]
    All,
    /// They are refused, as where nobody listens.
    Refused,
    /// They get no answer, as where packets are thrown away.
    Hanging,
}

/// A proxy. Dropping it ends all its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: watch::Sender<Accepting>,
    /// What the listener has been brought to.
    accepts: watch::Receiver<Accepting>,
    acceptor: AbortHandle,
    runtime: Option<Runtime>,
}

struct Shared {
    target: String,
    state: Mutex<State>,
    accepted: AtomicU64,
    resets: AtomicU64,
}

struct State {
    /// For connections to come.
    later: Conditions,
    live: BTreeMap<u64, Live>,
    rng: Rng,
}

struct Live {
    conditions: watch::Sender<Conditions>,
    reset: CancellationToken,
}

impl Proxy {
    /// Starts one before this target (`host:port`), which does nothing to its connections yet.
    ///
    /// # Errors
    /// If there is no port for it.
    pub fn start(target: impl Into<String>, seed: u64) -> io::Result<Self> {
        // A thread of its own: clients of the same process are measured, and must not wait for what passes here.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build()?;
        let entered = runtime.enter();
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), BACKLOG)?;
        let address = listener.local_addr()?;
        let state = State { later: Conditions::default(), live: BTreeMap::new(), rng: Rng::with_seed(seed) };
        let shared = Shared {
            target: target.into(),
            state: Mutex::new(state),
            accepted: AtomicU64::new(0),
            resets: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let (accepting, wanted) = watch::channel(Accepting::All);
        let (told, accepts) = watch::channel(Accepting::All);
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&shared), wanted, told)).abort_handle();
        drop(entered);
        Ok(Self { address, shared, accepting, accepts, acceptor, runtime: Some(runtime) })
    }

    /// The URL to dial instead of the target's.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on for all connections.
    pub fn set(&self, conditions: Conditions) {
        self.set_live(conditions);
        self.set_later(conditions);
    }

    /// For the connections that there are.
    pub fn set_live(&self, conditions: Conditions) {
        self.shared.state().live.values().for_each(|live| {
            live.conditions.send_replace(conditions);
        });
    }

    /// For those to come.
    pub fn set_later(&self, conditions: Conditions) {
        self.shared.state().later = conditions;
    }

    /// Resets all connections that there are (RST), in the middle of whatever they were about. Answers how many.
    pub fn reset_all(&self) -> usize {
        let state = self.shared.state();
        state.live.values().for_each(|live| live.reset.cancel());
        state.live.len()
    }

    /// What becomes of those who dial from now on. Returns once it is so.
    ///
    /// # Errors
    /// If the proxy could not listen again.
    pub async fn accept(&self, accepting: Accepting) -> io::Result<()> {
        self.accepting.send_replace(accepting);
        let mut accepts = self.accepts.clone();
        let reached = accepts.wait_for(|accepts| *accepts == accepting).await;
        reached.map(drop).map_err(|_| io::Error::other("the proxy does not listen any more"))
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.shared.state().live.len()
    }

    /// Connections ever.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// Connections that it has reset.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port is taken again while connections of its former listener go on.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn accept_all(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<Accepting>,
    told: watch::Sender<Accepting>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    // While nobody is accepted: the connections that fill the backlog.
    let mut fillers = Vec::new();
    loop {
        let accepting = *wanted.borrow_and_update();
        if accepting != *told.borrow() {
            fillers.clear();
            // The port has to be free before it is taken anew.
            drop(listener.take());
            listener = match accepting {
                Accepting::All => Some(listen(address, BACKLOG)?),
                Accepting::Refused => None,
                Accepting::Hanging => {
                    let listener = listen(address, 0)?;
                    fillers = fill(address).await;
                    Some(listener)
                }
            };
            told.send_replace(accepting);
        }
        let next = async {
            match &listener {
                Some(listener) if accepting == Accepting::All => listener.accept().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = next => if let Ok((client, _)) = accepted {
                connections.spawn(connection(client, Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
            changed = wanted.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Connects until the kernel takes no more, so that the next one who dials gets no answer.
async fn fill(address: SocketAddr) -> Vec<TcpStream> {
    let mut fillers = Vec::new();
    while fillers.len() < FILLERS_MAX {
        match timeout(FULL_AFTER, TcpStream::connect(address)).await {
            Ok(Ok(filler)) => fillers.push(filler),
            _ => break,
        }
    }
    fillers
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let number = shared.accepted.fetch_add(1, Relaxed);
    let reset = CancellationToken::new();
    let (conditions, rng) = {
        let mut state = shared.state();
        let (sender, receiver) = watch::channel(state.later);
        state.live.insert(number, Live { conditions: sender, reset: reset.clone() });
        (receiver, state.rng.fork())
    };
    // Removes it also when the proxy is dropped.
    let _live = Removed { number, shared: &shared };
    let Ok(mut server) = TcpStream::connect(&shared.target).await else {
        // Nobody is there: as good as refused.
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        // A piece is a segment, and not gathered with the next one.
        let _ = stream.set_nodelay(true);
    }
    let carried = tokio::select! {
        carried = pump::carry(&mut client, &mut server, conditions, rng) => carried,
        () = reset.cancelled() => Err(pump::Broken::Reset),
    };
    if let Err(broken) = carried {
        if broken == pump::Broken::Reset {
            shared.resets.fetch_add(1, Relaxed);
        }
        // Without lingering a close is a reset. A connection that is broken on one side is reset on the other.
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

struct Removed<'a> {
    number: u64,
    shared: &'a Shared,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        self.shared.state().live.remove(&self.number);
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
