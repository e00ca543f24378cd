//! Agents that differ in speed.

use super::fixture::*;

/// Two agents of four slots have run a hundred tasks each, one of them four times as long as the other.
fn fast_and_slow(strategy: &str) -> Cluster {
    let mut cluster = Cluster::with_strategy(strategy);
    cluster.join(agent("fast").slots(4));
    cluster.join(agent("slow").slots(4));
    for _ in 0..100 {
        // Four at once find room on both.
        let tasks: Vec<_> = (0..8).map(|_| cluster.submit(task("work"))).collect();
        for task in tasks {
            let run = if cluster.agent_with(task) == "fast" { ms(100) } else { ms(400) };
            cluster.succeed_in(task, run);
        }
    }
    cluster
}

/// Who gets this many tasks, one after the other, while none ends.
fn placed(cluster: &mut Cluster, tasks: usize) -> Vec<String> {
    let submitted: Vec<_> = (0..tasks).map(|_| cluster.submit(task("work"))).collect();
    submitted.into_iter().map(|task| cluster.agent_with(task)).collect()
}

#[test]
fn the_least_loaded_agent_is_the_one_that_will_be_done_first() {
    let mut cluster = fast_and_slow("least_loaded");
    assert_eq!(placed(&mut cluster, 5), ["fast", "fast", "fast", "fast", "slow"]);
}

#[test]
fn a_strategy_that_does_not_ask_for_speed_takes_no_notice_of_it() {
    let mut cluster = fast_and_slow("round_robin");
    let mut agents = placed(&mut cluster, 2);
    agents.sort();
    assert_eq!(agents, ["fast", "slow"]);
}

#[test]
fn an_agent_that_was_slow_is_tried_again_after_a_while() {
    let mut cluster = fast_and_slow("least_loaded");
    cluster.advance_alive(ms(3_600_000));
    let mut agents = placed(&mut cluster, 2);
    agents.sort();
    assert_eq!(agents, ["fast", "slow"]);
}
