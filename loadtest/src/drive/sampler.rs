//! Asks the coordinator how it is, beside the run: an answer that does not come keeps nobody waiting.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evenkeel_proto::v1::{StatusRequest, cluster_service_client::ClusterServiceClient};
use evenkeel_shared::dial::Channel;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// Later than this is no answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What the coordinator said last, and whether it answered since that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub queue_depth: u64,
    pub running: u64,
    failed: u32,
    /// It answered when it was asked last.
    answered: bool,
}

impl Sample {
    /// It answered whenever it was asked. A window may be too short for a question; then the one before it tells.
    pub(crate) const fn available(&self) -> bool {
        self.answered && self.failed == 0
    }
}

/// Asks until it is dropped.
pub(crate) struct Sampler {
    sample: Arc<Mutex<Sample>>,
    task: JoinHandle<()>,
}

impl Sampler {
    pub(crate) fn start(mut cluster: ClusterServiceClient<Channel>) -> Self {
        let sample = Arc::new(Mutex::new(Sample::default()));
        let shared = Arc::clone(&sample);
        let task = tokio::spawn(async move {
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let answer = timeout(ANSWER_MAX, cluster.status(StatusRequest {})).await;
                let mut sample = shared.lock().unwrap_or_else(PoisonError::into_inner);
                sample.answered = matches!(answer, Ok(Ok(_)));
                if let Ok(Ok(status)) = answer {
                    let status = status.into_inner();
                    sample.queue_depth = status.tasks_queued;
                    sample.running = status.tasks_assigned + status.tasks_running;
                } else {
                    sample.failed += 1;
                }
            }
        });
        Self { sample, task }
    }

    /// What is known now.
    pub(crate) fn take(&self) -> Sample {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = *sample;
        sample.failed = 0;
        taken
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_without_a_question_is_as_the_one_before() {
        let asked = |answered, failed| Sample { answered, failed, ..Sample::default() }.available();
        assert!(asked(true, 0));
        assert!(!asked(true, 1), "it was away for a part of the window");
        assert!(!asked(false, 0), "it was away when it was asked last");
    }
}
