use super::*;

const TASK_TIME: Duration = Duration::from_millis(10);

fn job(number: u32) -> Job {
    let attempt = AttemptRef { task_id: format!("t{number}"), attempt: 1, assignment_id: u64::from(number) };
    Job { attempt, number, time: TASK_TIME, output: Bytes::new(), fails: false }
}

/// What the steps say, in words.
fn words(steps: &Steps) -> Vec<String> {
    let task = |attempt: &Option<AttemptRef>| attempt.as_ref().unwrap().task_id.clone();
    let word = |message: &AgentMessage| match message.message.as_ref().unwrap() {
        Message::Started(started) => format!("start {}", task(&started.attempt)),
        Message::Result(result) => {
            let outcome = match result.outcome.as_ref().unwrap() {
                Outcome::Success(_) => "done",
                Outcome::Cancelled(_) => "cancelled",
                Outcome::HandedBack(_) => "back",
                Outcome::Failure(_) => "failed",
            };
            format!("{outcome} {}", task(&result.attempt))
        }
        other => panic!("{other:?}"),
    };
    steps.messages.iter().map(word).collect()
}

struct Agent {
    held: Held,
    now: Instant,
}

impl Agent {
    fn new(slots: u32) -> Self {
        Self { held: Held::new(slots), now: Instant::now() }
    }

    /// The words of one step.
    fn step(&mut self, step: impl FnOnce(&mut Held, Instant, &mut Steps)) -> Vec<String> {
        let mut steps = Steps::default();
        step(&mut self.held, self.now, &mut steps);
        assert!(self.held.running.len() <= self.held.slots, "more than its slots run");
        words(&steps)
    }

    fn assign(&mut self, number: u32) -> Vec<String> {
        self.step(|held, now, steps| held.assign(job(number), now, steps))
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.step(|held, now, steps| held.advance(now, steps))
    }
}

#[test]
fn a_task_waits_for_its_slot_and_takes_its_time() {
    let mut agent = Agent::new(1);
    assert_eq!(agent.assign(1), ["start t1"]);
    assert!(agent.assign(2).is_empty());
    assert_eq!(agent.held.next_due(), Some(agent.now + TASK_TIME));
    assert!(agent.wait(TASK_TIME / 2).is_empty());
    assert_eq!(agent.wait(TASK_TIME / 2), ["done t1", "start t2"]);
    assert_eq!(agent.wait(TASK_TIME), ["done t2"]);
    assert_eq!(agent.held.next_due(), None);
}

#[test]
fn a_task_of_no_time_is_done_at_once() {
    let mut agent = Agent::new(1);
    let quick = Job { time: Duration::ZERO, ..job(1) };
    assert_eq!(agent.step(|held, now, steps| held.assign(quick, now, steps)), ["start t1", "done t1"]);
}

#[test]
fn a_result_is_kept_until_it_is_acknowledged_and_counts_once() {
    let mut agent = Agent::new(1);
    agent.assign(1);
    agent.wait(TASK_TIME);
    assert_eq!(agent.held.attempts(), [job(1).attempt]);
    assert_eq!(agent.held.unacknowledged().len(), 1);
    assert_eq!(agent.held.acknowledged(&job(1).attempt), Some(1));
    assert_eq!(agent.held.acknowledged(&job(1).attempt), None);
    assert!(agent.held.attempts().is_empty());
}

#[test]
fn a_cancelled_task_frees_its_slot() {
    let mut agent = Agent::new(1);
    agent.assign(1);
    agent.assign(2);
    agent.assign(3);
    assert_eq!(agent.step(|held, now, steps| held.cancel(&job(2).attempt, now, steps)), ["cancelled t2"]);
    assert_eq!(agent.step(|held, now, steps| held.cancel(&job(1).attempt, now, steps)), ["cancelled t1", "start t3"]);
    assert!(agent.step(|held, now, steps| held.cancel(&job(1).attempt, now, steps)).is_empty());
    assert_eq!(agent.held.acknowledged(&job(1).attempt), None, "a cancelled task is no success");
}

#[test]
fn superseded_attempts_are_forgotten() {
    let mut agent = Agent::new(1);
    agent.assign(1);
    agent.wait(TASK_TIME);
    agent.assign(2);
    agent.assign(3);
    let gone = [job(1).attempt, job(2).attempt];
    assert_eq!(agent.step(|held, now, steps| held.superseded(&gone, now, steps)), ["start t3"]);
    assert_eq!(agent.held.attempts(), [job(3).attempt]);
    assert_eq!(agent.held.starts().len(), 1);
}

#[test]
fn more_than_an_agent_can_hold_is_handed_back() {
    let mut agent = Agent::new(1);
    for number in 0..4 {
        agent.assign(number);
    }
    assert_eq!(agent.assign(9), ["back t9"]);
}
