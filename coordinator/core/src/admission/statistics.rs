//! Who asked for how much, and got it: by tenant, kind and agent, since the start and over the last minute, five minutes and
//! hour.
//!
//! A row counts into one bucket of ten seconds; when that is over it goes to a ring of them, and into a bucket of half a
//! minute, and that one into one of five minutes. So an event costs one addition, whatever the windows, and a window is the
//! sum of a few buckets. It lags by less than one of its buckets.
//!
//! A task's rows are found once, when it is accepted; from then on they are named by index. Agents have the row of their
//! index. Exponentially decaying averages were rejected: they are cheaper still, but nobody can check them against a count.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::Timestamp;
use slab::Slab;

/// Tenants, and as many kinds, that have a row of their own; 2.6 KiB each, like those of agents. Those that come later are
/// counted together under [`OTHERS`], until others have been idle for an hour.
pub const ROWS_MAX: usize = 1_024;
/// The name of the row of those that have none.
pub const OTHERS: &str = "(others)";
/// The windows.
pub const WINDOWS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(3_600)];
/// Buckets of the rings: 6 of 10 s, 10 of 30 s, 12 of 5 min.
const STEPS: [(u64, usize); 3] = [(10, 6), (30, 10), (300, 12)];
/// A row that nobody has used for so long has nothing left in any window.
const IDLE: Duration = Duration::from_secs(3_600);
/// Idle rows are looked for at most this often, once there is no room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks submitted and accepted.
    pub requested: u64,
    /// Attempts assigned.
    pub granted: u64,
    /// Attempts that ended.
    pub released: u64,
    /// Of them, those that took too long.
    pub timed_out: u64,
    /// Tasks refused at submission.
    pub refused: u64,
    /// Waits before the assignments, together, in microseconds.
    pub wait_us: u64,
    /// Runs of the attempts that ended, together, in microseconds.
    pub run_us: u64,
    /// Slots in use, times microseconds.
    pub slot_us: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requested += other.requested;
        self.granted += other.granted;
        self.released += other.released;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
        self.wait_us = self.wait_us.saturating_add(other.wait_us);
        self.run_us = self.run_us.saturating_add(other.run_us);
        self.slot_us = self.slot_us.saturating_add(other.slot_us);
    }
}

/// A window of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// How long it is.
    pub length: Duration,
    /// What happened in it.
    pub counts: Counts,
    /// Mean wait before an assignment.
    pub wait_mean: Duration,
    /// Mean run of an attempt.
    pub run_mean: Duration,
    /// Mean of the slots in use.
    pub slots_mean: f64,
}

/// Buckets of one length, the present one last.
#[derive(Clone, Debug, Default)]
struct Ring {
    present: Counts,
    /// Which stretch of this length the present bucket is of.
    step: u64,
    past: [Counts; 12],
}

/// One tenant, kind or agent.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Since the coordinator started.
    pub total: Counts,
    /// At this moment.
    pub slots_in_use: u32,
    rings: [Ring; 3],
    /// Until when slots are counted.
    counted_to: Timestamp,
    /// When the shortest bucket is over: before that nothing has to be looked at.
    turns_at: Timestamp,
    /// Live tasks that name it.
    users: u32,
}

impl Row {
    /// Brings the buckets up to date. Nearly always nothing is over.
    fn turn(&mut self, now: Timestamp) {
        self.count_slots(now);
        if now < self.turns_at {
            return;
        }
        let shortest = STEPS[0].0 * 1_000;
        self.turns_at = Timestamp::from_unix_millis((now.unix_millis() / shortest + 1) * shortest);
        let mut carried = None;
        for (ring, (length, buckets)) in self.rings.iter_mut().zip(STEPS) {
            if let Some(counts) = carried {
                ring.present.add(&counts);
            }
            let step = now.unix_millis() / 1_000 / length;
            if step <= ring.step {
                return;
            }
            let ended = std::mem::take(&mut ring.present);
            ring.past[ring.step as usize % buckets] = ended;
            // What lies between has nothing counted in it, or is of the last time round.
            for empty in (ring.step + 1..step).take(buckets) {
                ring.past[empty as usize % buckets] = Counts::default();
            }
            ring.step = step;
            carried = Some(ended);
        }
    }

    fn count_slots(&mut self, now: Timestamp) {
        let us = now.unix_micros().saturating_sub(self.counted_to.unix_micros());
        self.counted_to = self.counted_to.max(now);
        let slot_us = us.saturating_mul(self.slots_in_use.into());
        self.rings[0].present.slot_us = self.rings[0].present.slot_us.saturating_add(slot_us);
    }

    fn count(&mut self, now: Timestamp, change: impl Fn(&mut Counts)) {
        self.turn(now);
        change(&mut self.total);
        change(&mut self.rings[0].present);
    }

