use std::time::Instant;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::timeout,
};

use super::*;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// A wait for what must not come.
const NOTHING: Duration = Duration::from_millis(150);

/// A server that sends back whatever it gets, and ends when the other side does.
async fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.map(drop)
            });
        }
    };
    (address, tokio::spawn(serve))
}

struct Bench {
    proxy: Proxy,
    server: JoinHandle<()>,
}

impl Bench {
    async fn new() -> Self {
        let (target, server) = echo().await;
        Self { proxy: Proxy::start(target.to_string(), 7).unwrap(), server }
    }

    async fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection that has carried something.
    async fn dial_through(&self) -> TcpStream {
        let mut stream = self.dial().await;
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        stream
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Sends bytes and waits for as many.
async fn say(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    hear(stream, bytes.len()).await
}

async fn hear(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut heard = vec![0; length];
    timeout(LONG, stream.read_exact(&mut heard)).await.expect("an answer in time")?;
    Ok(heard)
}

async fn hears_nothing(stream: &mut TcpStream) -> bool {
    timeout(NOTHING, stream.read_u8()).await.is_err()
}

fn bytes(length: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(1);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// Sends and receives at once, so that neither side has to hold all of it.
async fn round_trip(stream: &mut TcpStream, sent: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = stream.split();
    let mut heard = vec![0; sent.len()];
    let both = async { tokio::try_join!(to.write_all(sent), from.read_exact(&mut heard)) };
    timeout(LONG, both).await.expect("all of it in time").unwrap();
    heard
}

#[tokio::test]
async fn without_faults_bytes_and_ends_go_through() {
    let bench = Bench::new().await;
    let mut stream = bench.dial().await;
    let sent = bytes(1 << 20);
    assert!(round_trip(&mut stream, &sent).await == sent);
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(LONG, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap(), 0);
    assert_eq!((bench.proxy.accepted(), bench.proxy.resets()), (1, 0));
}

#[tokio::test]
async fn a_delay_is_one_of_each_way_and_keeps_the_order() {
    let bench = Bench::new().await;
    let mut stream = bench.dial_through().await;
    let delay = Duration::from_millis(60);
    bench.proxy.set(Conditions::both(Path { delay, jitter: delay, ..Path::default() }));
    let began = Instant::now();
    assert_eq!(say(&mut stream, b"there and back").await.unwrap(), b"there and back");
    assert!(began.elapsed() >= 2 * delay, "it took {:?}", began.elapsed());
    let sent = bytes(200 << 10);
    assert!(round_trip(&mut stream, &sent).await == sent, "jitter has changed the order");
}

#[tokio::test]
async fn what_is_held_arrives_when_the_network_has_healed() {
    let bench = Bench::new().await;
    let mut stream = bench.dial_through().await;
    bench.proxy.set(Conditions { to_server: Path { loss: Loss::Held, ..Path::default() }, ..Conditions::default() });
    stream.write_all(b"late").await.unwrap();
    assert!(hears_nothing(&mut stream).await);
    bench.proxy.set(Conditions::default());
    assert_eq!(hear(&mut stream, 4).await.unwrap(), b"late");
}

#[tokio::test]
async fn each_direction_is_held_by_itself() {
    let bench = Bench::new().await;
    let mut stream = bench.dial_through().await;
    bench.proxy.set(Conditions { to_client: Path { loss: Loss::Held, ..Path::default() }, ..Conditions::default() });
    stream.write_all(b"heard").await.unwrap();
    assert!(hears_nothing(&mut stream).await);
    // Its echo was only held on the way back: it comes although the way there is closed now.
    bench.proxy.set(Conditions { to_server: Path { loss: Loss::Held, ..Path::default() }, ..Conditions::default() });
    assert_eq!(hear(&mut stream, 5).await.unwrap(), b"heard");
    stream.write_all(b"unheard").await.unwrap();
    assert!(hears_nothing(&mut stream).await);
}

#[tokio::test]
async fn a_held_sender_is_made_to_wait_and_not_buffered_without_end() {
    let bench = Bench::new().await;
    let mut stream = bench.dial_through().await;
    bench.proxy.set(Conditions { to_server: Path { loss: Loss::Held, ..Path::default() }, ..Conditions::default() });
    let piece = bytes(1 << 20);
    let mut sent = 0;
    while timeout(Duration::from_millis(300), stream.write_all(&piece)).await.is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "the proxy swallows without end");
    }
    assert!(sent >= QUEUED_BYTES_MAX / 4, "it holds next to nothing");
}

#[tokio::test]
async fn a_break_does_not_get_past_what_is_held() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::start(target.local_addr().unwrap().to_string(), 7).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut accepted, _) = timeout(LONG, target.accept()).await.unwrap().unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(hear(&mut accepted, 1).await.unwrap(), b"a");
    proxy.set(Conditions { to_server: Path { loss: Loss::Held, ..Path::default() }, ..Conditions::default() });
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(hears_nothing(&mut accepted).await);
    proxy.set(Conditions::default());
    let broken = timeout(LONG, accepted.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn where_ends_are_lost_bytes_arrive_and_the_connection_stays() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::start(target.local_addr().unwrap().to_string(), 7).unwrap();
    proxy.set(Conditions { to_server: Path { ends_lost: true, ..Path::default() }, ..Conditions::default() });
    for linger in [true, false] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut accepted, _) = timeout(LONG, target.accept()).await.unwrap().unwrap();
        client.write_all(b"a").await.unwrap();
        assert_eq!(hear(&mut accepted, 1).await.unwrap(), b"a");
        if !linger {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        assert!(hears_nothing(&mut accepted).await);
    }
}

