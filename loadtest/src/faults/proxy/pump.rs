//! One connection of a proxy: bytes are taken in, wait until they are due, and are handed on.

use std::time::Duration;

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Conditions, Loss, Path};

/// Most bytes read at once.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// Pieces under way in one direction.
const QUEUED_PIECES_MAX: usize = 256;
/// Most bytes that a direction holds: half a second at 8 MB/s. A sender that is ahead by more has to wait.
pub const QUEUED_BYTES_MAX: usize = PIECE_BYTES_MAX * QUEUED_PIECES_MAX;
/// Where the rate is limited, a write is what goes through in so long: a limit that comes in bursts is none.
const RATE_STEP: Duration = Duration::from_millis(20);

/// Where bytes come in pieces, so many of each connection come with a pause between any two: the receiver reads each piece for
/// itself. Without it the kernel hands over whatever has come meanwhile, and pieces are pieces to nobody but the sender. It
/// is enough for the greeting and the head of the first call.
const APART_BYTES: usize = 256;
/// The pause. Longer than a process takes to be woken, on a machine with nothing else to do.
const APART_PAUSE: Duration = Duration::from_millis(2);

/// How a connection ended that was not closed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The proxy was told to reset it.
    Reset,
    /// One of its sides has broken off.
    ByPeer,
}

/// Carries bytes both ways until both sides have ended.
pub async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    conditions: watch::Receiver<Conditions>,
    mut rng: Rng,
) -> Result<(), Broken> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (there, back) = (rng.fork(), rng);
    tokio::try_join!(
        one_way(from_client, to_server, conditions.clone(), |conditions| conditions.to_server, there),
        one_way(from_server, to_client, conditions, |conditions| conditions.to_client, back),
    )?;
    Ok(())
}

/// Something under way.
struct Piece {
    due: Instant,
    what: What,
}

enum What {
    Bytes(Vec<u8>),
    /// The sender has no more.
    End,
    /// The sender has broken off. Word of it travels as bytes do.
    Reset,
}

async fn one_way(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Path,
    mut rng: Rng,
) -> Result<(), Broken> {
    let (queue, queued) = mpsc::channel(QUEUED_PIECES_MAX);
    let giver = Giver {
        to,
        conditions: conditions.clone(),
        way,
        rng: rng.fork(),
        next_at: Instant::now(),
        left: None,
        apart: 0,
    };
    let taken = async {
        take(from, queue, conditions, way, rng).await;
        Ok(())
    };
    tokio::try_join!(taken, giver.give(queued)).map(drop)
}

