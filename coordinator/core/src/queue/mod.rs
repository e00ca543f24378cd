//! The queue: which waiting task goes next.
//!
//! Tasks are kept by class (kind and requirements), because what an agent can serve is a set of classes; inside a class by
//! priority, inside a priority by tenant, inside a tenant by acceptance. Of the classes asked for:
//!
//! 1. The highest *effective level* goes: the priority, raised by one for every ageing interval that its longest waiting
//!    task has waited, up to 9.
//! 2. Priorities of the same effective level share in proportion to priority + 1, so that aged bulk work neither starves
//!    nor swamps fresh urgent work.
//! 3. Inside a priority, tenants share in proportion to their weights (start-time fair queueing, in `fair`).
//! 4. A tenant's own tasks go in order of acceptance.
//!
//! A task of priority `p` hence waits at most `9 - p` ageing intervals until its priority gets a share of at least
//! `(p + 1) / 55`, whatever comes in above it.
//!
//! What a class, priority or tenant is owed depends on dispatches alone, never on what waits: a class that no agent can
//! serve changes nothing for the others. A decision costs the number of classes asked for; everything else the logarithm
//! of what waits, and a charge once more for each class in which the tenant waits.
//!
//! A tenant's tasks of a class are a *lane*, over all priorities. A lane can be shut: its tasks wait and age as before but have
//! no turn. That costs the lane's place in each priority, not its tasks. What is shut does not raise the priority of what is
//! not: where a class and priority has a shut lane, the wait of the task that goes next counts, and not that of the oldest.
//!
//! Rejected: one heap ordered by `accepted - priority * interval` (one tenant's backlog holds all others up, and a blocked
//! class clogs the top); ageing task by task (moves every task once an interval); a queue per agent (no late binding).

mod bucket;
mod fair;
mod questions;

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use evenkeel_shared::{Priority, Tenant, Timestamp};

use self::{
    bucket::{Bucket, Offer},
    fair::{Accounts, Heads, Moved, Place, Share, TenantIx, Tenants},
};
use crate::ix::{ClassIx, TaskIx};

/// How the queue orders.
#[derive(Clone, Debug, Default)]
pub struct QueueConfig {
    /// Wait that raises a priority by one. `None`: priorities are strict, and low ones may starve.
    pub ageing_interval: Option<Duration>,
    /// Tenants whose share is not the default one.
    pub tenant_weights: BTreeMap<Tenant, u32>,
    /// Weight of every other tenant. 0 counts as 1, here and above.
    pub default_weight: u32,
}

/// A task that begins to wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The task.
    pub task: TaskIx,
    /// Its class.
    pub class: ClassIx,
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// What its tenant pays when it goes: slots.
    pub cost: u32,
    /// Place in the order of acceptance: a task that waits once more returns to its place.
    pub order: u64,
    /// When it began to wait this time.
    pub since: Timestamp,
    /// It may be taken ahead of a slot.
    pub ahead: bool,
    /// Its lane is shut. Counts where it is the first of its lane at its priority; otherwise the lane is as it was.
    pub shut: bool,
}

/// What may be taken of a class.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// Tasks of this priority and above, by its number.
    pub from_level: u8,
    /// Only those that may be taken ahead of a slot.
    pub ahead: bool,
}

impl Admitted {
    /// Every task.
    pub const ALL: Self = Self { from_level: 0, ahead: false };
}

/// What is known of a waiting task.
#[derive(Clone, Copy, Debug)]
struct Entry {
    class: ClassIx,
    level: u8,
    tenant: TenantIx,
    cost: u32,
    order: u64,
    since: Timestamp,
    ahead: bool,
}

/// One priority, over all classes.
#[derive(Debug, Default)]
struct Level {
    len: usize,
    /// Its share among the priorities.
    share: Share,
    /// Who is owed what inside it.
    accounts: Accounts,
}

/// The non-empty priorities of one class.
#[derive(Debug, Default)]
struct Class {
    len: usize,
    buckets: BTreeMap<u8, Bucket>,
}

