use std::sync::Arc;

use super::{
    fixture::{agent, at, group},
    sample::{GroupSample, MoreSamples},
    *,
};
use crate::model::{AgentView, EngineStatus};

/// A fleet that is shown to insight second by second.
struct Shown {
    insight: Insight,
    second: u64,
    status: EngineStatus,
    agents: Vec<Arc<AgentView>>,
    more: MoreSamples,
    out: Outputs,
}

fn shown(agents: Vec<Arc<AgentView>>) -> Shown {
    Shown {
        insight: Insight::default(),
        second: 0,
        status: EngineStatus::default(),
        agents,
        more: MoreSamples::default(),
        out: Outputs::default(),
    }
}

impl Shown {
    fn goes_on(&mut self, seconds: u64, mut change: impl FnMut(&mut EngineStatus, &mut MoreSamples)) -> &mut Self {
        for _ in 0..seconds {
            self.second += 1;
            change(&mut self.status, &mut self.more);
            let sample = FleetSample {
                at: at(self.second),
                status: Arc::new(self.status.clone()),
                agents: self.agents.clone(),
                more: self.more.clone(),
            };
            self.insight.observe(&sample, &mut self.out);
        }
        self
    }

    fn last(&self, subject: &Subject, metric: Metric) -> Option<f64> {
        self.insight.book().last(subject, metric)
    }

    fn fleet(&self, metric: Metric) -> Option<f64> {
        self.last(&Subject::Fleet, metric)
    }
}

#[test]
fn counters_become_rates_and_shares() {
    let mut shown =
        shown(vec![agent("a").load(0.5, 0.2).view(), agent("b").load(1.0, 0.4).view(), agent("c").lost().view()]);
    shown.goes_on(3, |status, more| {
        (status.slots_total, status.slots_used) = (4, 3);
        status.counters.accepted += 100;
        status.counters.succeeded += 60;
        status.counters.failed += 20;
        more.shell.commits += 10;
        more.shell.commit_time += Duration::from_millis(55);
        more.shell.engine_busy += Duration::from_millis(250);
    });
    let values = [
        (Metric::Utilisation, 0.75),
        (Metric::Cpu, 0.75),
        (Metric::Agents, 2.0),
        (Metric::AgentsDown, 1.0 / 3.0),
        (Metric::RequestRate, 100.0),
        (Metric::CompletionRate, 80.0),
        (Metric::ErrorRate, 0.25),
        (Metric::CommitMs, 5.5),
        (Metric::EngineBusy, 0.25),
    ];
    for (metric, value) in values {
        let measured = shown.fleet(metric).unwrap();
        assert!((measured - value).abs() < 1e-6, "{metric} is {measured}, not {value}");
    }
    assert_eq!(shown.fleet(Metric::ResponseTimeMs), None, "nothing was told of it");
}

#[test]
fn a_counter_that_went_back_gives_no_value() {
    let mut shown = shown(Vec::new());
    shown.goes_on(1, |status, _| status.counters.accepted = 100);
    shown.goes_on(1, |status, _| status.counters.accepted = 3);
    assert_eq!(shown.fleet(Metric::RequestRate), None);
    shown.goes_on(1, |status, _| status.counters.accepted = 5);
    assert_eq!(shown.fleet(Metric::RequestRate), Some(2.0));
}

#[test]
fn an_agents_failures_are_those_since_the_last_look() {
    let mut shown = shown(vec![agent("a").done(100, 50).view(), agent("b").done(1, 1).view()]);
    shown.goes_on(1, |_, _| ());
    shown.agents = vec![agent("a").done(108, 52).view(), agent("b").done(1, 1).view()];
    shown.goes_on(1, |_, _| ());
    assert_eq!(shown.last(&Subject::parse("agent:a").unwrap(), Metric::ErrorRate), Some(0.2));
    assert_eq!(shown.last(&Subject::parse("agent:b").unwrap(), Metric::ErrorRate), None, "nothing ended on it");
}

