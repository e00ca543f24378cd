//! Where the load was: busy share of agents over time, as coarse as a picture can show.

use crate::record::AgentLoad;

/// Rows of the picture, at most: agents are grouped beyond.
const ROWS_MAX: u32 = 120;
/// Columns of the picture, at most: beyond, two become one.
const COLUMNS_MAX: usize = 240;

/// The picture as it grows.
#[derive(Clone, Debug)]
pub(crate) struct LoadPicture {
    slots: f64,
    agents_per_row: u32,
    column_s: f64,
    /// Windows that a column holds, and those of the last one so far.
    windows_per_column: u32,
    windows_in_last: u32,
    rows: Vec<Vec<Option<f32>>>,
    /// What each agent had been busy for at the last window.
    before_us: Vec<u64>,
}

impl LoadPicture {
    pub(crate) fn new(agents: u32, slots: u32, window_s: f64) -> Self {
        let agents_per_row = agents.div_ceil(ROWS_MAX).max(1);
        Self {
            slots: slots.into(),
            agents_per_row,
            column_s: window_s,
            windows_per_column: 1,
            windows_in_last: 0,
            rows: vec![Vec::new(); agents.div_ceil(agents_per_row) as usize],
            before_us: vec![0; agents as usize],
        }
    }

    /// Adds a window of this length, with each agent's presence and busy time until its end.
    pub(crate) fn add(&mut self, length_s: f64, agents: impl Iterator<Item = (bool, u64)>) {
        let mut sums = vec![(0.0, 0_u32); self.rows.len()];
        for (number, (connected, busy_us)) in agents.enumerate() {
            let Some(before_us) = self.before_us.get_mut(number) else { break };
            let busy_s = busy_us.saturating_sub(*before_us) as f64 / 1e6;
            *before_us = busy_us;
            if connected {
                let (sum, count) = &mut sums[number / self.agents_per_row as usize];
                *sum += (busy_s / length_s / self.slots).min(1.0);
                *count += 1;
            }
        }
        let begins = self.windows_in_last == 0 || self.windows_in_last == self.windows_per_column;
        self.windows_in_last = if begins { 1 } else { self.windows_in_last + 1 };
        let weight = 1.0 / self.windows_in_last as f32;
        for (row, (sum, count)) in self.rows.iter_mut().zip(sums) {
            let share = (count > 0).then(|| (sum / f64::from(count)) as f32);
            match row.last_mut() {
                Some(last) if !begins => *last = mean(*last, share, weight),
                _ => row.push(share),
            }
        }
        if self.rows.first().is_some_and(|row| row.len() > COLUMNS_MAX) {
            self.halve();
        }
    }

    fn halve(&mut self) {
        for row in &mut self.rows {
            *row = row.chunks(2).map(|pair| mean(pair[0], pair.last().copied().flatten(), 0.5)).collect();
        }
        // There was one column too many, the one that has just begun: it stays the last one, and goes on.
        self.windows_per_column *= 2;
        self.column_s *= 2.0;
    }

    /// The picture as it is now.
    pub(crate) fn finish(self, finished_by_agent: Vec<u32>) -> AgentLoad {
        let Self { column_s, agents_per_row, rows, .. } = self;
        AgentLoad { column_s, agents_per_row, rows, finished_by_agent }
    }
}

/// The mean of both, `new` with this weight; of one, where the other is not known.
fn mean(old: Option<f32>, new: Option<f32>, weight: f32) -> Option<f32> {
    match (old, new) {
        (Some(old), Some(new)) => Some(old + (new - old) * weight),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_the_busy_share_of_the_agents_that_were_there() {
        let mut picture = LoadPicture::new(3, 2, 1.0);
        picture.add(1.0, [(true, 1_000_000), (true, 2_000_000), (false, 0)].into_iter());
        picture.add(0.5, [(true, 1_000_000), (true, 2_500_000), (true, 250_000)].into_iter());
        let load = picture.finish(vec![1, 2, 3]);
        assert_eq!((load.column_s, load.agents_per_row), (1.0, 1));
        assert_eq!(load.rows, [[Some(0.5), Some(0.0)], [Some(1.0), Some(0.5)], [None, Some(0.25)]]);
    }

    #[test]
    fn many_agents_share_rows_and_many_windows_columns() {
        let mut picture = LoadPicture::new(1_000, 1, 1.0);
        for second in 1..=1_000_u64 {
            // The whole fleet is busy for half of each second, and in the last 500 not at all.
            picture.add(1.0, (0..1_000).map(|_| (true, second.min(500) * 500_000)));
        }
        let load = picture.finish(Vec::new());
        assert_eq!(load.agents_per_row, 9);
        assert_eq!(load.rows.len(), 112);
        let row = &load.rows[0];
        assert!(row.len() <= COLUMNS_MAX && load.column_s == 8.0, "{} columns of {} s", row.len(), load.column_s);
        assert_eq!((row[0], row[row.len() - 1]), (Some(0.5), Some(0.0)));
    }
}
