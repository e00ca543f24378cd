//! Agents that say what they must not, beside one that works like any.

use bytes::Bytes;
use evenkeel_proto::v1::{self, agent_message::Message as Said, attempt_result::Outcome};
use evenkeel_shared::{
    AgentId, AttemptRef, Registration,
    wire::{agent::to_registration, task::to_attempt_ref},
};
use prost::Message as _;

use super::{
    super::{
        cluster::{Cluster, HONEST, KIND},
        frames::{Act, Script, Step, World},
    },
    Seeds,
};

fn said(message: Said) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn act(act: Act) -> Step {
    Step { act: Some(act) }
}

/// A frame of these messages.
fn frame(messages: Vec<Said>) -> Step {
    let messages = messages.into_iter().map(said).collect();
    act(Act::Frame(v1::AgentFrame { messages }.encode_to_vec()))
}

fn register(id: &str, slots: u32, held: &[AttemptRef]) -> Said {
    let mut spec = Cluster::honest_spec(slots);
    spec.id = AgentId::new(id).unwrap();
    // A map of one entry has one order on the wire.
    spec.labels.remove("ram");
    let registration = Registration { spec, instance: "another".to_owned(), dial: 0, held: held.to_vec() };
    Said::Register(to_registration(&registration))
}

fn heartbeat(memory_share: f64) -> Said {
    Said::Heartbeat(v1::Heartbeat {
        cpu_share: 0.5,
        memory_share,
        memory_used_bytes: 1 << 30,
        network_rx_bytes_per_s: 1e6,
        network_tx_bytes_per_s: 1e6,
        load_average: 1.5,
        running_tasks: 1,
        latencies: vec![v1::KindLatency { kind: KIND.to_owned(), completed: 3, mean_us: 250.5 }],
    })
}

fn started(attempt: AttemptRef) -> Said {
    Said::Started(v1::AttemptStarted { attempt: Some(to_attempt_ref(attempt)) })
}

fn progress(attempt: AttemptRef) -> Said {
    Said::Progress(v1::AttemptProgress {
        attempt: Some(to_attempt_ref(attempt)),
        fraction: 0.5,
        note: "half".to_owned(),
        usage: None,
    })
}

fn result(attempt: AttemptRef, outcome: Outcome) -> Said {
    let attempt = Some(to_attempt_ref(attempt));
    Said::Result(v1::AttemptResult { attempt, outcome: Some(outcome), run_us: 1_000, usage: None })
}

fn outcomes() -> [Outcome; 4] {
    let failure =
        v1::Failure { class: v1::FailureClass::Retryable.into(), message: "no".to_owned(), exit_code: Some(1) };
    [
        Outcome::Success(v1::Success { output: Bytes::from_static(b"forged") }),
        Outcome::Failure(failure),
        Outcome::Cancelled(v1::Cancelled {}),
        Outcome::HandedBack(v1::HandedBack { reason: "full".to_owned() }),
    ]
}

fn draining() -> Said {
    Said::Draining(v1::Draining { reason: "goes".to_owned() })
}

fn script(steps: Vec<Step>) -> Vec<u8> {
    Script { steps }.encode_to_vec()
}

/// What the honest agent has, what the hostile one is given once it registers, and the frame by which it does.
struct Known {
    theirs: Vec<AttemptRef>,
    own: Vec<AttemptRef>,
    joins: Step,
}

impl Known {
    fn learn() -> Self {
        let mut world = World::new();
        let theirs = world.honest_attempts().to_vec();
        let joins = frame(vec![register("hostile", 2, &[])]);
        world.play(&Script { steps: vec![joins.clone()] });
        Self { theirs, own: world.hostile_attempts().to_vec(), joins }
    }

    /// An attempt of another agent's under an assignment of its own.
    fn mixed(&self) -> AttemptRef {
        AttemptRef { assignment: self.own[0].assignment, ..self.theirs[0] }
    }
}

pub fn frames() -> Seeds {
    let known = Known::learn();
    [work(&known), lies(&known), sessions(&known)].concat()
}

/// It works, is strained, or falls silent.
fn work(known: &Known) -> Seeds {
    let own = &known.own;
    vec![
        (
            "works-like-any",
            script(vec![
                known.joins.clone(),
                frame(vec![heartbeat(0.5), started(own[0]), progress(own[0])]),
                frame(vec![result(own[0], outcomes()[0].clone()), started(own[1])]),
                act(Act::Wait(1_000)),
                frame(vec![heartbeat(0.5), result(own[1], outcomes()[1].clone())]),
                act(Act::HonestSucceeds(0)),
                act(Act::Submit(true)),
                act(Act::Wait(500)),
                frame(vec![draining()]),
                act(Act::Redial(true)),
            ]),
        ),
        (
            "strained-and-silent",
            script(vec![
                known.joins.clone(),
                frame(vec![heartbeat(0.99)]),
                act(Act::Wait(900)),
                frame(vec![heartbeat(0.99); 20]),
                act(Act::Cancel(3)),
                act(Act::Wait(10_000)),
                known.joins.clone(),
            ]),
        ),
        (
            "comes-back-smaller",
            script(vec![
                frame(vec![register("hostile", 8, &[])]),
                act(Act::Redial(true)),
                frame(vec![register("hostile", 1, own)]),
                act(Act::Submit(true)),
                act(Act::HonestSucceeds(1)),
            ]),
        ),
        ("says-nothing-first", script(vec![frame(vec![heartbeat(0.5)]), frame(vec![]), act(Act::Wait(20_000))])),
    ]
}

/// It speaks of attempts that it has not, or that are over.
fn lies(known: &Known) -> Seeds {
    let (own, theirs, mixed) = (&known.own, &known.theirs, known.mixed());
    let each = |of: &dyn Fn(AttemptRef) -> Said| theirs.iter().map(|attempt| of(*attempt)).collect::<Vec<_>>();
    let results = outcomes().into_iter().flat_map(|outcome| [result(own[0], outcome.clone()), result(own[1], outcome)]);
    let twice = results.map(|said| frame(vec![said.clone(), said]));
    vec![
        (
            "says-what-it-has-not",
            script(vec![
                known.joins.clone(),
                frame(each(&started)),
                frame(each(&progress)),
                frame(each(&|attempt| result(attempt, outcomes()[0].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[1].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[2].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[3].clone()))),
                frame(vec![result(mixed, outcomes()[0].clone()), started(mixed), progress(mixed)]),
            ]),
        ),
        (
            "holds-what-it-has-not",
            script(vec![
                frame(vec![register("hostile", 2, theirs)]),
                frame(vec![register("hostile", 2, &[theirs[0], theirs[0], mixed])]),
                act(Act::Redial(true)),
                frame(vec![register("hostile", 1, own)]),
            ]),
        ),
        ("every-result-twice", script([known.joins.clone()].into_iter().chain(twice).collect())),
    ]
}

/// It comes as somebody else, or twice.
fn sessions(known: &Known) -> Seeds {
    let (own, theirs) = (&known.own, &known.theirs);
    vec![
        (
            "is-somebody-else",
            script(vec![
                frame(vec![register(HONEST, 2, theirs)]),
                act(Act::Wait(200)),
                frame(vec![register(HONEST, 2, &[])]),
            ]),
        ),
        (
            "on-two-connections",
            script(vec![
                known.joins.clone(),
                act(Act::Use(1)),
                known.joins.clone(),
                frame(vec![started(own[0])]),
                act(Act::Use(0)),
                frame(vec![started(own[1]), heartbeat(0.1)]),
            ]),
        ),
    ]
}
