//! Which budgets cover a task: found by tenant, kind, both or neither, so that a task costs what covers it, however many budgets
//! there are. A list of all with a test of each was rejected for that.

use std::collections::BTreeMap;

use evenkeel_shared::{Kind, Tenant};

use crate::cost::Budget;

/// Places of accounts by whom they cover.
#[derive(Debug, Default)]
pub(super) struct Index {
    everyone: Vec<usize>,
    by_tenant: BTreeMap<Tenant, Vec<usize>>,
    by_kind: BTreeMap<Kind, Vec<usize>>,
    by_both: BTreeMap<Tenant, BTreeMap<Kind, Vec<usize>>>,
}

impl Index {
    pub fn add(&mut self, budget: &Budget, place: usize) {
        let places = match (&budget.tenant, &budget.kind) {
            (None, None) => &mut self.everyone,
            (Some(tenant), None) => self.by_tenant.entry(tenant.clone()).or_default(),
            (None, Some(kind)) => self.by_kind.entry(kind.clone()).or_default(),
            (Some(tenant), Some(kind)) => {
                self.by_both.entry(tenant.clone()).or_default().entry(kind.clone()).or_default()
            }
        };
        places.push(place);
    }

    pub fn remove(&mut self, place: usize) {
        let without = |places: &mut Vec<usize>| {
            places.retain(|&other| other != place);
            !places.is_empty()
        };
        without(&mut self.everyone);
        self.by_tenant.retain(|_, places| without(places));
        self.by_kind.retain(|_, places| without(places));
        self.by_both.retain(|_, kinds| {
            kinds.retain(|_, places| without(places));
            !kinds.is_empty()
        });
    }

    pub fn covering(&self, tenant: &Tenant, kind: &Kind) -> impl Iterator<Item = usize> {
        let lists = [
            Some(&self.everyone),
            self.by_tenant.get(tenant),
            self.by_kind.get(kind),
            self.by_both.get(tenant).and_then(|kinds| kinds.get(kind)),
        ];
        lists.into_iter().flatten().flatten().copied()
    }
}
