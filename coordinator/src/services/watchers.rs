//! What watches of tasks and of the fleet send: which events, and from where.

use std::collections::{HashMap, HashSet};

use evenkeel_core::model::{ClusterEvent, TaskEvent};
use evenkeel_proto::v1;
use evenkeel_shared::{Error, EventPosition, Kind, TaskId, TaskSpec, Tenant};

use super::view;
use crate::{
    reads::Reads,
    release::WatchedEvent,
    store::{ClusterEventFilter, StoreError, StoreReader},
    watch::{PAGE, Source},
};

/// Events of tasks.
pub struct TaskEvents {
    /// The store.
    pub reads: Reads,
    /// Of these tasks; none: of all.
    pub tasks: HashSet<TaskId>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this kind.
    pub kind: Option<Kind>,
}

impl TaskEvents {
    fn needs_specs(&self) -> bool {
        self.tenant.is_some() || self.kind.is_some()
    }

    fn wants(&self, spec: &TaskSpec) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == spec.tenant)
            && self.kind.as_ref().is_none_or(|kind| *kind == spec.kind)
    }
}

impl Source for TaskEvents {
    type Event = WatchedEvent;
    type Wire = v1::TaskEvent;

    async fn page(&self, after: EventPosition) -> Result<Vec<WatchedEvent>, Error> {
        let tasks: Vec<TaskId> = self.tasks.iter().copied().collect();
        let with_specs = self.needs_specs();
        self.reads.ask(move |store| stored_events(store, &tasks, after, with_specs)).await
    }

    fn wire(&self, watched: &WatchedEvent) -> Option<v1::TaskEvent> {
        let named = self.tasks.is_empty() || self.tasks.contains(&watched.event.task);
        let wanted = !self.needs_specs() || watched.spec.as_ref().is_some_and(|spec| self.wants(spec));
        (named && wanted).then(|| view::task_event(&watched.event))
    }
}

fn stored_events(
    store: &dyn StoreReader,
    tasks: &[TaskId],
    after: EventPosition,
    with_specs: bool,
) -> Result<Vec<WatchedEvent>, StoreError> {
    let mut specs = HashMap::new();
    let mut watched = |event: TaskEvent| -> Result<WatchedEvent, StoreError> {
        if !with_specs {
            return Ok(WatchedEvent { event, spec: None });
        }
        let spec = match specs.get(&event.task) {
            Some(spec) => Option::clone(spec),
            None => {
                let spec = store.task(event.task)?.map(|task| task.spec);
                specs.insert(event.task, spec.clone());
                spec
            }
        };
        Ok(WatchedEvent { event, spec })
    };
    store.task_events(tasks, after, PAGE)?.into_iter().map(&mut watched).collect()
}

/// Events of the fleet.
pub struct ClusterEvents {
    /// The store.
    pub reads: Reads,
    /// Which ones.
    pub filter: ClusterEventFilter,
}

impl Source for ClusterEvents {
    type Event = ClusterEvent;
    type Wire = v1::ClusterEvent;

    async fn page(&self, after: EventPosition) -> Result<Vec<ClusterEvent>, Error> {
        let filter = self.filter.clone();
        self.reads.ask(move |store| store.cluster_events(&filter, after, PAGE)).await
    }

    fn wire(&self, event: &ClusterEvent) -> Option<v1::ClusterEvent> {
        let agent = self.filter.agent.is_none() || self.filter.agent == event.agent;
        let kind = self.filter.kinds.is_empty() || self.filter.kinds.contains(&event.kind);
        (agent && kind).then(|| view::cluster_event(event))
    }
}
