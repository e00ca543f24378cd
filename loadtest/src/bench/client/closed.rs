//! A closed loop: a task that ends makes room for the next one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{Measured, Told, Trouble, histogram, marks::Marks, quantile_us, record};
use crate::bench::wire::{Caller, ClientWire, payload};

/// Longest wait for news of anything.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(60);
/// So long after the last result a second one of a task would be seen.
const LINGER: Duration = Duration::from_millis(500);

/// A closed loop.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Closed {
    /// Tasks that count.
    pub tasks: u64,
    /// Tasks before them.
    pub warm_up: u64,
    /// Tasks in flight.
    pub in_flight: u64,
    /// Tasks in one message of a stream.
    pub batch: u64,
}

/// How far it is.
pub(super) struct Course {
    plan: Closed,
    marks: Marks,
    latencies: Histogram<u64>,
    next: u64,
    ended: u64,
    began: Option<Instant>,
    told: fn(&Told),
}

impl Course {
    pub(super) fn new(plan: Closed, told: fn(&Told)) -> Self {
        let marks = Marks::new(plan.tasks_in_all());
        let mut course = Self { plan, marks, latencies: histogram(), next: 0, ended: 0, began: None, told };
        course.ended_more();
        course
    }

    /// The number of the next task, if there is one.
    pub(super) fn submit(&mut self, now: u64) -> Option<u64> {
        let number = self.next;
        (number < self.plan.tasks_in_all()).then(|| {
            self.next += 1;
            self.marks.submitted(number, now);
            number
        })
    }

    /// A task has ended.
    ///
    /// # Errors
    /// It had ended before, or is none.
    pub(super) fn ended(&mut self, output: &[u8], now: u64) -> Result<(), Trouble> {
        let latency_ns = self.marks.ended(output, now)?;
        if self.began.is_some() && self.ended < self.plan.warm_up + self.plan.tasks {
            record(&mut self.latencies, Duration::from_nanos(latency_ns));
        }
        self.ended += 1;
        self.ended_more();
        Ok(())
    }

    /// Nanoseconds on its clock.
    pub(super) fn now(&self) -> u64 {
        self.marks.now()
    }

    /// Tasks that were submitted and have not ended.
    pub(super) fn open(&self) -> u64 {
        self.marks.open()
    }

    /// Says where one stretch ends and the next begins.
    fn ended_more(&mut self) {
        if self.ended == self.plan.warm_up && self.began.is_none() {
            (self.told)(&Told::Began);
            self.began = Some(Instant::now());
        }
        if self.ended == self.plan.warm_up + self.plan.tasks {
            let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
            (self.told)(&Told::Measured(Measured {
                tasks: self.plan.tasks,
                seconds,
                p50_us: quantile_us(&self.latencies, 0.5),
                p99_us: quantile_us(&self.latencies, 0.99),
                ..Measured::default()
            }));
        }
    }
}

impl Closed {
    /// With the tasks after those that count.
    pub(super) const fn tasks_in_all(self) -> u64 {
        self.warm_up + self.tasks + self.in_flight
    }

    /// Every task a call of its own.
    pub(in crate::bench) async fn calls<W: ClientWire>(
        self,
        wire: W,
        channel: Channel,
        told: fn(&Told),
    ) -> Result<Told, Trouble> {
        let course = Arc::new(Mutex::new(Course::new(self, told)));
        let mut callers = JoinSet::new();
        for _ in 0..self.in_flight {
            callers.spawn(call_after_call(wire, Caller::new(channel.clone()), Arc::clone(&course)));
        }
        while let Some(caller) = callers.join_next().await {
            caller.map_err(|error| Trouble::new(format!("a caller panicked: {error}")))??;
        }
        let open = locked(&course).open();
        verified(self.tasks_in_all(), open)
    }

    /// All tasks on one stream, in batches.
    pub(in crate::bench) async fn stream<W: ClientWire>(
        self,
        wire: W,
        channel: Channel,
        told: fn(&Told),
    ) -> Result<Told, Trouble> {
        // No more than what may be in flight can wait for the connection.
        let (batches, sent) = mpsc::channel::<W::Batch>((self.in_flight / self.batch.max(1)) as usize + 1);
        let mut course = Course::new(self, told);
        // Some servers answer only once they have heard something.
        let mut room = self.in_flight;
        let mut answers = {
            self.submit(wire, &mut course, &batches, &mut room).await?;
            let mut caller = Caller::new(channel);
            caller.streaming::<_, W::Results>(W::STREAM, ReceiverStream::new(sent)).await?
        };
        while course.open() > 0 {
            let heard = timeout(QUIET_MAX, answers.message()).await;
            let heard = heard.map_err(|_| Trouble::broken(format!("{} results do not come", course.open())))?;
            let results = heard?.ok_or_else(|| Trouble::broken("the stream ended before all results were there"))?;
            let now = course.now();
            let mut failed = Ok(());
            let refused = W::results(results, &mut |output| {
                room += 1;
                if failed.is_ok() {
                    failed = course.ended(&output, now);
                }
            });
            failed?;
            if refused.map_err(Trouble::new)? > 0 {
                return Err(Trouble::new("tasks were refused in a closed loop; ask for fewer in flight"));
            }
            self.submit(wire, &mut course, &batches, &mut room).await?;
        }
        drop(batches);
        // Whoever has a second result to tell has the time for it.
        let more = async {
            let mut more = Ok(());
            while let Ok(Some(results)) = answers.message().await {
                let mut one_more = |_| more = Err(Trouble::broken("a result came after all results"));
                W::results(results, &mut one_more).map_err(Trouble::new)?;
            }
            more
        };
        timeout(LINGER, more).await.unwrap_or(Ok(()))?;
        verified(self.tasks_in_all(), course.open())
    }

    /// Submits whole batches as long as there is room for them.
    async fn submit<W: ClientWire>(
        self,
        wire: W,
        course: &mut Course,
        batches: &mpsc::Sender<W::Batch>,
        room: &mut u64,
    ) -> Result<(), Trouble> {
        let batch = self.batch.min(self.in_flight);
        while *room >= batch {
            let now = course.now();
            let numbers: Vec<u64> = std::iter::from_fn(|| course.submit(now)).take(batch as usize).collect();
            if numbers.is_empty() {
                break;
            }
            *room -= numbers.len() as u64;
            let sent = batches.try_send(wire.batch(numbers.into_iter().map(payload)));
            // The room for tasks in flight bounds the batches as well.
            sent.map_err(|_| Trouble::new("the connection takes no more batches"))?;
        }
        Ok(())
    }
}

/// Makes calls, one after the other, until there are no more tasks.
async fn call_after_call<W: ClientWire>(
    wire: W,
    mut caller: Caller,
    course: Arc<Mutex<Course>>,
) -> Result<(), Trouble> {
    loop {
        let next = {
            let mut course = locked(&course);
            let now = course.now();
            course.submit(now)
        };
        let Some(number) = next else { return Ok(()) };
        let call = caller.unary::<_, W::Answer>(W::CALL, wire.call(payload(number), false));
        let answer = timeout(QUIET_MAX, call).await.map_err(|_| Trouble::broken("a call has no answer"))??;
        let output = W::answer(answer).map_err(Trouble::new)?;
        let mut course = locked(&course);
        let now = course.now();
        course.ended(&output, now)?;
    }
}

fn locked(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there is to tell once all that was submitted should have ended.
pub(super) fn verified(tasks: u64, open: u64) -> Result<Told, Trouble> {
    if open > 0 {
        return Err(Trouble::broken(format!("{open} of {tasks} tasks got no result")));
    }
    Ok(Told::Verified { tasks })
}
