//! The yardstick's language.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::yardstick::messages::{AGENT, Done, EXECUTE, Results, SUBMIT, Task, Tasks},
    AgentWire, ClientWire, KIND, output,
};

/// The yardstick's language.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Yardstick;

fn task(payload: Bytes) -> Task {
    Task { kind: KIND.to_owned(), payload, ..Task::default() }
}

impl ClientWire for Yardstick {
    type Call = Task;
    type Answer = Done;
    type Batch = Tasks;
    type Results = Results;
    const CALL: &'static str = EXECUTE;
    const STREAM: &'static str = SUBMIT;

    fn call(self, payload: Bytes, _urgent: bool) -> Task {
        task(payload)
    }

    fn answer(answer: Done) -> Result<Bytes, String> {
        Ok(answer.output)
    }

    fn batch(self, tasks: impl Iterator<Item = Bytes>) -> Tasks {
        Tasks { tasks: tasks.map(task).collect() }
    }

    fn results(results: Results, over: &mut impl FnMut(Bytes)) -> Result<u64, String> {
        results.done.into_iter().for_each(|done| over(done.output));
        Ok(0)
    }
}

impl AgentWire for Yardstick {
    type Up = Results;
    type Down = Tasks;
    type Job = Task;
    const SESSION: &'static str = AGENT;

    fn hello(&self, _index: u32, _slots: u32) -> Results {
        Results::default()
    }

    fn heartbeat(&self) -> Option<Results> {
        None
    }

    fn heard(&self, down: Tasks, jobs: &mut impl Extend<Task>) -> Option<u64> {
        let mut welcome = None;
        for task in down.tasks {
            // The empty one says that it is welcome.
            if task.id.is_empty() {
                welcome = Some(0);
            } else {
                jobs.extend([task]);
            }
        }
        welcome
    }

    fn done(&self, jobs: impl Iterator<Item = Task>, _: Duration) -> Results {
        let done = |task: Task| Done { number: task.number, id: task.id, output: output(&task.payload) };
        Results { done: jobs.map(done).collect() }
    }
}