async fn take(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Piece>,
    conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Path,
    mut rng: Rng,
) {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    let mut due = Instant::now();
    loop {
        let what = match from.read(&mut buffer).await {
            Ok(0) => What::End,
            Ok(length) => What::Bytes(buffer[..length].to_vec()),
            Err(_) => What::Reset,
        };
        let Path { delay, jitter, .. } = way(&conditions.borrow());
        // Nothing overtakes what was sent before it.
        due = due.max(Instant::now() + delay + jitter.mul_f64(rng.f64()));
        let goes_on = matches!(what, What::Bytes(_));
        if queue.send(Piece { due, what }).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Hands on what is due.
struct Giver<W> {
    to: W,
    conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Path,
    rng: Rng,
    /// Before it the rate permits nothing.
    next_at: Instant,
    /// Bytes until the reset, and the bound from which they were drawn.
    left: Option<(u64, u64)>,
    /// Bytes handed on in pieces with a pause.
    apart: usize,
}

impl<W: AsyncWrite + Unpin> Giver<W> {
    async fn give(mut self, mut queued: mpsc::Receiver<Piece>) -> Result<(), Broken> {
        // Of a receiver that is gone its own direction tells; what is sent to it vanishes.
        let mut vanishes = false;
        while let Some(Piece { due, what }) = queued.recv().await {
            sleep_until(due).await;
            vanishes |= self.path().await.loss == Loss::Silent;
            if vanishes {
                continue;
            }
            match what {
                What::Bytes(bytes) => vanishes = !self.hand_on(&bytes).await?,
                What::End | What::Reset if self.path().await.ends_lost => vanishes = true,
                What::End => drop(self.to.shutdown().await),
                What::Reset => return Err(Broken::ByPeer),
            }
        }
        Ok(())
    }

    /// Whether all of it has arrived. What is held or limited in the middle goes by the conditions of that moment.
    async fn hand_on(&mut self, mut bytes: &[u8]) -> Result<bool, Broken> {
        while !bytes.is_empty() {
            let path = self.path().await;
            if path.loss == Loss::Silent {
                return Ok(false);
            }
            let (now, later) = bytes.split_at(self.length(path, bytes.len()));
            self.at_rate(path, now.len()).await;
            if self.to.write_all(now).await.is_err() {
                return Ok(false);
            }
            self.count_down(path, now.len())?;
            if path.pieces_max.is_some() && self.apart < APART_BYTES {
                self.apart += now.len();
                sleep(APART_PAUSE).await;
            }
            bytes = later;
        }
        Ok(true)
    }

    /// The conditions, once nothing is held any more.
    async fn path(&mut self) -> Path {
        let way = self.way;
        let path = self.conditions.wait_for(|conditions| way(conditions).loss != Loss::Held).await.ok();
        match path.map(|conditions| way(&conditions)) {
            Some(path) => path,
            // The proxy is being dropped, and this connection with it.
            None => std::future::pending().await,
        }
    }

    /// How much of so many bytes to write at once.
    fn length(&mut self, path: Path, there: usize) -> usize {
        let piece = path.pieces_max.map_or(there, |max| self.rng.usize(1..=max.max(1)));
        let step = path.bytes_per_s.map_or(there, |rate| (rate as f64 * RATE_STEP.as_secs_f64()).ceil() as usize);
        let reset = self.until_reset(path).map_or(there, |left| usize::try_from(left).unwrap_or(there));
        there.min(piece).min(step).min(reset).max(1)
    }

    /// Bytes until the reset, drawn anew where the conditions have changed.
    fn until_reset(&mut self, path: Path) -> Option<u64> {
        let bound = path.reset_within?.max(1);
        if self.left.is_none_or(|(_, of)| of != bound) {
            self.left = Some((self.rng.u64(1..=bound), bound));
        }
        self.left.map(|(left, _)| left)
    }

    /// Waits until the rate permits another so many bytes.
    async fn at_rate(&mut self, path: Path, length: usize) {
        let Some(rate) = path.bytes_per_s else { return };
        sleep_until(self.next_at).await;
        let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        self.next_at = self.next_at.max(Instant::now()) + takes;
    }

    /// Breaks the connection where the bytes until its reset have gone.
    fn count_down(&mut self, path: Path, length: usize) -> Result<(), Broken> {
        let Some((left, _)) = self.left.as_mut().filter(|_| path.reset_within.is_some()) else { return Ok(()) };
        *left = left.saturating_sub(length as u64);
        if *left == 0 { Err(Broken::Reset) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    /// Takes everything, and remembers each write.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn pieces_are_small() {
        let (_keep, conditions) = watch::channel(Conditions::both(Path { pieces_max: Some(3), ..Path::default() }));
        let (to, rng) = (Writes::default(), Rng::with_seed(7));
        let way = |conditions: &Conditions| conditions.to_server;
        let mut giver = Giver { to, conditions, way, rng, next_at: Instant::now(), left: None, apart: 0 };
        let sent: Vec<u8> = (0..=255).cycle().take(600).collect();
        assert!(giver.hand_on(&sent).await.unwrap());
        assert_eq!(giver.to.0.concat(), sent);
        assert!(giver.to.0.iter().all(|piece| piece.len() <= 3), "600 bytes went in {} writes", giver.to.0.len());
    }
}