    /// What happened in each of the [`WINDOWS`].
    #[must_use]
    pub fn windows(&self, now: Timestamp) -> [Window; 3] {
        let mut row = self.clone();
        row.turn(now);
        let mut under_way = Counts::default();
        std::array::from_fn(|at| {
            let (ring, (_, buckets)) = (&row.rings[at], STEPS[at]);
            under_way.add(&ring.present);
            let mut counts = under_way;
            // The bucket that the present one will replace is the oldest: with it the window would be too long.
            let present = ring.step as usize % buckets;
            ring.past[..buckets]
                .iter()
                .enumerate()
                .filter(|(past, _)| *past != present)
                .for_each(|(_, c)| counts.add(c));
            let mean = |us: u64, of: u64| Duration::from_micros(us.checked_div(of).unwrap_or(0));
            Window {
                length: WINDOWS[at],
                counts,
                wait_mean: mean(counts.wait_us, counts.granted),
                run_mean: mean(counts.run_us, counts.released),
                slots_mean: counts.slot_us as f64 / WINDOWS[at].as_micros() as f64,
            }
        })
    }
}

/// A row of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIx(u32);

/// The rows of all tenants, or of all kinds.
#[derive(Debug)]
pub struct Table<K> {
    rows: Slab<(Option<K>, Row)>,
    by_name: BTreeMap<K, RowIx>,
    swept_at: Timestamp,
}

impl<K: Ord + Clone> Default for Table<K> {
    fn default() -> Self {
        let mut rows = Slab::new();
        rows.insert((None, Row::default()));
        Self { rows, by_name: BTreeMap::new(), swept_at: Timestamp::ZERO }
    }
}

/// The row of those that have none.
const OTHERS_ROW: RowIx = RowIx(0);

impl<K: Ord + Clone> Table<K> {
    /// The row of a name, for a task that begins: it keeps the row until [`Table::leave`].
    pub fn enter(&mut self, now: Timestamp, name: &K) -> RowIx {
        let row = self.by_name.get(name).copied().unwrap_or_else(|| self.insert(now, name));
        self.rows[row.0 as usize].1.users += 1;
        row
    }

    /// The task is over.
    pub fn leave(&mut self, row: RowIx) {
        let users = &mut self.rows[row.0 as usize].1.users;
        *users = users.saturating_sub(1);
    }

    fn insert(&mut self, now: Timestamp, name: &K) -> RowIx {
        if self.rows.len() > ROWS_MAX && !self.sweep(now) {
            return OTHERS_ROW;
        }
        let row = Row { counted_to: now, ..Row::default() };
        let row = RowIx(u32::try_from(self.rows.insert((Some(name.clone()), row))).unwrap_or(0));
        self.by_name.insert(name.clone(), row);
        row
    }

    /// Forgets idle rows; whether there were any.
    fn sweep(&mut self, now: Timestamp) -> bool {
        if now < self.swept_at.plus(SWEEP_INTERVAL) {
            return false;
        }
        self.swept_at = now;
        let before = self.rows.len();
        let is_idle = |row: &Row| row.users == 0 && row.slots_in_use == 0 && now.since(row.counted_to) >= IDLE;
        self.rows.retain(|at, (_, row)| at == 0 || !is_idle(row));
        let rows = &self.rows;
        self.by_name.retain(|_, row| rows.contains(row.0 as usize));
        self.rows.len() < before
    }

    /// Something happened.
    pub fn count(&mut self, now: Timestamp, row: RowIx, change: impl Fn(&mut Counts)) {
        self.rows[row.0 as usize].1.count(now, change);
    }

    /// So many slots more are in use, or fewer.
    pub fn use_slots(&mut self, now: Timestamp, row: RowIx, change: i64) {
        use_slots(&mut self.rows[row.0 as usize].1, now, change);
    }

    /// All rows that were ever used, by name; those that have none of their own, last and without a name.
    pub fn rows(&self) -> impl Iterator<Item = (Option<&K>, &Row)> {
        let named = self.by_name.iter().map(|(name, row)| (Some(name), &self.rows[row.0 as usize].1));
        let others = &self.rows[0].1;
        named.chain((others.total != Counts::default()).then_some((None, others)))
    }
}

fn use_slots(row: &mut Row, now: Timestamp, change: i64) {
    row.turn(now);
    row.slots_in_use = u32::try_from((i64::from(row.slots_in_use) + change).max(0)).unwrap_or(u32::MAX);
}

/// The rows of agents, by their index.
#[derive(Debug, Default)]
pub struct AgentRows(Vec<Option<Box<Row>>>);

impl AgentRows {
    /// The row of an agent, made if there is none.
    fn row(&mut self, now: Timestamp, agent: crate::ix::AgentIx) -> &mut Row {
        if agent.at() >= self.0.len() {
            self.0.resize_with(agent.at() + 1, || None);
        }
        self.0[agent.at()].get_or_insert_with(|| Box::new(Row { counted_to: now, ..Row::default() }))
    }

    /// Something happened.
    pub fn count(&mut self, now: Timestamp, agent: crate::ix::AgentIx, change: impl Fn(&mut Counts)) {
        self.row(now, agent).count(now, change);
    }

    /// So many slots more are in use, or fewer.
    pub fn use_slots(&mut self, now: Timestamp, agent: crate::ix::AgentIx, change: i64) {
        use_slots(self.row(now, agent), now, change);
    }

    /// The agent is forgotten.
    pub fn remove(&mut self, agent: crate::ix::AgentIx) {
        if let Some(row) = self.0.get_mut(agent.at()) {
            *row = None;
        }
    }

    /// The row of an agent that was ever given anything.
    #[must_use]
    pub fn get(&self, agent: crate::ix::AgentIx) -> Option<&Row> {
        self.0.get(agent.at())?.as_deref()
    }
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
