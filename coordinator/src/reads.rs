//! Questions to the store: off the async threads, on threads of their own, as many as the store can serve at a time.
//!
//! The blocking pool of tokio was rejected. It starts a thread whenever none is idle at that very moment, however few may ask
//! at a time, and hands work to its threads in turn, so that none is idle for long enough to end: a client that reads the
//! records of many tasks had left the coordinator with 90 threads after some minutes, each with memory that its allocator
//! keeps for it, and with more after each burst.

use std::{
    array, io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use evenkeel_shared::{Code, Error};
use tokio::sync::{mpsc, oneshot};

use crate::store::{StoreError, StoreReader, sqlite::READ_CONNECTIONS_MAX};

/// Threads that ask the store: more would only wait for each other's connections.
const THREADS: usize = READ_CONNECTIONS_MAX;
/// Questions that wait for a thread. Whoever asks the next one waits for room, in the order of asking; that they are not
/// without end is up to the bounds of connections and of streams on them.
const QUEUE_MAX: usize = 16;
/// When a question that found all connections taken may be asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

type Question = Box<dyn FnOnce(&dyn StoreReader) + Send>;

/// The readers' side of the store. Clones share the threads, which end with the last of them.
#[derive(Clone)]
pub struct Reads {
    questions: mpsc::Sender<Question>,
}

impl Reads {
    /// Reads of this store.
    ///
    /// # Errors
    /// If the machine gives no threads.
    pub fn start(reader: &Arc<dyn StoreReader>) -> io::Result<Self> {
        let names: [String; THREADS] = array::from_fn(|number| format!("store-reader-{number}"));
        Self::answered_by(&names, reader)
    }

    /// Reads of this store by one thread of this name, for who asks what takes long, and much memory: nobody waits behind it,
    /// and what the allocator keeps of that memory is kept once.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn alone(name: &str, reader: &Arc<dyn StoreReader>) -> io::Result<Self> {
        Self::answered_by(&[name.to_owned()], reader)
    }

    fn answered_by(names: &[String], reader: &Arc<dyn StoreReader>) -> io::Result<Self> {
        let (questions, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for name in names {
            let (reader, queue) = (Arc::clone(reader), Arc::clone(&queue));
            thread::Builder::new().name(name.clone()).spawn(move || answer_all(&*reader, &queue))?;
        }
        Ok(Self { questions })
    }

    /// Asks the store. A question whose asker has gone before its turn is not asked.
    ///
    /// # Errors
    /// The store's error, as a client is told of it.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = || Error::new(Code::Unavailable, "the store is closed: the coordinator is stopping");
        let (sender, answer) = oneshot::channel();
        let question = move |reader: &dyn StoreReader| {
            if !sender.is_closed() {
                // The asker may go while the store is asked.
                let _ = sender.send(question(reader));
            }
        };
        self.questions.send(Box::new(question)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?.map_err(|error| {
            tracing::error!(%error, "a read of the store failed");
            let what = format!("the store could not be read: {error}");
            match error {
                StoreError::Busy { .. } => {
                    Error { retry_after: Some(RETRY_AFTER), ..Error::new(Code::Unavailable, what) }
                }
                StoreError::Corrupt(_) => Error::new(Code::DataLoss, what),
                _ => Error::new(Code::Internal, what),
            }
        })
    }
}

/// Answers what is asked, until nobody can ask any more.
fn answer_all(reader: &dyn StoreReader, queue: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        // One thread waits for the next question, the others for their turn to wait. A thread that panicked has left the queue
        // as it was.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(question) = next else { return };
        question(reader);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicU32, Ordering},
    };

    use evenkeel_shared::EventPosition;
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;
    use crate::store::{Store as _, sqlite::SqliteStore};

    fn reads() -> (SqliteStore, Reads) {
        let store = SqliteStore::ephemeral().unwrap();
        let reads = Reads::start(&store.reader()).unwrap();
        (store, reads)
    }

    #[tokio::test]
    async fn a_question_is_answered_by_the_store() {
        let (_store, reads) = reads();
        assert_eq!(reads.ask(|store| store.oldest_position()).await.unwrap(), EventPosition(1));
        let damaged = reads.ask(|_| Err::<(), _>(StoreError::Corrupt("a page".into()))).await.unwrap_err();
        assert_eq!(damaged.code, Code::DataLoss);
    }

    #[tokio::test]
    async fn however_many_ask_at_once_the_same_few_threads_answer() {
        let (_store, reads) = reads();
        let mut threads = HashSet::new();
        for _burst in 0..20 {
            let asked = (0..100).map(|_| reads.ask(|_| Ok(thread::current().id())));
            threads.extend(join_all(asked).await.into_iter().map(Result::unwrap));
        }
        assert!(threads.len() <= THREADS, "{} threads", threads.len());
    }

    #[tokio::test]
    async fn a_question_whose_asker_has_gone_is_not_asked() {
        let (_store, reads) = reads();
        // All threads are busy until they are let go, so that what is asked meanwhile waits.
        let mut busy: Vec<_> = Vec::new();
        let gates: Vec<_> = (0..THREADS).map(|_| std::sync::mpsc::channel::<()>()).collect();
        let mut let_go = Vec::new();
        for (open, gate) in gates {
            let_go.push(open);
            let reads = reads.clone();
            busy.push(tokio::spawn(async move { reads.ask(move |_| Ok(gate.recv().is_ok())).await }));
        }
        tokio::task::yield_now().await;
        let asked = Arc::new(AtomicU32::new(0));
        let count = |asked: Arc<AtomicU32>| move |_: &dyn StoreReader| Ok(asked.fetch_add(1, Ordering::SeqCst));
        assert!(reads.ask(count(Arc::clone(&asked))).now_or_never().is_none(), "it waits, and its asker goes");
        for open in let_go {
            open.send(()).unwrap();
        }
        for answer in join_all(busy).await {
            assert!(answer.unwrap().unwrap());
        }
        assert_eq!(reads.ask(count(asked)).await.unwrap(), 0, "the first one that was asked");
    }

    #[tokio::test]
    async fn the_threads_let_the_store_go_when_nobody_can_ask() {
        let (store, reads) = reads();
        let reader = store.reader();
        drop(reads);
        while Arc::strong_count(&reader) > 2 {
            tokio::task::yield_now().await;
        }
    }
}