#[test]
fn tenants_and_kinds_have_series_of_their_own() {
    let mut shown = shown(Vec::new());
    let mut released = 0;
    shown.goes_on(3, |_, more| {
        released += 5;
        let run_time = Duration::from_millis(20 * released);
        more.kinds = vec![GroupSample { released, run_time, ..group("echo", 7) }];
        more.tenants = vec![group("acme", 2)];
    });
    let kind = Subject::parse("kind:echo").unwrap();
    assert_eq!(shown.last(&kind, Metric::Queued), Some(7.0));
    assert_eq!(shown.last(&kind, Metric::RunTimeMs).map(f64::round), Some(20.0));
    assert_eq!(shown.last(&Subject::parse("tenant:acme").unwrap(), Metric::Queued), Some(2.0));
    assert_eq!(shown.last(&Subject::parse("tenant:other").unwrap(), Metric::Queued), None);
}

#[test]
fn a_fleet_that_is_short_of_slots_says_so_once_and_loses_points() {
    let mut shown = shown(vec![agent("a").slots(2, 2).view()]);
    shown.goes_on(60, |status, _| {
        (status.slots_total, status.slots_used, status.queued) = (2, 2, 9);
        status.oldest_queued = Duration::from_secs(30);
    });
    assert_eq!(shown.out.notices.len(), 1);
    let health = shown.insight.health(at(shown.second), &PoolBy::Kind);
    assert_eq!(health.bottlenecks[0].metric, Metric::Utilisation);
    assert!(health.score.score < 90.0 && health.agents.len() == 1, "{:?}", health.score);
}

#[test]
fn thresholds_are_declared_and_survive_a_restart() {
    let mut shown = shown(Vec::new());
    let threshold = Threshold { metric: Metric::Queued, warning: 10.0, critical: 100.0, for_ms: 1_000, below: false };
    shown.insight.put_thresholds(at(1), vec![threshold], "busy".to_owned(), &mut shown.out).unwrap();
    let Record::Declared(declaration) = &shown.out.records[0] else { panic!("{:?}", shown.out.records) };
    assert_eq!((declaration.version, declaration.reason.as_str()), (1, "busy"));
    let mut again = Insight::new(std::slice::from_ref(declaration));
    assert_eq!(again.thresholds(), shown.insight.thresholds());
    let mut out = Outputs::default();
    again.put_thresholds(at(2), Vec::new(), String::new(), &mut out).unwrap();
    assert_eq!(again.thresholds(), &Thresholds::default());
    assert!(matches!(&out.records[0], Record::Declared(declaration) if declaration.version == 2));
    let wrong = Threshold { critical: 1.0, ..threshold };
    assert!(again.put_thresholds(at(3), vec![wrong], String::new(), &mut out).is_err());
    assert_eq!(out.records.len(), 1, "what is refused is not stored");
}

#[test]
fn what_grows_steadily_is_said_to_be_exhausted_in_time() {
    let mut shown = shown(Vec::new());
    shown.goes_on(1_800, |status, _| {
        status.slots_total = 10_000;
        status.slots_used += 3;
    });
    let now = at(shown.second);
    let outlook = |horizon: u64| {
        shown.insight.trend(&Subject::Fleet, Metric::Utilisation, Duration::from_secs(horizon), now).unwrap()
    };
    // 0.54 now, 1.08 more in an hour: critical, which is 0.95, after 1,367 s.
    let after = outlook(3_600).exhausted_at.unwrap().since(now).as_secs();
    assert!((1_330..1_400).contains(&after), "{after}");
    assert_eq!(outlook(600).exhausted_at, None);
    let trend = |metric, horizon| shown.insight.trend(&Subject::Fleet, metric, Duration::from_secs(horizon), now);
    assert_eq!(trend(Metric::CommitMs, 60).unwrap_err().code, Code::NotFound);
    assert_eq!(trend(Metric::Cpu, 0).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn measurements_go_to_the_store_a_minute_each() {
    let mut shown = shown(vec![agent("a").view()]);
    shown.goes_on(130, |status, _| status.queued = 3);
    let queued: Vec<&UsageSample> = shown
        .out
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Usage(row) if row.subject == "fleet" && row.metric == "queued" => Some(row),
            _ => None,
        })
        .collect();
    assert_eq!(queued.len(), 2);
    assert_eq!((queued[1].mean, queued[1].length), (3.0, Duration::from_secs(60)));
}
