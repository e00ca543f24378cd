//! A dispatcher for tests.

use std::sync::Arc;

use evenkeel_shared::EventPosition;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{Dispatcher, Spare};
use crate::{
    actors::manager::ManagerState,
    directory::{Directory, KeptLimits},
    hub::{Hub, HubLimits},
    metrics::Metrics,
    pending::Pending,
    reads::Reads,
    sessions::Sessions,
    snapshot::Snapshot,
    store::StoreReader,
    telemetry::Traces,
    waiters::Waiters,
};

/// A dispatcher of these sessions that asks this store, as many questions at a time as `look_up_turns` has permits.
pub(crate) fn dispatcher(
    sessions: Sessions,
    snapshot: Snapshot,
    store: Arc<dyn StoreReader>,
    look_up_turns: usize,
) -> Dispatcher {
    let directory = Directory::new(&[], KeptLimits { tasks: 1, bytes: 1 });
    let limits = HubLimits { ring: 16, queue: 1_024, watchers: 1 };
    let metrics = Metrics::new(snapshot, directory.clone(), sessions.clone(), ManagerState::new(false));
    Dispatcher {
        pending: Pending::default(),
        sessions,
        directory,
        waiters: Waiters::default(),
        task_hub: Hub::new(EventPosition(0), limits),
        cluster_hub: Hub::new(EventPosition(0), limits),
        reads: Reads::start(&store).unwrap(),
        look_ups: Arc::new(Semaphore::new(super::LOOK_UPS_MAX)),
        look_up_turns: Arc::new(Semaphore::new(look_up_turns)),
        metrics,
        runtime: Handle::current(),
        spare: Spare::default(),
        traces: Traces::off(),
    }
}
