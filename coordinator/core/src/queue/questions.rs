//! What can be asked of the queue: how much waits, for how long, and where in it a task is.

use std::{cmp::Ordering, collections::BTreeSet};

use evenkeel_shared::{Priority, Tenant, Timestamp};

use super::{Entry, Queue, bucket::Bucket};
use crate::ix::{ClassIx, TaskIx};

impl Queue {
    /// The classes of which a tenant's tasks wait, in their order.
    #[must_use]
    pub fn classes_of(&self, tenant: &Tenant) -> BTreeSet<ClassIx> {
        let tenant = self.tenants.find(tenant);
        tenant.into_iter().flat_map(|tenant| self.levels.iter().flat_map(move |l| l.accounts.classes(tenant))).collect()
    }

    /// Whether the lane of a waiting task is shut.
    #[must_use]
    pub fn is_shut(&self, task: TaskIx) -> bool {
        self.entry(task).is_some_and(|entry| {
            self.levels[usize::from(entry.level)].accounts.is_shut(entry.tenant, entry.class) == Some(true)
        })
    }

    /// How many tasks of a tenant's lane wait. Costs them.
    #[must_use]
    pub fn lane_len(&self, tenant: &Tenant, class: ClassIx) -> usize {
        let Some(tenant) = self.tenants.find(tenant) else { return 0 };
        self.levels.iter().map(|level| level.accounts.lane_len(tenant, class)).sum()
    }

    /// How many tasks of its class would go before this one if nothing came in and nothing aged. Exact inside its priority;
    /// what a priority of the same effective level adds is estimated by its share. Costs what it counts.
    #[must_use]
    pub fn position(&self, now: Timestamp, task: TaskIx) -> Option<usize> {
        let entry = self.entry(task)?;
        let class = self.classes.get(&entry.class)?;
        let own = class.buckets.get(&entry.level)?;
        let own_level = self.effective_level(now, entry.level, own.oldest()?.1);
        let mut ahead = self.ahead_in(own, task, &entry);
        let within = ahead;
        for (&level, bucket) in class.buckets.iter().filter(|(level, _)| **level != entry.level) {
            let Some((_, oldest)) = bucket.oldest() else { continue };
            ahead += match self.effective_level(now, level, oldest).cmp(&own_level) {
                Ordering::Greater => bucket.len(),
                Ordering::Less => 0,
                Ordering::Equal => {
                    let (share, own_share) = (usize::from(level) + 1, usize::from(entry.level) + 1);
                    bucket.len().min(within.saturating_mul(share) / own_share)
                }
            };
        }
        Some(ahead)
    }

    /// Tasks of a bucket that go before one of it: those whose turn has a smaller key.
    fn ahead_in(&self, bucket: &Bucket, task: TaskIx, entry: &Entry) -> usize {
        let accounts = &self.levels[usize::from(entry.level)].accounts;
        let starts = |tenant| {
            let (mut share, weight) = (accounts.share(tenant), self.tenants.weight(tenant));
            accounts.lane(tenant, entry.class).map(move |place| {
                let key = share.finish();
                accounts.charge_copy(&mut share, self.entry(place.task).map_or(0, |entry| entry.cost), weight);
                (key, place)
            })
        };
        let Some(own) = starts(entry.tenant).find(|(_, other)| other.task == task) else { return 0 };
        bucket.tenants().map(|tenant| starts(tenant).take_while(|start| *start < own).count()).sum()
    }

    /// How many tasks wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many tasks of a class wait.
    #[must_use]
    pub fn class_len(&self, class: ClassIx) -> usize {
        self.classes.get(&class).map_or(0, |class| class.len)
    }

    /// The classes of which tasks wait, in their order.
    pub fn classes(&self) -> impl Iterator<Item = ClassIx> + '_ {
        self.classes.keys().copied()
    }

    /// Since when the longest waiting task waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.classes().filter_map(|class| self.class_oldest(class)).map(|(_, since)| since).min()
    }

    /// The longest waiting task of a class, and since when it waits.
    #[must_use]
    pub fn class_oldest(&self, class: ClassIx) -> Option<(TaskIx, Timestamp)> {
        let buckets = self.classes.get(&class)?.buckets.values();
        buckets.filter_map(Bucket::oldest).min_by_key(|&(task, since)| (since, task))
    }

    /// The same among those that may go. Where a class and priority has a shut lane, the task that goes next stands for all.
    #[must_use]
    pub fn class_oldest_open(&self, class: ClassIx) -> Option<(TaskIx, Timestamp)> {
        let oldest = |bucket: &Bucket| {
            if !bucket.has_shut() {
                return bucket.oldest();
            }
            let task = bucket.offer()?.turn.task();
            self.entry(task).map(|entry| (task, entry.since))
        };
        let buckets = self.classes.get(&class)?.buckets.values();
        buckets.filter_map(oldest).min_by_key(|&(task, since)| (since, task))
    }

    /// How many tasks of each priority wait.
    #[must_use]
    pub fn level_lens(&self) -> [usize; Priority::COUNT] {
        std::array::from_fn(|level| self.levels[level].len)
    }

    /// How many tasks of each tenant wait, by name; tenants of which none waits may be among them.
    pub fn tenant_lens(&self) -> impl Iterator<Item = (&Tenant, usize)> {
        self.tenants.lens()
    }

    /// How many tasks of a tenant wait.
    #[must_use]
    pub fn tenant_len(&self, tenant: &Tenant) -> usize {
        self.tenants.find(tenant).map_or(0, |tenant| self.tenants.len(tenant))
    }
}