#[tokio::test]
async fn a_silent_connection_never_heals_and_others_are_well() {
    let bench = Bench::new().await;
    let mut gone = bench.dial_through().await;
    bench.proxy.set_live(Conditions::both(Path { loss: Loss::Silent, ..Path::default() }));
    gone.write_all(b"anybody?").await.unwrap();
    assert!(hears_nothing(&mut gone).await);
    let mut later = bench.dial_through().await;
    bench.proxy.set(Conditions::default());
    gone.write_all(b"still there?").await.unwrap();
    assert!(hears_nothing(&mut gone).await, "it has neither an answer nor an end");
    assert_eq!(say(&mut later, b"yes").await.unwrap(), b"yes");
    assert_eq!(bench.proxy.connections(), 2);
}

#[tokio::test]
async fn conditions_for_later_leave_those_that_there_are_alone() {
    let bench = Bench::new().await;
    let mut before = bench.dial_through().await;
    bench.proxy.set_later(Conditions::both(Path { loss: Loss::Held, ..Path::default() }));
    assert_eq!(say(&mut before, b"well").await.unwrap(), b"well");
    let mut after = bench.dial().await;
    after.write_all(b"held").await.unwrap();
    assert!(hears_nothing(&mut after).await);
}

#[tokio::test]
async fn a_reset_is_a_reset_on_both_sides() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::start(target.local_addr().unwrap().to_string(), 7).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = timeout(LONG, target.accept()).await.unwrap().unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(hear(&mut server, 1).await.unwrap(), b"a");
    assert_eq!(proxy.reset_all(), 1);
    for stream in [&mut client, &mut server] {
        let error = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(proxy.resets(), 1);
}

#[tokio::test]
async fn a_reset_after_so_many_bytes_falls_within_them() {
    let bench = Bench::new().await;
    let path = Path { reset_within: Some(10_000), ..Path::default() };
    bench.proxy.set(Conditions { to_server: path, ..Conditions::default() });
    for _ in 0..10 {
        let mut stream = bench.dial().await;
        let (mut from, mut to) = stream.split();
        // It ends with an error on both halves; what counts is that it ends.
        let sent = bytes(40_000);
        let _ = timeout(LONG, to.write_all(&sent)).await.unwrap();
        let mut heard = Vec::new();
        let ended = timeout(LONG, from.read_to_end(&mut heard)).await.unwrap();
        assert!(ended.is_err() && heard.len() <= 10_000, "{} bytes came back, then {ended:?}", heard.len());
    }
    assert_eq!(bench.proxy.resets(), 10);
}

#[tokio::test]
async fn pieces_all_arrive() {
    let bench = Bench::new().await;
    bench.proxy.set(Conditions::both(Path { pieces_max: Some(3), ..Path::default() }));
    let mut stream = bench.dial().await;
    let sent = bytes(600);
    assert!(round_trip(&mut stream, &sent).await == sent);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let bench = Bench::new().await;
    let path = Path { bytes_per_s: Some(400_000), ..Path::default() };
    bench.proxy.set(Conditions { to_client: path, ..Conditions::default() });
    let mut stream = bench.dial().await;
    let sent = bytes(200_000);
    let began = Instant::now();
    // Half a second's worth.
    assert!(round_trip(&mut stream, &sent).await == sent);
    assert!(began.elapsed() >= Duration::from_millis(450), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn those_who_dial_are_refused_or_left_hanging_until_they_are_let_in_again() {
    let bench = Bench::new().await;
    let mut before = bench.dial_through().await;
    bench.proxy.accept(Accepting::Refused).await.unwrap();
    let refused = TcpStream::connect(bench.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    bench.proxy.accept(Accepting::Hanging).await.unwrap();
    assert!(timeout(NOTHING, TcpStream::connect(bench.proxy.address())).await.is_err());
    assert_eq!(say(&mut before, b"well").await.unwrap(), b"well");
    bench.proxy.accept(Accepting::All).await.unwrap();
    bench.dial_through().await;
}

#[tokio::test]
async fn a_target_that_is_away_is_as_good_as_refused() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(nobody.to_string(), 7).unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(timeout(LONG, stream.read_u8()).await.unwrap().is_err());
}
