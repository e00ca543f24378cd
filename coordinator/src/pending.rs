//! Requests that the engine has not answered yet, so that its replies find their way back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use evenkeel_core::engine::{Reply, RequestId};
use tokio::sync::oneshot;

use crate::{
    hashing::NumberState,
    waiters::{ResultSink, Waiters},
};

/// The open requests. Clones share them. Bounded by the intake, which every request passes first.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    open: Arc<DashMap<RequestId, Open, NumberState>>,
    last: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Open {
    reply: oneshot::Sender<Reply>,
    results: Option<ResultSink>,
}

/// One open request; forgotten when dropped.
#[derive(Debug)]
pub struct PendingReply {
    /// Its id, for the event.
    pub id: RequestId,
    reply: oneshot::Receiver<Reply>,
    pending: Pending,
}

impl Pending {
    /// Opens a request. The results of the tasks that it submits go to `results`.
    #[must_use]
    pub fn open(&self, results: Option<ResultSink>) -> PendingReply {
        let id = RequestId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = oneshot::channel();
        self.open.insert(id, Open { reply: sender, results });
        PendingReply { id, reply: receiver, pending: self.clone() }
    }

    /// Requests that were ever made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Requests that are not answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all are answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Answers a request. If it wants results, it is registered for those of its tasks before it hears the answer, so that
    /// none can end unnoticed.
    pub fn answer(&self, request: RequestId, reply: Reply, waiters: &Waiters) {
        let Some((_, open)) = self.open.remove(&request) else { return };
        if let (Some(sink), Reply::Submitted(results)) = (&open.results, &reply) {
            for submitted in results.iter().flatten() {
                waiters.register(submitted.task, sink.clone());
            }
        }
        // A client that went away meanwhile leaves its registrations behind until the tasks end, which frees them.
        let _ = open.reply.send(reply);
    }
}

impl PendingReply {
    /// The engine's reply; `None` if the engine died.
    pub async fn reply(&mut self) -> Option<Reply> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.pending.open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::engine::Submitted;
    use evenkeel_shared::TaskId;

    use super::*;

    fn accepted(task: TaskId) -> Reply {
        Reply::Submitted(vec![Ok(Submitted { task, duplicate: false })])
    }

    #[tokio::test]
    async fn a_reply_reaches_its_request_and_registers_it_for_results() {
        let (pending, waiters) = (Pending::default(), Waiters::default());
        let (sink, _results) = waiters.open(1, 1);
        let mut request = pending.open(Some(sink));
        let task = TaskId::from_u128(7);
        pending.answer(request.id, accepted(task), &waiters);
        assert_eq!(request.reply().await, Some(accepted(task)));
        assert_eq!(waiters.len(), 1);
    }

    #[test]
    fn a_client_that_went_away_leaves_nothing_behind() {
        let (pending, waiters) = (Pending::default(), Waiters::default());
        let request = pending.open(Some(waiters.open(1, 1).0));
        let id = request.id;
        drop(request);
        pending.answer(id, accepted(TaskId::from_u128(7)), &waiters);
        assert!(pending.open.is_empty());
        assert!(waiters.is_empty());
    }
}
