//! Judges a run while it goes on: levels, alerts, the change under test, and in the end the verdict.
//!
//! The runner gives it each window as it closes, and does what is left to do: show the lines, keep the marks, stop. It
//! never waits for anything until the run is over.

use evenkeel_proto::v1::cluster_service_client::ClusterServiceClient;
use evenkeel_shared::StrategyConfig;
use evenkeel_shared::dial::Channel;
use tokio::time::Instant;

use super::{
    Action, Happening, LevelError, LevelEvent, LevelOutcome, Severity, Trial, Watch,
    change::{Changer, Done, Restored},
    check, decide, strategy_of,
    webhook::{self, About, Alert, AlertLevel, Webhook},
};
use crate::{
    record::{ChangeOutcome, Decision, Histograms, Mark, MarkKind, Totals, Window},
    scenario::Scenario,
};

/// What a window led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What is worth a mark on the axis of time.
    pub marks: Vec<Mark>,
    /// Alerts, a line each, for the console.
    pub lines: Vec<String>,
    /// The run has to end, and why: no more tasks, what is in flight is waited for.
    pub stop: Option<String>,
}

/// What a whole run led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// How each level came out.
    pub levels: Vec<LevelOutcome>,
    /// What became of the change under test, if there was one.
    pub change: Option<ChangeOutcome>,
    /// Go or no-go.
    pub verdict: Decision,
    /// Why not; empty for a go.
    pub reasons: Vec<String>,
    /// What else has to be told on the console: alerts that were not delivered.
    pub lines: Vec<String>,
}

/// Judges a run. Dropped before its end, it still has the strategy of before put back; see [`Judge::restored`].
#[derive(Debug)]
pub struct Judge {
    scenario: Scenario,
    run: String,
    started: Instant,
    watch: Watch,
    change: Option<UnderTest>,
    webhook: Option<Webhook>,
    /// The run was told to stop.
    stopped: bool,
    observed: Observed,
}

#[derive(Debug)]
struct UnderTest {
    trial: Trial,
    changer: Changer,
    restored: Restored,
}

impl Judge {
    /// Judges a run of this scenario that starts at `started`; `run` is its id. Within a runtime.
    ///
    /// # Errors
    /// Levels, webhook or change make no sense.
    pub fn start(
        scenario: &Scenario,
        run: &str,
        cluster: &ClusterServiceClient<Channel>,
        started: Instant,
    ) -> Result<Self, LevelError> {
        let change = scenario.change.as_ref();
        check(&scenario.levels, scenario.duration_s, change, scenario.webhook.as_ref())?;
        let under_test = |change| {
            let wanted = strategy_of(change)?;
            let (changer, restored) = Changer::start(cluster.clone(), &wanted);
            let trial = Trial::new(change, scenario.duration_s, describe(&wanted));
            Ok(UnderTest { trial, changer, restored })
        };
        let webhook = scenario.webhook.as_ref().map(|webhook| webhook::check(&webhook.url)).transpose()?;
        Ok(Self {
            scenario: scenario.clone(),
            run: run.to_owned(),
            started,
            watch: Watch::new(&scenario.levels, scenario.duration_s, change)?,
            change: change.map(under_test).transpose()?,
            webhook: webhook.map(Webhook::start),
            stopped: false,
            observed: Observed::default(),
        })
    }

    /// Judges a window; they come in order and without gaps, the drain's too.
    pub fn observe(&mut self, window: &Window, seen: &Histograms) -> Observed {
        self.hear_of_change();
        let events = self.watch.observe(window, seen);
        for event in &events {
            self.tell_level(event);
        }
        let action = self.change.as_mut().and_then(|change| change.trial.step(window.at_s, &events));
        self.act(action, window.at_s);
        std::mem::take(&mut self.observed)
    }

