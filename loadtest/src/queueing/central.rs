//! The yardstick: one queue, first come first served, in front of all slots, without any delay or ignorance.
//!
//! A slot that comes free takes the task that has waited longest; a task that finds several free slots takes one of the
//! fastest agent. Nobody who does not know service times beforehand and does not interrupt tasks can do much better, and with
//! equal speeds nothing that keeps the order can.

use std::{cmp::Reverse, collections::BinaryHeap};

use evenkeel_core::replay::{Done, Job, Micros};

/// Runs the tasks, which come in the order of their time. Tells of each in that order.
pub(super) fn run(slownesses: &[f64], slots: u32, jobs: impl Iterator<Item = Job>, mut done: impl FnMut(Done)) {
    let mut by_speed: Vec<u32> = (0..).take(slownesses.len()).collect();
    by_speed.sort_by(|&a, &b| slownesses[a as usize].total_cmp(&slownesses[b as usize]).then(a.cmp(&b)));
    // Slots are known by the rank of their agent, so that the smallest of the free ones is the fastest.
    let ranks = (0..).take(by_speed.len());
    let mut free: BinaryHeap<Reverse<u32>> = ranks.flat_map(|rank| (0..slots).map(move |_| Reverse(rank))).collect();
    let mut busy: BinaryHeap<Reverse<(Micros, u32)>> = BinaryHeap::new();
    for (index, job) in (0..).zip(jobs) {
        while let Some(&Reverse((until, rank))) = busy.peek()
            && until <= job.at
        {
            busy.pop();
            free.push(Reverse(rank));
        }
        // All tasks before this one have their slot, so if none is free now, it gets the next that will be.
        let (started, rank) = match free.pop() {
            Some(Reverse(rank)) => (job.at, rank),
            None => match busy.pop() {
                Some(Reverse(next)) => next,
                None => return, // a fleet without agents
            },
        };
        let agent = by_speed[rank as usize];
        let finished = started + job.service(slownesses[agent as usize]);
        busy.push(Reverse((finished, rank)));
        done(Done { index, submitted: job.at, started, finished, agent });
    }
}
