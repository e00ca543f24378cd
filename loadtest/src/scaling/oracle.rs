//! The fewest agent-hours without a miss, for who knows the day beforehand.
//!
//! Let `A(t)` be the work that has come until `t` and `B` the longest wait that is no miss. Whatever is done until `t` lies
//! between `A(t - B)`, what is due, and `A(t)`, what there is. Of all curves between the two, the tautest string has the
//! steadiest slope: it is the shortest, and it minimises every convex cost of the rate (Salehi, Zhang, Kurose and Towsley, 1998,
//! "Supporting stored video: reducing rate variability and end-to-end resource requirements through optimal smoothing"). Its
//! slope is the slots that are needed, and that over the slots of an agent, rounded up, the agents.
//!
//! Starting an agent costs its start-up time. So where the n-th agent is not needed for less than that, it stays: for each n
//! the pauses that are shorter than a start-up are bridged. Each start is begun so much earlier, since the day is known.
//!
//! Work is taken to be divisible, which a task is not, so this is a lower bound that no policy can reach; and it keeps the policy's
//! least number of agents, so that it answers for the same order.

/// Steps of the curves: shorter than any wait target of the templates.
const STEP_S: f64 = 5.0;

use super::day::Day;

/// Agent-hours of the oracle.
#[must_use]
pub fn agent_hours(day: &Day, slots: u32, wait_s: f64, start_up_s: f64, agents_min: u32) -> f64 {
    let needed = agents(day, slots, wait_s, agents_min);
    let most = needed.iter().copied().max().unwrap_or(0);
    let start_up_steps = start_up_s / STEP_S;
    let steps: f64 = (1..=most).map(|level| level_steps(&needed, level, start_up_steps)).sum();
    steps * STEP_S / 3_600.0
}

/// Agents needed in each step.
fn agents(day: &Day, slots: u32, wait_s: f64, agents_min: u32) -> Vec<u32> {
    let late = (wait_s / STEP_S).floor() as usize;
    let steps = (day.length_s as f64 / STEP_S).ceil() as usize;
    let mut come = vec![0.0; steps + late + 2];
    for task in &day.tasks {
        come[(task.at_s / STEP_S) as usize + 1] += task.service_s;
    }
    for at in 1..come.len() {
        come[at] += come[at - 1];
    }
    let due: Vec<f64> = (0..come.len()).map(|at| if at > late { come[at - late - 1] } else { 0.0 }).collect();
    let slopes = taut(&due, &come);
    let per_agent = f64::from(slots) * STEP_S;
    slopes.iter().map(|slope| ((slope / per_agent - 1e-9).ceil().max(0.0) as u32).max(agents_min)).collect()
}

/// The slope of each step of the tautest string between two curves that begin and end together.
fn taut(low: &[f64], high: &[f64]) -> Vec<f64> {
    let last = low.len() - 1;
    let mut slopes = vec![0.0; last];
    let (mut at, mut level) = (0, low[0]);
    while at < last {
        let (mut steepest, mut shallowest) = ((f64::MIN, at), (f64::MAX, at));
        let mut bend = None;
        for next in at + 1..=last {
            let slope = |to: f64| (to - level) / (next - at) as f64;
            // It can go no straighter than to the corner of the curve that would be crossed.
            if slope(low[next]) > shallowest.0 {
                bend = Some((shallowest.1, high[shallowest.1]));
                break;
            }
            if slope(high[next]) < steepest.0 {
                bend = Some((steepest.1, low[steepest.1]));
                break;
            }
            if slope(low[next]) >= steepest.0 {
                steepest = (slope(low[next]), next);
            }
            if slope(high[next]) <= shallowest.0 {
                shallowest = (slope(high[next]), next);
            }
        }
        let (to, height) = bend.unwrap_or((last, low[last]));
        slopes[at..to].fill((height - level) / (to - at) as f64);
        (at, level) = (to, height);
    }
    slopes
}

/// Steps for which the agent of this level is kept, its starts included.
fn level_steps(needed: &[u32], level: u32, start_up_steps: f64) -> f64 {
    let (mut steps, mut last) = (0.0, None);
    for (at, _) in needed.iter().enumerate().filter(|(_, needed)| **needed >= level) {
        let pause = last.map(|last| (at - last - 1) as f64);
        // The first agent of a day is there already at its beginning, if it is needed then.
        let begun = if at == 0 { 0.0 } else { start_up_steps };
        steps += 1.0 + pause.map_or(begun, |pause| pause.min(start_up_steps));
        last = Some(at);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::Task;

    #[test]
    fn the_string_is_straight_where_it_can_be_and_bends_where_it_must() {
        // Nothing is due for long: one straight line.
        assert_eq!(taut(&[0.0, 0.0, 0.0, 6.0], &[0.0, 6.0, 6.0, 6.0]), [2.0, 2.0, 2.0]);
        // All is due at once.
        assert_eq!(taut(&[0.0, 6.0, 6.0, 6.0], &[0.0, 6.0, 6.0, 6.0]), [6.0, 0.0, 0.0]);
        // Four are due after one step; the rest may take its time.
        assert_eq!(taut(&[0.0, 4.0, 4.0, 6.0], &[0.0, 6.0, 6.0, 6.0]), [4.0, 1.0, 1.0]);
        // No more can be done than has come.
        assert_eq!(taut(&[0.0, 0.0, 0.0, 6.0], &[0.0, 1.0, 2.0, 6.0]), [1.0, 1.0, 4.0]);
    }

    #[test]
    fn steady_work_takes_its_agents_and_a_pause_is_bridged_if_a_start_costs_more() {
        // Two slots' worth for ten minutes, then a pause, then the same again.
        let tasks = |from: u64| (from..from + 600).map(|s| Task { at_s: s as f64, service_s: 2.0 });
        let day = |pause: u64| Day { tasks: tasks(0).chain(tasks(600 + pause)).collect(), length_s: 1_200 + pause };
        let hours = |pause, start_up_s| agent_hours(&day(pause), 1, 5.0, start_up_s, 0) * 3_600.0;
        // Two agents; one step at the edges, where work comes in and is due.
        assert!((hours(300, 30.0) - (2.0 * 1_200.0 + 2.0 * 30.0)).abs() < 60.0, "{}", hours(300, 30.0));
        assert!((hours(300, 900.0) - 2.0 * 1_500.0).abs() < 60.0, "{}", hours(300, 900.0));
    }
}
