//! Evenkeel's language, said as briefly as it allows: no idempotency keys, no requirements, the defaults of everything.
//!
//! An agent says nothing of the start of a task that takes no time: its result says as much.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_proto::v1::{
    self, agent_message::Message as Up, attempt_result::Outcome, coordinator_message::Message as Down,
};

use super::{AgentWire, ClientWire, KIND, output};

/// The priority of urgent tasks, the highest; the others have the default.
const URGENT: u32 = 9;
/// Loads of an agent that has nothing to do, far from every threshold.
const CPU_SHARE: f64 = 0.05;
const MEMORY_SHARE: f64 = 0.2;

/// Evenkeel's language.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Evenkeel {
    /// How tasks are kept.
    pub delivery: v1::Delivery,
}

impl Evenkeel {
    fn spec(self, payload: Bytes, priority: Option<u32>) -> v1::TaskSpec {
        let delivery = self.delivery.into();
        v1::TaskSpec { kind: KIND.to_owned(), payload, delivery, priority, ..v1::TaskSpec::default() }
    }
}

fn ended(finished: v1::TaskFinished) -> Result<Bytes, String> {
    if finished.state() == v1::TaskState::Succeeded {
        return Ok(finished.output);
    }
    Err(format!("task {} ended as {:?}: {:?}", finished.task_id, finished.state(), finished.failure))
}

impl ClientWire for Evenkeel {
    type Call = v1::ExecuteRequest;
    type Answer = v1::ExecuteResponse;
    type Batch = v1::SubmitStreamRequest;
    type Results = v1::SubmitStreamResponse;
    const CALL: &'static str = "/evenkeel.v1.TaskService/Execute";
    const STREAM: &'static str = "/evenkeel.v1.TaskService/SubmitStream";

    fn call(self, task: Bytes, urgent: bool) -> Self::Call {
        v1::ExecuteRequest { task: Some(self.spec(task, urgent.then_some(URGENT))), wait_timeout_ms: 0 }
    }

    fn answer(answer: Self::Answer) -> Result<Bytes, String> {
        ended(answer.finished.ok_or("an answer without a result")?)
    }

    fn batch(self, tasks: impl Iterator<Item = Bytes>) -> Self::Batch {
        let tasks = tasks.map(|task| self.spec(task, None)).collect();
        v1::SubmitStreamRequest { batch_id: 0, tasks, want_results: true }
    }

    fn results(results: Self::Results, over: &mut impl FnMut(Bytes)) -> Result<u64, String> {
        let answers = results.batch.map(|batch| batch.results).unwrap_or_default();
        let mut refused = 0;
        for error in answers.into_iter().filter_map(|answer| answer.error) {
            if error.code != i32::from(tonic::Code::ResourceExhausted) {
                return Err(format!("a task was not accepted: {}", error.message));
            }
            refused += 1;
        }
        for finished in results.finished {
            over(ended(finished)?);
        }
        Ok(refused)
    }
}

/// Which attempt, and what it answers.
pub(in super::super) struct Job {
    attempt: Option<v1::AttemptRef>,
    output: Bytes,
}

impl AgentWire for Evenkeel {
    type Up = v1::AgentFrame;
    type Down = v1::CoordinatorFrame;
    type Job = Job;
    const SESSION: &'static str = "/evenkeel.v1.AgentService/Session";

    fn hello(&self, index: u32, slots: u32) -> Self::Up {
        frame(Up::Register(v1::Register {
            agent_id: format!("bench-{index:05}"),
            instance_id: format!("{}-{index}", std::process::id()),
            kinds: vec![KIND.to_owned()],
            capacity: Some(v1::Resources { slots, ..v1::Resources::default() }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..v1::Register::default()
        }))
    }

    fn heartbeat(&self) -> Option<Self::Up> {
        let (cpu_share, memory_share) = (CPU_SHARE, MEMORY_SHARE);
        Some(frame(Up::Heartbeat(v1::Heartbeat { cpu_share, memory_share, ..v1::Heartbeat::default() })))
    }

    fn heard(&self, down: Self::Down, jobs: &mut impl Extend<Job>) -> Option<u64> {
        let mut welcome = None;
        for message in down.messages.into_iter().filter_map(|message| message.message) {
            match message {
                Down::Assignment(assignment) => {
                    let output = output(&assignment.payload);
                    jobs.extend([Job { attempt: assignment.attempt, output }]);
                }
                Down::Welcome(word) => welcome = Some(word.heartbeat_interval_ms),
                // It forgets a result as soon as it is sent: connections do not break here.
                Down::ResultAck(_) | Down::Cancel(_) | Down::Drain(_) => {}
            }
        }
        welcome
    }

    fn done(&self, jobs: impl Iterator<Item = Job>, run: Duration) -> Self::Up {
        // No time at all would mean that it was not measured.
        let run_us = u64::try_from(run.as_micros()).unwrap_or(u64::MAX).max(1);
        let result = |job: Job| {
            let outcome = Some(Outcome::Success(v1::Success { output: job.output }));
            let result = v1::AttemptResult { attempt: job.attempt, outcome, run_us, usage: None };
            v1::AgentMessage { message: Some(Up::Result(result)) }
        };
        v1::AgentFrame { messages: jobs.map(result).collect() }
    }
}

fn frame(message: Up) -> v1::AgentFrame {
    v1::AgentFrame { messages: vec![v1::AgentMessage { message: Some(message) }] }
}
