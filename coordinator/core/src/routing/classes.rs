//! Classes of tasks: those that ask for the same of an agent.
//!
//! The queue keeps a lane per class and the router an index per class, so that "is there room for tasks like this one"
//! is asked once and not per task. A class that nobody uses any more is kept, because its like tends to come back, until
//! its place is needed; then the one that has been unused longest goes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use evenkeel_shared::{Kind, LabelRule, QuotaKey, Requirements};
use slab::Slab;

use super::{fits::Fits, roster::Roster, selectors::Selectors, views::Views};
use crate::ix::{AgentIx, ClassIx};

/// Distinct classes in use. Each update of an agent passes over them, and the sets of each may take 64 KiB.
pub const CLASSES_MAX: usize = 4_096;
/// Classes kept although nobody uses them: enough for what comes back, and few enough not to slow updates down.
const UNUSED_MAX: usize = 256;

/// What classes are made of.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub selectors: Selectors,
    pub fits: Fits,
    pub views: Views,
}

/// No more classes can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tasks with {CLASSES_MAX} different combinations of kind, resources and label rules are waiting or running; \
     submit again once some are over, or use fewer combinations"
)]
pub struct ClassLimit;

/// What tasks of a class ask for.
#[derive(Debug)]
pub(super) struct Class {
    pub kind: Kind,
    pub required: Vec<LabelRule>,
    /// How many preferred rules there are.
    pub preferred: usize,
    /// Place among the fits.
    pub fit: usize,
    /// Places among the views: first with all preferences, then with the lightest one given up, and so on; the last has
    /// the required rules alone.
    pub views: Vec<usize>,
    /// Where the next search begins, so that equal agents take turns. Each class has its own: with one for all, classes
    /// that alternate would throw each other back to the same agents.
    pub cursor: AgentIx,
    requirements: Requirements,
    refs: u32,
    unused_since: u64,
}

impl Class {
    pub(super) fn quota_keys(&self) -> &[QuotaKey] {
        &self.requirements.quota_keys
    }

    /// Place of the view without preferences.
    pub(super) fn required_only(&self) -> usize {
        self.views[self.preferred]
    }
}

/// All classes.
#[derive(Debug, Default)]
pub(super) struct Classes {
    table: Slab<Class>,
    by_key: BTreeMap<Kind, BTreeMap<Requirements, ClassIx>>,
    /// Classes without users, longest unused first.
    unused: BTreeSet<(u64, ClassIx)>,
    /// Counts releases, to order them.
    releases: u64,
}

impl Classes {
    pub(super) fn get(&self, class: ClassIx) -> Option<&Class> {
        self.table.get(class.at())
    }

    pub(super) fn get_mut(&mut self, class: ClassIx) -> Option<&mut Class> {
        self.table.get_mut(class.at())
    }

    /// The class of these requirements, with one user more. `None` if it is not known yet.
    pub(super) fn reuse(&mut self, kind: &Kind, requirements: &Requirements) -> Option<ClassIx> {
        let class = *self.by_key.get(kind)?.get(requirements)?;
        let entry = &mut self.table[class.at()];
        if entry.refs == 0 {
            self.unused.remove(&(entry.unused_since, class));
        }
        entry.refs += 1;
        Some(class)
    }

    /// A new class with one user.
    pub(super) fn create(
        &mut self,
        kind: &Kind,
        requirements: &Requirements,
        index: &mut Index,
        roster: &Roster,
    ) -> Result<ClassIx, ClassLimit> {
        if self.unused.len() >= UNUSED_MAX || self.table.len() >= CLASSES_MAX {
            self.evict(index)?;
        }
        let Index { selectors, fits, views } = index;
        let mut preferred = requirements.preferred.clone();
        preferred.sort_by_key(|rule| Reverse(rule.weight));
        let rules: Vec<_> = requirements.required.iter().chain(&preferred).cloned().collect();
        let fit = fits.acquire(&requirements.resources, roster);
        let view = |kept: usize| {
            let selector = selectors.acquire(kind, &rules[..kept], roster);
            views.insert(selector, fit, selectors, fits)
        };
        let views = (requirements.required.len()..=rules.len()).rev().map(view).collect();
        let class = ClassIx::from(self.table.insert(Class {
            kind: kind.clone(),
            required: requirements.required.clone(),
            fit,
            views,
            preferred: preferred.len(),
            cursor: AgentIx(0),
            requirements: requirements.clone(),
            refs: 1,
            unused_since: 0,
        }));
        self.by_key.entry(kind.clone()).or_default().insert(requirements.clone(), class);
        Ok(class)
    }

    /// Takes one user away.
    pub(super) fn release(&mut self, class: ClassIx) {
        let Some(entry) = self.table.get_mut(class.at()).filter(|entry| entry.refs > 0) else { return };
        entry.refs -= 1;
        if entry.refs == 0 {
            self.releases += 1;
            entry.unused_since = self.releases;
            self.unused.insert((self.releases, class));
        }
    }

    /// Forgets the class that has been unused longest.
    fn evict(&mut self, index: &mut Index) -> Result<(), ClassLimit> {
        let (_, class) = self.unused.pop_first().ok_or(ClassLimit)?;
        let entry = self.table.remove(class.at());
        index.fits.release(entry.fit);
        for &at in &entry.views {
            index.selectors.release(index.views.remove(at).selector);
        }
        if let Some(of_kind) = self.by_key.get_mut(&entry.kind) {
            of_kind.remove(&entry.requirements);
            if of_kind.is_empty() {
                self.by_key.remove(&entry.kind);
            }
        }
        Ok(())
    }
}