    /// Names of the levels that are violated now, with those whose grace still runs.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        self.watch.violated()
    }

    /// Resolves once what was in force before the run is in force again; to be awaited after a run that was interrupted,
    /// by dropping this judge.
    #[must_use]
    pub fn restored(&self) -> Option<Restored> {
        self.change.as_ref().map(|change| change.restored.clone())
    }

    /// Ends the run: puts back what a change under test left in force, decides, and delivers the last alerts.
    pub async fn finish(mut self, totals: &Totals) -> Judgement {
        self.hear_of_change();
        let (mut change, mut lines) = (None, Vec::new());
        if let Some(UnderTest { trial, changer, .. }) = self.change.take() {
            change = Some(trial.finish());
            if let Err(error) = changer.close().await {
                lines.push(format!("the strategy of before the run was not put back: {error}"));
            }
        }
        let watch = std::mem::replace(&mut self.watch, Watch::none());
        let levels = watch.finish(totals);
        let (verdict, reasons) = decide(totals, &levels, change.as_ref());
        let text = match verdict {
            Decision::Go => "go".to_owned(),
            Decision::NoGo => format!("no-go: {}", reasons.join("; ")),
        };
        self.alert(About::Verdict, self.started.elapsed().as_secs_f64(), text, None);
        if let Some(webhook) = self.webhook.take() {
            lines.extend(webhook.close().await);
        }
        Judgement { levels, change, verdict, reasons, lines }
    }

    /// Takes in what came of making or undoing the change.
    fn hear_of_change(&mut self) {
        while let Some(change) = &mut self.change
            && let Some(done) = change.changer.done()
        {
            let text = change.trial.text().to_owned();
            let (Done::Made(at, _) | Done::Undone(at, _)) = &done;
            let at_s = at.saturating_duration_since(self.started).as_secs_f64();
            let action = match done {
                Done::Made(_, result) => {
                    if result.is_ok() {
                        self.mark(MarkKind::Change, About::ChangeMade, at_s, format!("change made: {text}"));
                    }
                    self.change.as_mut().and_then(|change| change.trial.made(at_s, result))
                }
                Done::Undone(_, result) => {
                    if result.is_ok() {
                        self.mark(MarkKind::Rollback, About::ChangeUndone, at_s, format!("change undone: {text}"));
                    }
                    self.change.as_mut().and_then(|change| change.trial.undone(at_s, result))
                }
            };
            self.act(action, at_s);
        }
    }

    fn act(&mut self, action: Option<Action>, at_s: f64) {
        let Some(change) = &self.change else { return };
        match action {
            None => {}
            Some(Action::Make) => change.changer.make(),
            Some(Action::Undo) => change.changer.undo(),
            Some(Action::Recovered { after_s }) => {
                let text = format!("the service levels hold again {after_s:.1} s after the rollback");
                self.mark(MarkKind::Rollback, About::ChangeRecovered, at_s, text);
            }
            Some(Action::GiveUp { why }) => {
                let text = format!("change {}: {why}", change.trial.text());
                self.mark(MarkKind::Rollback, About::ChangeFailed, at_s, text);
            }
        }
    }

    fn tell_level(&mut self, event: &LevelEvent) {
        let about = match event.what {
            Happening::Counted => About::LevelViolated,
            Happening::Recovered { counted: true } => About::LevelRecovered,
            // Within the grace: that is what it is for.
            Happening::Violated | Happening::Recovered { counted: false } => return,
        };
        let level = &self.scenario.levels[event.index];
        let told = AlertLevel {
            level: event.level.clone(),
            severity: event.severity,
            measure: level.measure.to_string(),
            value: event.value,
            at_most: level.at_most,
            at_least: level.at_least,
            since_s: event.since_s,
        };
        self.observed.marks.push(Mark { at_s: event.at_s, kind: MarkKind::Level, text: event.text.clone() });
        let word = match about {
            About::LevelRecovered => "recovered",
            _ => event.severity.name(),
        };
        self.alert(about, event.at_s, format!("{word}: {}", event.text), Some(told));
        if event.stops_run && !self.stopped {
            self.stopped = true;
            self.watch.close(event.at_s);
            let why = format!("stopped by the service level {}", event.text);
            self.observed.stop = Some(why.clone());
            self.mark(MarkKind::Stage, About::RunStopped, event.at_s, why);
        }
    }

    /// A mark that is an alert too.
    fn mark(&mut self, kind: MarkKind, about: About, at_s: f64, text: String) {
        self.observed.marks.push(Mark { at_s, kind, text: text.clone() });
        self.alert(about, at_s, text, None);
    }

    fn alert(&mut self, event: About, at_s: f64, text: String, level: Option<AlertLevel>) {
        if event != About::Verdict {
            // The verdict has a place of its own on the console.
            self.observed.lines.push(format!("{at_s:7.1} s  {text}"));
        }
        if let Some(webhook) = &mut self.webhook {
            let (scenario, run) = (self.scenario.name.clone(), self.run.clone());
            webhook.send(&Alert { event, scenario, run, at_s, text, level });
        }
    }
}

impl Severity {
    /// As in the scenario's file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A strategy and its settings in one line.
fn describe(strategy: &StrategyConfig) -> String {
    let json = serde_json::to_value(strategy).unwrap_or_default();
    let settings = json.as_object().into_iter().flatten().filter(|(name, _)| *name != "name");
    let settings: Vec<String> = settings.map(|(name, value)| format!("{name} = {value}")).collect();
    if settings.is_empty() {
        format!("strategy {}", strategy.name())
    } else {
        format!("strategy {} ({})", strategy.name(), settings.join(", "))
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
