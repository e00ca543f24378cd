//! What a run of a scenario is to do.

use std::time::Duration;

use evenkeel_shared::StrategyConfig;
use tokio_util::sync::CancellationToken;

use crate::{
    error::LoadtestError,
    levels,
    plan::Target,
    scenario::{Harm, Process, Scenario},
    trace::{Trace, TraceTask},
};

/// What a run of a scenario is to do. Start from [`ScenarioPlan::new`].
#[derive(Clone, Debug)]
pub struct ScenarioPlan {
    /// With everything that the command line changed.
    pub scenario: Scenario,
    /// Where the coordinator is.
    pub target: Target,
    /// The tasks run on the agents that the coordinator has, as the built-in kind `sleep`: none are simulated, and the
    /// scenario's fleet, its faults and its failing tasks are left out.
    pub given_agents: bool,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// The program's arguments, for the record.
    pub command: Vec<String>,
    /// The wait for what is in flight ends when nothing was accepted and nothing came to its end for so long.
    pub stall_timeout: Duration,
    /// Cancelled to end the run before its time: what is in flight is still waited for, and a change is undone.
    pub interrupted: CancellationToken,
}

/// What the command line changes of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Agents, at most at the same time.
    pub agents: Option<u32>,
    /// Tasks, or sessions, a second.
    pub rate_per_s: Option<f64>,
    /// How long tasks arrive.
    pub duration: Option<Duration>,
    /// Agents that share a connection.
    pub agents_per_connection: Option<u32>,
    /// The strategy during the run.
    pub strategy: Option<String>,
}

impl Overrides {
    /// The scenario with these changes.
    #[must_use]
    pub fn apply(self, mut scenario: Scenario) -> Scenario {
        let Self { agents, rate_per_s, duration, agents_per_connection, strategy } = self;
        if let Some(agents) = agents {
            scenario.fleet.agents = agents;
        }
        if let Some(rate_per_s) = rate_per_s {
            scenario.arrivals.rate_per_s = rate_per_s;
        }
        if let Some(duration) = duration {
            stretch(&mut scenario, duration.as_secs_f64());
        }
        if let Some(agents_per_connection) = agents_per_connection {
            scenario.fleet.agents_per_connection = agents_per_connection;
        }
        scenario.strategy = strategy.or(scenario.strategy);
        scenario
    }
}

/// Gives a scenario another length. Shares of it follow by themselves; the seconds that faults last and that levels are
/// not judged for do so here. Graces and rates stay: they are of the world, not of the run.
fn stretch(scenario: &mut Scenario, duration_s: f64) {
    let factor = duration_s / scenario.duration_s;
    scenario.duration_s = duration_s;
    for fault in &mut scenario.faults {
        match &mut fault.what {
            Harm::KillCoordinator => {}
            Harm::LoseAgents { away_s: s, .. }
            | Harm::DrainAgents { away_s: s, .. }
            | Harm::SlowAgents { length_s: s, .. } => *s *= factor,
        }
    }
    for level in &mut scenario.levels {
        level.from_s *= factor;
    }
}

impl ScenarioPlan {
    /// A run of this scenario, with the first seed.
    #[must_use]
    pub fn new(scenario: Scenario, target: Target) -> Self {
        // Longer than a coordinator takes to restart and its agents to come back.
        let stall_timeout = Duration::from_secs(60);
        let interrupted = CancellationToken::new();
        Self { scenario, target, given_agents: false, seed: 1, command: Vec::new(), stall_timeout, interrupted }
    }

