//! Questions to the store: off the async threads, and not more at a time than its readers can serve.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{Code, Error};
use tokio::sync::Semaphore;

use crate::store::{StoreError, StoreReader};

/// Reads at a time. More would only wait inside the store, holding threads.
const READS_MAX: usize = 16;
/// When a question that found all connections taken may be asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The readers' side of the store. Clones share the bound.
#[derive(Clone)]
pub struct Reads {
    reader: Arc<dyn StoreReader>,
    permits: Arc<Semaphore>,
}

impl Reads {
    /// Reads of this store.
    #[must_use]
    pub fn new(reader: Arc<dyn StoreReader>) -> Self {
        Self { reader, permits: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Asks the store.
    ///
    /// # Errors
    /// The store's error, as a client is told of it.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = || Error::new(Code::Unavailable, "the store is closed: the coordinator is stopping");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopping())?;
        let reader = Arc::clone(&self.reader);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(reader.as_ref());
            drop(permit);
            answer
        });
        asked.await.map_err(|_| stopping())?.map_err(|error| {
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
