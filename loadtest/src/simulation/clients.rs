//! Simulated clients: they order tasks, lose patience, ask again under the same key, call off, and look what became of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::engine::Submitted;
use evenkeel_shared::{
    Code, Delivery, Error, Kind, LabelRule, Priority, Requirements, Resources, RetryPolicy, TaskId, TaskSpec,
    TaskState, Tenant, Timestamp, wire::task::to_task_spec,
};
use prost::Message as _;

use super::{
    agents::on_clock,
    coordinator::{Ask, Request},
    plan::{between, exponential},
    redrives::Redrive,
    trace::About,
    work::{Then, Work},
    world::{Answer, START, What, World},
};
use crate::history::{Sighting, Submission, SubmissionOutcome, hash, key_of};

/// Tries under one key before a client gives up. While faults go on it may come to that.
const TRIES_MAX: u32 = 12;
/// A client that was told nothing waits between two looks for so long at most.
const LOOK_AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// Orders sent in one request at most.
const GROUP_MAX: usize = 6;

/// All clients and what they want.
#[derive(Default)]
pub(super) struct Clients {
    pub orders: Vec<Order>,
    /// What is to be driven again.
    pub redrives: Vec<Redrive>,
    /// Nothing passes between clients and the coordinator until then.
    pub cut_until: Timestamp,
    /// Of the clients' wall clocks, from the true time.
    pub clock_ahead_us: i64,
}

/// A task that a client wants done.
pub(super) struct Order {
    at: Timestamp,
    spec: Arc<TaskSpec>,
    payload: Bytes,
    /// It has to be over so long after it was first asked for, by the client's clock.
    deadline_in: Option<Duration>,
    content: u64,
    /// Orders that go out in the same request.
    group: Vec<usize>,
    tries: u32,
    /// Of each try its place in the history.
    entries: Vec<usize>,
    pub task: Option<TaskId>,
    /// Seen to be over, or given up.
    pub done: bool,
    cancel_after: Option<Duration>,
    looks_after: u32,
}

impl Order {
    /// Of a task that does the work of this order again: nobody submits it, and it is looked at until it is over.
    pub fn following(of: &Self, task: TaskId, at: Timestamp) -> Self {
        Self {
            at,
            spec: Arc::clone(&of.spec),
            payload: of.payload.clone(),
            deadline_in: None,
            content: of.content,
            group: Vec::new(),
            tries: 0,
            entries: Vec::new(),
            task: Some(task),
            done: false,
            cancel_after: None,
            looks_after: 0,
        }
    }
}

impl World {
    /// Draws all orders.
    pub(super) fn place_orders(&mut self) {
        let slots: u32 = self.agents.iter().filter(|a| !a.impostor).map(|agent| agent.spec.capacity.slots).sum();
        let time = self.plan.chaos;
        let capacity = f64::from(slots) * time.as_secs_f64();
        // The mean counts what tasks take: their slots and their attempts, both about one and a half.
        let run_mean =
            Duration::from_secs_f64((capacity * self.plan.load / self.plan.tasks as f64 / 2.25).clamp(0.02, 6.0));
        while self.clients.orders.len() < self.plan.tasks {
            let n = self.clients.orders.len();
            let burst = if self.draws.clients.u8(0..10) == 0 { self.draws.clients.usize(1..GROUP_MAX) } else { 1 };
            let at = START.plus(time.mul_f64(self.draws.clients.f64()));
            for _ in 0..burst {
                let order = self.draw_order(run_mean, at);
                self.clients.orders.push(order);
            }
            self.clients.orders[n].group = (n + 1..n + burst).collect();
            self.at(at, What::Order(n));
            self.perhaps_twin(n);
        }
    }

