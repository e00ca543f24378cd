//! Removes what is kept no longer.

use std::time::Duration;

use actix::Addr;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    actors::store_writer::{Prune, StoreWriter},
    clock::Clock,
    config::live::LiveConfig,
    failpoint,
    store::Retention,
};

/// Between two rounds of removing what is kept no longer.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Tasks, and rows of each other kind, removed in one transaction, so that removing holds up commits for some milliseconds
/// only.
const PRUNE_ROWS_MAX: usize = 500;

/// Removes what is kept no longer, a little at a time.
pub(super) async fn retain(writer: Addr<StoreWriter>, clock: Clock, config: LiveConfig) {
    let mut rounds = interval(PRUNE_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let retention = config.now().store.retention();
        let retention = Retention { tasks: failpoint::retention(retention.tasks), ..retention };
        let expiry = retention.at(clock.now());
        loop {
            match writer.send(Prune { expiry, limit: PRUNE_ROWS_MAX }).await {
                Ok(Ok(pruned)) if pruned.more => tokio::task::yield_now().await,
                Ok(Ok(_)) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "what is past its time could not be removed; the next round tries again");
                    break;
                }
                Err(_) => return,
            }
        }
    }
}
