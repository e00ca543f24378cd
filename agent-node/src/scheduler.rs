//! Which assignment runs when: the agent's own admission.
//!
//! A pure state machine without clock or runtime. The coordinator reserves resources before it assigns, so in ordinary
//! operation everything fits; the agent still enforces its own limits, because a coordinator that restarted or a session
//! that was resumed may know less than the agent. What waits starts in the order it came: the oldest whose resources fit,
//! the same rule by which the coordinator promotes its prefetched tasks, so both sides agree on what runs.
//!
//! Nothing starts while there is no session: the coordinator may be giving what waits here to somebody else.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_shared::{AttemptRef, Failure, FailureClass, Outcome, Resources, wire::agent::Assignment};

/// What is to be said of a running attempt once it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// What came of it.
    Report,
    /// That it was cancelled, as the coordinator had asked.
    Cancelled,
    /// That the agent went before it was done.
    AgentLeft,
    /// Nothing: it was given to somebody else.
    Forget,
}

/// What became of an assignment that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It waits, perhaps only until the next [`Scheduler::start_next`].
    Admitted,
    /// It is here already; the coordinator sent it twice.
    Known,
    /// It will not run here; the answer to give.
    Refused(Outcome),
}

/// What a cancellation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It had not started, and never will.
    Waiting,
    /// It runs and must be told to stop.
    Running,
    /// It is not here: its result is on the way, or it was never here.
    Unknown,
}

#[derive(Debug)]
struct Running {
    resources: Resources,
    fate: Fate,
}

/// The attempts of this agent: what waits and what runs.
#[derive(Debug)]
pub(crate) struct Scheduler {
    capacity: Resources,
    free: Resources,
    /// Attempts that may be held at once, waiting and running.
    attempts_max: usize,
    waiting: VecDeque<Assignment>,
    running: BTreeMap<AttemptRef, Running>,
    /// How many of those that run are forgotten. The coordinator knows nothing of them any more, so what it sends in their
    /// place has to wait for them, not to be refused.
    forgotten_count: usize,
    closed: Option<String>,
}

impl Scheduler {
    /// An empty one, for an agent of this capacity that takes so many tasks ahead.
    pub fn new(capacity: Resources, prefetch_max: usize) -> Self {
        let attempts_max = capacity.slots as usize + prefetch_max;
        Self {
            free: capacity.clone(),
            capacity,
            attempts_max,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            forgotten_count: 0,
            closed: None,
        }
    }

    /// Takes an assignment in, unless it cannot run here.
    pub fn admit(&mut self, assignment: Assignment) -> Admission {
        if self.running.contains_key(&assignment.attempt) || self.position(assignment.attempt).is_some() {
            return Admission::Known;
        }
        if let Some((resource, asked, there)) = self.capacity.shortfall(&assignment.resources) {
            let message = format!("the task asks for {asked} {resource}, the agent has {there} in all");
            return Admission::Refused(rejected(message));
        }
        if let Some(reason) = &self.closed {
            return Admission::Refused(Outcome::HandedBack(reason.clone()));
        }
        if self.held_count() >= self.attempts_max {
            let reason = format!("the agent is full: it holds {} attempts at most", self.attempts_max);
            return Admission::Refused(Outcome::HandedBack(reason));
        }
        self.waiting.push_back(assignment);
        Admission::Admitted
    }

    /// The oldest waiting assignment that fits into what is free; it counts as running from now on.
    pub fn start_next(&mut self) -> Option<Assignment> {
        if self.free.slots == 0 {
            return None;
        }
        let fits = self.waiting.iter().position(|waiting| self.free.fits(&waiting.resources))?;
        let assignment = self.waiting.remove(fits)?;
        self.free.subtract(&assignment.resources);
        let running = Running { resources: assignment.resources.clone(), fate: Fate::Report };
        self.running.insert(assignment.attempt, running);
        Some(assignment)
    }

    /// Takes out what waits, or decides what will be said of what runs. A fate once decided is only replaced by
    /// [`Fate::Forget`].
    pub fn stop(&mut self, attempt: AttemptRef, fate: Fate) -> Stopped {
        if let Some(at) = self.position(attempt) {
            self.waiting.remove(at);
            return Stopped::Waiting;
        }
        let Some(running) = self.running.get_mut(&attempt) else { return Stopped::Unknown };
        if fate == Fate::Forget && running.fate != Fate::Forget {
            self.forgotten_count += 1;
        }
        if running.fate == Fate::Report || fate == Fate::Forget {
            running.fate = fate;
        }
        Stopped::Running
    }

    /// A running attempt has stopped: its resources are free again. Returns what is to be said of it.
    pub fn ended(&mut self, attempt: AttemptRef) -> Fate {
        let Some(running) = self.running.remove(&attempt) else { return Fate::Forget };
        self.free.add(&running.resources);
        if running.fate == Fate::Forget {
            self.forgotten_count -= 1;
        }
        running.fate
    }

    /// Takes out all that waits, oldest first.
    pub fn take_waiting(&mut self) -> Vec<AttemptRef> {
        self.waiting.drain(..).map(|waiting| waiting.attempt).collect()
    }

    /// From now on every assignment is handed back, with this reason.
    pub fn close(&mut self, reason: String) {
        self.closed = Some(reason);
    }

    /// Attempts that the coordinator should know of: all but the forgotten.
    pub fn held(&self) -> impl Iterator<Item = AttemptRef> {
        self.waiting.iter().map(|waiting| waiting.attempt).chain(self.running_kept())
    }

    /// How many they are.
    pub fn held_count(&self) -> usize {
        self.waiting.len() + self.running.len() - self.forgotten_count
    }

    /// Attempts that run, but for the forgotten.
    pub fn running_kept(&self) -> impl Iterator<Item = AttemptRef> {
        self.running.iter().filter(|(_, running)| running.fate != Fate::Forget).map(|(&attempt, _)| attempt)
    }

    /// Whether this attempt runs, forgotten or not.
    pub fn is_running(&self, attempt: AttemptRef) -> bool {
        self.running.contains_key(&attempt)
    }

    /// How many attempts run, the forgotten included: they still use the machine.
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    fn position(&self, attempt: AttemptRef) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.attempt == attempt)
    }
}

/// The answer to an assignment that this agent can never run.
pub(crate) fn rejected(message: String) -> Outcome {
    Outcome::Failed(Failure::new(FailureClass::Rejected, message))
}

#[cfg(test)]
mod tests;