    fn draw_order(&mut self, run_mean: Duration, at: Timestamp) -> Order {
        let n = self.clients.orders.len();
        let d = &mut self.draws.clients;
        let then = match d.u8(0..100) {
            0..75 => Then::Succeeds,
            75..88 => Then::FailsFirst(d.u8(1..4)),
            88..94 => Then::FailsForGood,
            94..98 => Then::Overruns,
            _ => Then::Kills,
        };
        let work = Work { run: exponential(run_mean, d).min(Duration::from_secs(20)), then, nonce: d.u64(..) };
        let key = if d.u8(0..10) < 7 { format!("order-{n}") } else { String::new() };
        let kind = if d.u8(0..6) == 0 { "gpu" } else { "work" };
        let resources = Resources::slots([1, 1, 1, 1, 2][d.usize(0..5)]);
        let mut requirements = Requirements { resources, ..Requirements::default() };
        if d.u8(0..6) == 0 {
            requirements.required.push(LabelRule::equals("zone", ["a", "b"][d.usize(0..2)]));
        }
        // Kind and zone together leave few agents in small fleets, but always one: agent 0 has zone a and agent 3 zone b.
        let spec = TaskSpec {
            idempotency_key: key,
            tenant: [Tenant::default(), tenant("red"), tenant("blue")][d.usize(0..3)].clone(),
            priority: Priority::new(d.u8(0..10)).unwrap_or_default(),
            requirements,
            affinity_key: if d.u8(0..5) == 0 { format!("affine-{}", d.u8(0..5)) } else { String::new() },
            delivery: if d.u8(0..20) == 0 { Delivery::Ephemeral } else { Delivery::Durable },
            queue_timeout: (d.u8(0..12) == 0).then(|| between(Duration::from_secs(1), Duration::from_secs(120), d)),
            attempt_timeout: (d.u8(0..4) != 0).then(|| between(Duration::from_secs(1), Duration::from_secs(30), d)),
            deadline: None,
            retry: RetryPolicy {
                attempts_max: d.u32(1..=6),
                backoff_initial: Duration::from_millis(d.u64(1..2_000)),
                backoff_max: Duration::from_secs(10),
                multiplier: 2.0,
            },
            ..TaskSpec::of_kind(kind_of(kind))
        };
        let patience = Duration::from_secs([5, 30, 600][d.usize(0..3)]);
        let deadline_in = (d.u8(0..6) == 0).then(|| between(Duration::from_secs(1), patience, d));
        let payload = work.to_payload();
        Order {
            at,
            content: hash(format!("{spec:?} {deadline_in:?} {payload:?}").as_bytes()),
            spec: Arc::new(spec),
            payload,
            deadline_in,
            group: Vec::new(),
            tries: 0,
            entries: Vec::new(),
            task: None,
            done: false,
            cancel_after: (d.u8(0..20) == 0).then(|| exponential(Duration::from_secs(5), d)),
            looks_after: u32::from(d.u8(0..4) == 0),
        }
    }

    /// Now and then somebody uses the key of another order, with the same content or with another one.
    fn perhaps_twin(&mut self, n: usize) {
        let d = &mut self.draws.clients;
        if self.clients.orders[n].spec.idempotency_key.is_empty() || d.u8(0..12) != 0 {
            return;
        }
        let same = d.bool();
        let after = exponential(Duration::from_secs(30), d);
        let nonce = d.u64(..);
        let of = &self.clients.orders[n];
        let payload = if same {
            of.payload.clone()
        } else {
            Work { run: Duration::from_secs(1), then: Then::Succeeds, nonce }.to_payload()
        };
        let twin = Order {
            at: of.at.plus(after),
            content: if same { of.content } else { nonce },
            spec: Arc::clone(&of.spec),
            payload,
            deadline_in: of.deadline_in,
            group: Vec::new(),
            tries: 0,
            entries: Vec::new(),
            task: None,
            done: false,
            cancel_after: None,
            looks_after: 0,
        };
        let (at, place) = (twin.at, self.clients.orders.len());
        self.clients.orders.push(twin);
        self.at(at, What::Order(place));
    }

    /// A client asks for its order, and for those that go with it the first time.
    pub(super) fn ask(&mut self, order: usize) {
        if self.clients.orders[order].done || self.clients.orders[order].task.is_some() {
            return;
        }
        let group = std::mem::take(&mut self.clients.orders[order].group);
        let members: Vec<usize> = [order].into_iter().chain(group).collect();
        let mut orders = Vec::new();
        let mut specs = Vec::new();
        for &member in &members {
            let (asked, spec) = self.try_order(member);
            orders.push((member, asked));
            specs.push(spec);
            let timeout = self.plan.client_timeout;
            self.later(timeout, What::OrderTimesOut { order: member, asked });
        }
        self.send(Request { orders, ask: Ask::Submit(specs) });
    }

    fn try_order(&mut self, order: usize) -> (u32, Bytes) {
        let clock = on_clock(self.now, self.clients.clock_ahead_us);
        let row = &mut self.clients.orders[order];
        row.tries += 1;
        if let (1, Some(deadline_in)) = (row.tries, row.deadline_in) {
            Arc::make_mut(&mut row.spec).deadline = Some(whole_ms(clock.plus(deadline_in)));
        }
        // A twin of the same content has a deadline of its own, which makes it another content.
        let deadline = row.spec.deadline.map_or(0, Timestamp::unix_millis);
        row.entries.push(self.history.submissions.len());
        self.history.submissions.push(Submission {
            key: key_of(&row.spec.tenant, &row.spec.idempotency_key),
            content: row.content ^ deadline,
            delivery: row.spec.delivery,
            asked_at: self.now,
            outcome: SubmissionOutcome::Unknown,
        });
        let (tries, wire) = (row.tries, to_task_spec(&row.spec, row.payload.clone()));
        self.note(About::Order(order), || format!("client asks for order {order}, try {tries}"));
        (tries, wire.encode_to_vec().into())
    }

    pub(super) fn send(&mut self, request: Request) {
        if self.clients.cut_until <= self.now {
            let after = self.plan.network_delay.draw(&mut self.draws.network);
            self.later(after, What::RequestArrives(Box::new(request)));
        }
    }