/// The waiting tasks.
#[derive(Debug)]
pub struct Queue {
    ageing_interval: Option<Duration>,
    tenants: Tenants,
    /// By [`TaskIx`].
    entries: Vec<Option<Entry>>,
    levels: [Level; Priority::COUNT],
    /// Virtual time of the sharing between priorities.
    virtual_time: u64,
    /// Non-empty classes.
    classes: BTreeMap<ClassIx, Class>,
    len: usize,
    /// Lanes that are shut, each priority by itself.
    shut_lanes: usize,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self {
            ageing_interval: config.ageing_interval,
            tenants: Tenants::new(config.tenant_weights, config.default_weight),
            entries: Vec::new(),
            levels: Default::default(),
            virtual_time: 0,
            classes: BTreeMap::new(),
            len: 0,
            shut_lanes: 0,
        }
    }

    /// Another pace of ageing, and other shares of tenants. Nobody loses his place.
    pub fn configure(&mut self, ageing_interval: Option<Duration>, tenant_weights: BTreeMap<Tenant, u32>) {
        self.ageing_interval = ageing_interval;
        self.tenants.configure(tenant_weights);
    }

    /// Lets a task wait. One that waits already starts anew.
    pub fn push(&mut self, waiting: Waiting<'_>) {
        self.remove(waiting.task);
        let Waiting { task, class, cost, order, since, ahead, shut, .. } = waiting;
        let level = waiting.priority.level();
        let tenant = self.tenants.enter(waiting.tenant);
        let row = &mut self.levels[usize::from(level)];
        row.len += 1;
        let begins_shut = shut && row.accounts.is_shut(tenant, class).is_none();
        let (moved, heads) = row.accounts.insert(tenant, class, Place { order, task, ahead }, shut, &mut self.tenants);
        let home = self.classes.entry(class).or_default();
        home.len += 1;
        let bucket = home.buckets.entry(level).or_default();
        bucket.insert(task, since);
        bucket.follow(tenant, moved, heads);
        if begins_shut {
            bucket.count_shut(true);
            self.shut_lanes += 1;
        }
        self.rekey(level, tenant, moved, class);
        let at = task.at();
        if at >= self.entries.len() {
            self.entries.resize(at + 1, None);
        }
        self.entries[at] = Some(Entry { class, level, tenant, cost, order, since, ahead });
        self.len += 1;
    }

    /// Takes a task out without a charge, because it was cancelled or has expired. False: it does not wait.
    pub fn remove(&mut self, task: TaskIx) -> bool {
        let Some(entry) = self.entry(task) else { return false };
        let finish = self.levels[usize::from(entry.level)].accounts.share(entry.tenant).finish();
        self.withdraw(task, &entry, Moved { old: finish, new: finish });
        true
    }

    /// Takes a task out to be dispatched and charges its tenant and its priority. Gives its wait; `None`: it does not wait.
    pub fn take(&mut self, now: Timestamp, task: TaskIx) -> Option<Duration> {
        let entry = self.entry(task)?;
        let level = &mut self.levels[usize::from(entry.level)];
        let start = level.share.charge(self.virtual_time, entry.cost, u32::from(entry.level) + 1);
        self.virtual_time = self.virtual_time.max(start);
        let moved = level.accounts.charge(entry.tenant, entry.cost, &mut self.tenants);
        self.rekey(entry.level, entry.tenant, moved, entry.class);
        self.withdraw(task, &entry, moved);
        Some(now.since(entry.since))
    }

    /// Takes a task out of all tables, and moves its tenant's turn in its class.
    fn withdraw(&mut self, task: TaskIx, entry: &Entry, moved: Moved) {
        self.entries[task.at()] = None;
        self.len -= 1;
        let level = &mut self.levels[usize::from(entry.level)];
        level.len -= 1;
        let place = Place { order: entry.order, task, ahead: entry.ahead };
        let shut = self.shut_lanes > 0 && level.accounts.is_shut(entry.tenant, entry.class) == Some(true);
        let heads = level.accounts.remove(entry.tenant, entry.class, place, &mut self.tenants);
        let was_last_shut = shut && level.accounts.is_shut(entry.tenant, entry.class).is_none();
        if let Some(class) = self.classes.get_mut(&entry.class) {
            class.len -= 1;
            if let Some(bucket) = class.buckets.get_mut(&entry.level) {
                bucket.remove(task, entry.since);
                bucket.follow(entry.tenant, moved, heads);
                if was_last_shut {
                    bucket.count_shut(false);
                    self.shut_lanes -= 1;
                }
                if bucket.is_empty() {
                    class.buckets.remove(&entry.level);
                }
            }
            if class.len == 0 {
                self.classes.remove(&entry.class);
            }
        }
        self.tenants.leave(entry.tenant);
    }

    /// The task that goes next among these classes.
    pub fn best(&self, now: Timestamp, classes: impl Iterator<Item = ClassIx>) -> Option<TaskIx> {
        let classes = classes.filter_map(|class| self.classes.get(&class));
        self.best_of(now, classes.map(|class| (class, Admitted::ALL)))
    }

    /// The task that goes next among those that are admitted, which is asked once for each class of which tasks wait.
    ///
    /// Of each class and priority the tenant whose turn it is counts: if its task may not be taken ahead, nobody's is. To ask
    /// about each task instead was rejected: it is a trip to memory for each class and priority at every freed slot.
    pub fn best_where(&self, now: Timestamp, mut admitted: impl FnMut(ClassIx) -> Option<Admitted>) -> Option<TaskIx> {
        self.best_of(now, self.classes.iter().filter_map(|(&class, row)| Some((row, admitted(class)?))))
    }

    fn best_of<'a>(&self, now: Timestamp, classes: impl Iterator<Item = (&'a Class, Admitted)>) -> Option<TaskIx> {
        let mut offers = [None::<Offer>; Priority::COUNT];
        for (class, admitted) in classes {
            for (&level, bucket) in class.buckets.range(admitted.from_level..) {
                let Some(Offer { turn, mut oldest }) =
                    bucket.offer().filter(|offer| offer.turn.ahead() || !admitted.ahead)
                else {
                    continue;
                };
                if bucket.has_shut() {
                    oldest = self.entry(turn.task()).map_or(oldest, |entry| entry.since);
                }
                let slot = &mut offers[usize::from(level)];
                *slot = Some(slot.map_or(Offer { turn, oldest }, |offer| Offer {
                    turn: offer.turn.min(turn),
                    oldest: offer.oldest.min(oldest),
                }));
            }
        }
        let offered = (0u8..).zip(offers).filter_map(|(level, offer)| Some((level, offer?)));
        offered.min_by_key(|(level, offer)| self.rank(now, *level, offer.oldest)).map(|(_, offer)| offer.turn.task())
    }

    /// The order of priorities: the smallest goes. Effective level, then share, then the priority itself.
    fn rank(&self, now: Timestamp, level: u8, oldest: Timestamp) -> (Reverse<u8>, u64, Reverse<u8>) {
        let start = self.levels[usize::from(level)].share.start(self.virtual_time);
        (Reverse(self.effective_level(now, level, oldest)), start, Reverse(level))
    }

    fn effective_level(&self, now: Timestamp, level: u8, oldest: Timestamp) -> u8 {
        let max = Priority::MAX.level();
        let Some(interval) = self.ageing_interval else { return level };
        let raised = now.since(oldest).as_nanos() / interval.as_nanos().max(1);
        level.saturating_add(u8::try_from(raised).unwrap_or(max)).min(max)
    }

    /// Shuts or opens a tenant's lane, at all priorities. Costs the lane's priorities; one that opens also the tenant's other
    /// lanes at those. False: it was so already, or there is none.
    pub fn set_shut(&mut self, tenant: &Tenant, class: ClassIx, shut: bool) -> bool {
        let Some(tenant) = self.tenants.find(tenant) else { return false };
        let mut turned = false;
        for at in 0..self.levels.len() {
            let Some((moved, heads)) = self.levels[at].accounts.set_shut(tenant, class, shut) else { continue };
            turned = true;
            let level = u8::try_from(at).unwrap_or(u8::MAX);
            if let Some(bucket) = self.classes.get_mut(&class).and_then(|class| class.buckets.get_mut(&level)) {
                bucket.follow(tenant, moved, heads);
                bucket.count_shut(shut);
            }
            self.shut_lanes = if shut { self.shut_lanes + 1 } else { self.shut_lanes - 1 };
            self.rekey(level, tenant, moved, class);
        }
        turned
    }

    /// Whether the task waits.
    #[must_use]
    pub fn contains(&self, task: TaskIx) -> bool {
        self.entry(task).is_some()
    }

    fn entry(&self, task: TaskIx) -> Option<Entry> {
        self.entries.get(task.at()).copied().flatten()
    }

    /// Moves a tenant's turns to its account's new state, in all classes where it has one but `except`.
    fn rekey(&mut self, level: u8, tenant: TenantIx, moved: Moved, except: ClassIx) {
        if moved.old == moved.new {
            return;
        }
        let heads = self.levels[usize::from(level)].accounts.heads(tenant);
        for (class, head) in heads.filter(|(class, _)| *class != except) {
            let bucket = self.classes.get_mut(&class).and_then(|class| class.buckets.get_mut(&level));
            if let Some(bucket) = bucket {
                bucket.follow(tenant, moved, Heads { old: head, new: head });
            }
        }
    }
}

#[cfg(test)]
mod tests;