    /// Checks everything that can be checked before anything is started.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), LoadtestError> {
        let Scenario { levels, duration_s, change, webhook, .. } = &self.scenario;
        let wrong = |what: String| LoadtestError::Plan { what };
        self.scenario.validate().map_err(|error| wrong(error.to_string()))?;
        levels::check(levels, *duration_s, change.as_ref(), webhook.as_ref())
            .map_err(|error| wrong(error.to_string()))?;
        self.strategy()?;
        if let (true, Target::Own { .. }) = (self.given_agents, &self.target) {
            let what = "a coordinator of the run's own has no agents but the simulated ones; name one that runs";
            return Err(wrong(what.to_owned()));
        }
        let kills = !self.given_agents && self.scenario.faults.iter().any(|fault| fault.what == Harm::KillCoordinator);
        if let (true, Target::Running { url, .. }) = (kills, &self.target) {
            return Err(wrong(format!(
                "the scenario kills the coordinator, and {url} is not this run's to kill; leave --coordinator out, or take \
                 `kill_coordinator` out of the scenario"
            )));
        }
        Ok(())
    }

    /// The strategy during the run, if the scenario names one.
    pub(crate) fn strategy(&self) -> Result<Option<StrategyConfig>, LoadtestError> {
        let named = self.scenario.strategy.as_deref().map(StrategyConfig::named).transpose();
        named.map_err(|violation| LoadtestError::Plan { what: violation.to_string() })
    }

    /// The recorded tasks, if the scenario replays some.
    pub(crate) fn recorded(&self) -> Result<Vec<TraceTask>, LoadtestError> {
        let Process::Trace { file, .. } = &self.scenario.arrivals.process else { return Ok(Vec::new()) };
        Trace::read(file).map_err(|error| LoadtestError::Plan { what: format!("{}: {error}", file.display()) })
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::dial::Security;

    use super::*;
    use crate::scenario::BUILT_IN;

    fn plan(scenario: Scenario) -> ScenarioPlan {
        ScenarioPlan::new(scenario, Target::Own { program: "evenkeel".into(), data_dir: None })
    }

    #[test]
    fn every_scenario_can_run_at_any_length_and_size() {
        for (name, _) in BUILT_IN {
            for (seconds, agents) in [(None, None), (Some(2), Some(10)), (Some(20_000), Some(10_000))] {
                let duration = seconds.map(Duration::from_secs);
                let overrides = Overrides { duration, agents, ..Overrides::default() };
                let scenario = overrides.apply(Scenario::find(name).unwrap());
                assert_eq!(plan(scenario).validate().map_err(|error| format!("{name}: {error}")), Ok(()));
            }
        }
    }

    #[test]
    fn a_shorter_run_has_shorter_faults() {
        let overrides = Overrides { duration: Some(Duration::from_secs(8)), ..Overrides::default() };
        let scenario = overrides.apply(Scenario::find("maintenance").unwrap());
        for fault in &scenario.faults {
            let Harm::DrainAgents { away_s, .. } = fault.what else { panic!("{fault:?}") };
            assert!((away_s - 1.2).abs() < 1e-9, "{away_s}");
        }
    }

    #[test]
    fn a_given_coordinator_is_not_killed() {
        let target = Target::Running { url: "http://127.0.0.1:7400".into(), security: Security::default() };
        let plan = ScenarioPlan::new(Scenario::find("failover").unwrap(), target);
        let error = plan.validate().unwrap_err().to_string();
        assert!(error.contains("not this run's to kill"), "{error}");
    }

    #[test]
    fn agents_that_are_there_belong_to_a_coordinator_that_is_there() {
        let given = |target| {
            let scenario = Scenario::find("failover").unwrap();
            ScenarioPlan { given_agents: true, ..ScenarioPlan::new(scenario, target) }.validate()
        };
        let error = given(Target::Own { program: "evenkeel".into(), data_dir: None }).unwrap_err().to_string();
        assert!(error.contains("name one that runs"), "{error}");
        assert!(
            given(Target::Running { url: "http://127.0.0.1:7400".into(), security: Security::default() }).is_ok(),
            "its faults are left out"
        );
    }

    #[test]
    fn an_unknown_strategy_is_named() {
        let overrides = Overrides { strategy: Some("best".into()), ..Overrides::default() };
        let error = plan(overrides.apply(Scenario::find("smoke").unwrap())).validate().unwrap_err().to_string();
        assert!(error.contains("there is no strategy `best`"), "{error}");
    }
}
