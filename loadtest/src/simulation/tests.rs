use super::{plan::Plan, runner::run, trace::Keep, *};

#[test]
fn try_it() {
    for seed in 0..20 {
        let began = std::time::Instant::now();
        let run = run(Plan::draw(seed, Profile::small()), Keep::Nothing);
        let r = run.report;
        println!(
            "{seed}: {:?} agents {} events {} healed {:?} tasks {} faults {:?} rules {:?}",
            began.elapsed(), r.agents, r.events, r.healed_after, r.verdict.tasks, r.faults, r.rules_broken()
        );
        for b in r.breaches.iter().take(2) {
            println!("    {} {}", b.rule, b.facts);
        }
        for v in r.verdict.violations.iter().take(2) {
            println!("    {} {}", v.rule, v.facts);
        }
    }
}