    pub(super) fn answered(&mut self, order: usize, answer: Answer) {
        match answer {
            Answer::Submitted { asked, answer } => self.order_answered(order, asked, answer),
            Answer::Broken { asked } => self.order_unknown(order, asked, "the connection broke"),
            Answer::State { task, state, output } => self.saw(order, task, state, output.as_ref()),
            Answer::Redriven { asked, answer } => self.redriven(asked, answer),
            Answer::NoSuchTask => self.saw_nothing(order),
        }
    }

    fn order_answered(&mut self, order: usize, asked: u32, answer: Result<Submitted, Error>) {
        let row = &mut self.clients.orders[order];
        let outcome = match &answer {
            Ok(Submitted { task, duplicate }) => SubmissionOutcome::Acknowledged { task: *task, duplicate: *duplicate },
            Err(_) => SubmissionOutcome::Refused,
        };
        // An answer that comes after the client's patience is one all the same.
        self.history.submissions[row.entries[asked as usize - 1]].outcome = outcome;
        let words = match &answer {
            Ok(Submitted { task, duplicate: false }) => format!("{task} was made"),
            Ok(Submitted { task, duplicate: true }) => format!("{task} was there"),
            Err(error) => format!("refused: {error}"),
        };
        match answer {
            Ok(_) if row.task.is_some() => {}
            Ok(Submitted { task, .. }) => {
                row.task = Some(task);
                let cancel_after = row.cancel_after;
                let look_after = exponential(Duration::from_secs(1), &mut self.draws.clients);
                self.later(look_after, What::Look(order));
                if let Some(after) = cancel_after {
                    self.later(after, What::Cancel(order));
                }
            }
            Err(error) if error.code == Code::ResourceExhausted && row.tries < TRIES_MAX => {
                let after = exponential(Duration::from_secs(2), &mut self.draws.clients);
                self.later(after, What::Order(order));
            }
            Err(_) if row.task.is_none() && row.tries == asked => row.done = true,
            Err(_) => {}
        }
        self.note(About::Order(order), || format!("client hears of order {order}, try {asked}: {words}"));
    }

    pub(super) fn order_times_out(&mut self, order: usize, asked: u32) {
        self.order_unknown(order, asked, "no answer");
    }

    fn order_unknown(&mut self, order: usize, asked: u32, why: &str) {
        let calm = self.calm;
        let row = &mut self.clients.orders[order];
        let answered = self.history.submissions[row.entries[asked as usize - 1]].outcome != SubmissionOutcome::Unknown;
        if row.done || row.task.is_some() || row.tries != asked || answered {
            return;
        }
        let again = !row.spec.idempotency_key.is_empty() && (calm || row.tries < TRIES_MAX);
        row.done = !again;
        self.note(About::Order(order), || format!("client does not know what became of order {order}: {why}"));
        if again {
            let after = exponential(Duration::from_secs(2), &mut self.draws.clients);
            self.later(after, What::Order(order));
        }
    }

    pub(super) fn look(&mut self, order: usize) {
        let row = &self.clients.orders[order];
        let Some(task) = row.task else { return };
        if row.done && row.looks_after == 0 {
            return;
        }
        if !row.done {
            let after = between(Duration::from_secs(5), LOOK_AGAIN_WITHIN, &mut self.draws.clients);
            self.later(after, What::Look(order));
        } else {
            self.clients.orders[order].looks_after -= 1;
        }
        self.send(Request { orders: vec![(order, 0)], ask: Ask::State(task) });
    }

    pub(super) fn cancel(&mut self, order: usize) {
        if let (Some(task), false) = (self.clients.orders[order].task, self.clients.orders[order].done) {
            self.note(About::Task(task), || format!("client calls {task} off"));
            self.send(Request { orders: vec![(order, 0)], ask: Ask::Cancel(task) });
        }
    }

    fn saw(&mut self, order: usize, task: TaskId, state: TaskState, output: Option<&Bytes>) {
        let output = output.map(|output| hash(output));
        self.history.sightings.push(Sighting { task, state, output, at: self.now });
        let row = &mut self.clients.orders[order];
        if state.is_terminal() && !std::mem::replace(&mut row.done, true) {
            self.note(About::Task(task), || format!("client sees that {task} is {state}"));
            if self.clients.orders[order].looks_after > 0 {
                let after = exponential(Duration::from_secs(60), &mut self.draws.clients);
                self.later(after, What::Look(order));
            }
            self.perhaps_redrive(order, task, state);
        } else if !state.is_terminal() {
            self.perhaps_redrive(order, task, state);
        }
    }

    fn saw_nothing(&mut self, order: usize) {
        let row = &mut self.clients.orders[order];
        let Some(task) = row.task else { return };
        row.done = true;
        // An ephemeral task dies with the coordinator, as its client was told.
        let past_its_time = self.disk.pruned.contains_key(&task);
        if row.spec.delivery == Delivery::Durable && !past_its_time {
            self.breach("acknowledged-task-is-known", Some(task), format!("{task} was accepted and is not known"));
        }
    }
}

fn whole_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_unix_millis(time.unix_millis())
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap_or_default()
}

fn kind_of(name: &str) -> Kind {
    Kind::new(name).unwrap_or_else(|_| unreachable!("the name is legal"))
}
