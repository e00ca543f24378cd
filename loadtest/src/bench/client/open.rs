//! An open loop: tasks come at their rate whatever becomes of those before, and urgent ones among them.
//!
//! It shows what more work than can be done does to what is done. Bulk tasks go over several streams, because the server reads
//! no more from one that has too many unfinished; urgent ones are calls, timed from when they were due, so that a late
//! call counts as late. What is left in the queue in the end is not waited for: this measure checks that no task got two results,
//! and leaves it to the closed loops to check that each got one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Channel};

use super::{Measured, Told, Trouble, histogram, marks::Marks, quantile_us, record};
use crate::bench::wire::{Caller, ClientWire, payload};

/// Streams that the bulk is spread over.
const STREAMS: u64 = 16;
/// Between two batches of a stream.
const TICK: Duration = Duration::from_millis(5);
/// Tasks in one batch, as many as the server takes.
const BATCH_MAX: u64 = 1_000;
/// Batches that wait for a connection; what comes when it is full was offered as well, and was refused by the window of HTTP/2.
const BATCHES_MAX: usize = 64;
/// Urgent tasks have numbers of their own.
const URGENT_BASE: u64 = 1 << 40;

/// An open loop.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Open {
    /// Bulk tasks per second.
    pub rate: f64,
    /// Urgent tasks per second.
    pub urgent_rate: f64,
    /// Before what counts.
    pub warm_up: Duration,
    /// What counts.
    pub lasts: Duration,
}

/// What is counted while it counts.
struct Tally {
    counts: bool,
    measured: Measured,
    latencies: Histogram<u64>,
    urgent: Histogram<u64>,
}

type Shared = Arc<Mutex<Tally>>;

fn count(tally: &Shared, change: impl FnOnce(&mut Tally)) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    if tally.counts {
        change(&mut tally);
    }
}

impl Open {
    /// Runs it.
    pub(in crate::bench) async fn run<W: ClientWire>(
        self,
        wire: W,
        channel: Channel,
        told: fn(&Told),
    ) -> Result<Measured, Trouble> {
        let (latencies, urgent) = (histogram(), histogram());
        let tally = Tally { counts: false, measured: Measured::default(), latencies, urgent };
        let tally = Arc::new(Mutex::new(tally));
        let mut tasks = JoinSet::new();
        if self.rate > 0.0 {
            for _ in 0..STREAMS {
                tasks.spawn(self.bulk(wire, channel.clone(), Arc::clone(&tally)));
            }
        }
        if self.urgent_rate > 0.0 {
            tasks.spawn(self.urgent(wire, channel, Arc::clone(&tally)));
        }
        let course = async {
            sleep(self.warm_up).await;
            told(&Told::Began);
            let began = Instant::now();
            tally.lock().unwrap_or_else(PoisonError::into_inner).counts = true;
            sleep(self.lasts).await;
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.counts = false;
            tally.measured.seconds = began.elapsed().as_secs_f64();
            tally.measured()
        };
        let measured = tokio::select! {
            measured = course => measured,
            Some(ended) = tasks.join_next() => {
                let ended = ended.map_err(|error| Trouble::new(format!("the load panicked: {error}")))?;
                return Err(ended.err().unwrap_or_else(|| Trouble::new("a stream ended before its time")));
            }
        };
        told(&Told::Measured(measured.clone()));
        Ok(measured)
    }

    async fn bulk<W: ClientWire>(self, wire: W, channel: Channel, tally: Shared) -> Result<(), Trouble> {
        let rate = self.rate / STREAMS as f64;
        let lasts = self.warm_up + self.lasts + Duration::from_secs(5);
        let mut marks = Marks::new((rate * lasts.as_secs_f64()) as u64 + BATCH_MAX);
        let (batches, sent) = mpsc::channel::<W::Batch>(BATCHES_MAX);
        let opening =
            async { Caller::new(channel).streaming::<_, W::Results>(W::STREAM, ReceiverStream::new(sent)).await };
        let mut answers = opening.await?;
        let (began, mut next) = (Instant::now(), 0);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = answers.message() => {
                    let results = answer?.ok_or_else(|| Trouble::new("the server ended a stream"))?;
                    let now = marks.now();
                    let mut ended = Vec::new();
                    let refused = W::results(results, &mut |output| ended.push(marks.ended(&output, now)));
                    let refused = refused.map_err(Trouble::new)?;
                    let ended = ended.into_iter().collect::<Result<Vec<_>, _>>()?;
                    count(&tally, |tally| {
                        tally.measured.refused += refused;
                        tally.measured.tasks += ended.len() as u64;
                        for latency_ns in ended {
                            record(&mut tally.latencies, Duration::from_nanos(latency_ns));
                        }
                    });
                }
                _ = ticks.tick() => {
                    let due = ((began.elapsed().as_secs_f64() * rate) as u64).saturating_sub(next);
                    if due == 0 {
                        continue;
                    }
                    let (now, numbers) = (marks.now(), next..next + due.min(BATCH_MAX));
                    let Ok(permit) = batches.try_reserve() else {
                        // It is pushed back; these were offered and not taken.
                        count(&tally, |tally| tally.measured.refused += due);
                        next += due;
                        continue;
                    };
                    next = numbers.end;
                    for number in numbers.clone() {
                        marks.submitted(number, now);
                    }
                    permit.send(wire.batch(numbers.map(payload)));
                }
            }
        }
    }

    async fn urgent<W: ClientWire>(self, wire: W, channel: Channel, tally: Shared) -> Result<(), Trouble> {
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for n in 0_u32.. {
            let due = began + Duration::from_secs_f64(f64::from(n) / self.urgent_rate);
            tokio::select! {
                () = sleep_until(due) => {}
                Some(ended) = calls.join_next() => {
                    ended.map_err(|error| Trouble::new(format!("a call panicked: {error}")))??;
                    sleep_until(due).await;
                }
            }
            let (mut caller, tally) = (Caller::new(channel.clone()), Arc::clone(&tally));
            let number = URGENT_BASE + u64::from(n);
            calls.spawn(async move {
                let answer = caller.unary::<_, W::Answer>(W::CALL, wire.call(payload(number), true)).await;
                let answer = match answer {
                    Err(status) if status.code() == Code::ResourceExhausted => {
                        count(&tally, |tally| tally.measured.urgent_refused += 1);
                        return Ok(());
                    }
                    answer => answer?,
                };
                W::answer(answer).map_err(Trouble::new)?;
                count(&tally, |tally| {
                    tally.measured.urgent += 1;
                    record(&mut tally.urgent, due.elapsed());
                });
                Ok::<(), Trouble>(())
            });
        }
        Ok(())
    }
}

impl Tally {
    fn measured(&self) -> Measured {
        Measured {
            p50_us: quantile_us(&self.latencies, 0.5),
            p99_us: quantile_us(&self.latencies, 0.99),
            urgent_p50_us: quantile_us(&self.urgent, 0.5),
            urgent_p99_us: quantile_us(&self.urgent, 0.99),
            ..self.measured.clone()
        }
    }
}
