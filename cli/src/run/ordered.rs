//! Puts what comes in any order back in order.

use std::collections::BTreeMap;

/// Holds what came early. Its owner bounds it by looking at [`Ordered::held`] and [`Ordered::held_bytes`] before it lets
/// more come.
#[derive(Debug)]
pub struct Ordered<T> {
    next: usize,
    held: BTreeMap<usize, (usize, T)>,
    held_bytes: usize,
}

impl<T> Ordered<T> {
    /// Nothing has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0, held: BTreeMap::new(), held_bytes: 0 }
    }

    /// Takes the item of this place, of so many bytes. A place that was taken before is passed over.
    pub fn push(&mut self, place: usize, bytes: usize, item: T) {
        if place >= self.next && !self.held.contains_key(&place) {
            self.held.insert(place, (bytes, item));
            self.held_bytes += bytes;
        }
    }

    /// The next item in order, if it has come.
    pub fn pop(&mut self) -> Option<(usize, T)> {
        let (bytes, item) = self.held.remove(&self.next)?;
        self.held_bytes -= bytes;
        let place = self.next;
        self.next += 1;
        Some((place, item))
    }

    /// Items that came early.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Their bytes.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Items that have left.
    #[must_use]
    pub const fn popped(&self) -> usize {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_order_comes_out_in_order_and_nothing_is_held_back(
            places in Just((0..60).collect::<Vec<usize>>()).prop_shuffle(),
            again in prop::collection::vec(0..60usize, 0..20),
        ) {
            let mut ordered = Ordered::new();
            let mut out = Vec::new();
            let mut seen = std::collections::BTreeSet::new();
            for place in places.into_iter().chain(again) {
                ordered.push(place, place, place * 10);
                seen.insert(place);
                while let Some((at, item)) = ordered.pop() {
                    prop_assert_eq!(item, at * 10);
                    out.push(at);
                }
                let gapless = (0..60).take_while(|place| seen.contains(place)).count();
                prop_assert_eq!(out.len(), gapless);
                prop_assert_eq!(ordered.held(), seen.len() - gapless);
                prop_assert_eq!(ordered.held_bytes(), seen.iter().filter(|&&place| place >= gapless).sum::<usize>());
            }
            prop_assert_eq!(out, (0..60).collect::<Vec<_>>());
        }
    }
}
