//! Changes: from the file, or back to an earlier version.

use evenkeel_core::{
    engine::{Configure, ControlCommand},
    model::{ClusterEventKind, Notice},
};
use evenkeel_shared::{Code, Error, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    LiveConfig, Turn,
    history::Stored,
    words::{named, why_it_differs},
};
use crate::{
    config::{Change, Layer, Loaded, Problem, Problems, sources},
    gateway::Gateway,
    lifecycle::Lifecycle,
    security::audit::{Begun, COORDINATOR},
};

/// What a version came into force through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The start.
    #[default]
    Start,
    /// The file changed.
    File,
    /// A signal.
    Signal,
    /// Somebody asked for it.
    Request,
    /// Somebody put an earlier version back.
    Rollback,
    /// The coordinator was unwell after a change.
    Probation,
}

impl Cause {
    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Rollback => "rollback",
            Self::Probation => "probation",
        }
    }

    /// Whether the coordinator watches over what came so.
    #[must_use]
    pub const fn has_probation(self) -> bool {
        matches!(self, Self::File | Self::Signal | Self::Request)
    }

    /// Who is said in the audit log to have done it; `None`: whoever called, and the call is there.
    const fn by(self) -> Option<&'static str> {
        match self {
            Self::File => Some("file"),
            Self::Signal => Some("signal"),
            Self::Probation => Some(COORDINATOR),
            Self::Start | Self::Request | Self::Rollback => None,
        }
    }
}

/// Who wants a change.
#[derive(Clone, Debug)]
pub struct Who(pub String);

impl Who {
    /// The coordinator itself.
    #[must_use]
    pub fn itself() -> Self {
        Self("coordinator".to_owned())
    }
}

/// What became of a change.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The version that is in force by it; 0: none was made.
    pub version: u64,
    /// What differs.
    pub changes: Vec<Change>,
    /// What is wrong with it; nothing has changed then.
    pub problems: Vec<Problem>,
    /// It is rolled back if health breaks before.
    pub probation_until: Option<Timestamp>,
}

/// A change that is thought through and not made.
struct Plan<'a> {
    layer: Layer,
    cause: Cause,
    who: &'a Who,
    reason: &'a str,
    rolled_back: Option<u64>,
    restored: Option<u64>,
    refused_hash: String,
    differs_because: String,
}

impl LiveConfig {
    pub(super) fn gateway(&self) -> Result<&Gateway, Error> {
        let starting = || Error::new(Code::Unavailable, "the coordinator is starting; try again");
        self.0.gateway.get().ok_or_else(starting)
    }

    /// Reads the file again and puts it in force as a whole, or not at all.
    ///
    /// # Errors
    /// If the change cannot be stored now. What is wrong with the file is in the outcome.
    pub async fn reload(&self, cause: Cause, who: &Who, reason: &str) -> Result<Outcome, Error> {
        let mut turn = self.0.turn.lock().await;
        let text = match self.read_file().await {
            Ok(text) => text,
            Err(problem) => return Ok(self.refuse(&mut turn, cause, None, Problems(vec![problem])).await),
        };
        let hash = text.as_deref().map(sources::hash).unwrap_or_default();
        match self.0.sources.load_text(text.as_deref()) {
            Ok(Loaded { layer, .. }) => {
                let plan = Plan {
                    layer,
                    cause,
                    who,
                    reason,
                    rolled_back: None,
                    restored: None,
                    refused_hash: String::new(),
                    differs_because: String::new(),
                };
                let outcome = self.change(&mut turn, plan).await?;
                if !outcome.problems.is_empty() {
                    return Ok(self.refuse(&mut turn, cause, Some(hash), Problems(outcome.problems)).await);
                }
                turn.seen_hash = hash;
                Ok(outcome)
            }
            Err(problems) => Ok(self.refuse(&mut turn, cause, Some(hash), problems).await),
        }
    }

    /// Puts an earlier version in force, until the file changes. 0: the one before.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such version; or if the change cannot be stored now.
    pub async fn roll_back(&self, version: u64, who: &Who, reason: &str) -> Result<Outcome, Error> {
        let mut turn = self.0.turn.lock().await;
        let (version, layer) = self.earlier(version, &turn.wanted).await?;
        let because = format!("version {version} was put back in force by {}", who.0);
        let plan = Plan {
            layer,
            cause: Cause::Rollback,
            who,
            reason,
            rolled_back: Some(self.shown().version),
            restored: Some(version),
            refused_hash: String::new(),
            differs_because: format!("{because}; the file is taken again when it changes, or at a restart"),
        };
        self.change(&mut turn, plan).await
    }

    /// Puts the version before back in force, because the coordinator is unwell since `broken`.
    pub(super) async fn roll_back_unwell(
        &self,
        broken: u64,
        (number, before): (u64, &Layer),
        why: &str,
    ) -> Result<(), Error> {
        let mut turn = self.0.turn.lock().await;
        if self.shown().version != broken {
            return Ok(());
        }
        let reason = format!("version {broken} was rolled back: {why}");
        let plan = Plan {
            layer: before.clone(),
            cause: Cause::Probation,
            who: &Who::itself(),
            reason: &reason,
            rolled_back: Some(broken),
            restored: Some(number),
            refused_hash: turn.seen_hash.clone(),
            differs_because: format!("{reason}; the file is taken again when it changes"),
        };
        let outcome = self.change(&mut turn, plan).await?;
        tracing::error!(version = outcome.version, "{reason}");
        Ok(())
    }

    /// What would come of a file with this text; `None`: of the file as it is. Changes nothing.
    pub async fn check(&self, text: Option<String>) -> Outcome {
        let text = match text {
            Some(text) => Some(text),
            None => match self.read_file().await {
                Ok(text) => text,
                Err(problem) => return Outcome { problems: vec![problem], ..Outcome::default() },
            },
        };
        let problems = |problems| Outcome { problems, ..Outcome::default() };
        match self.0.sources.load_text(text.as_deref()) {
            Err(Problems(wrong)) => problems(wrong),
            Ok(loaded) => {
                let turn = self.0.turn.lock().await;
                match self.mixed(&loaded.layer) {
                    Err(wrong) => problems(wrong),
                    Ok(_) => Outcome { changes: turn.wanted.changes(&loaded.layer), ..Outcome::default() },
                }
            }
        }
    }

    pub(super) async fn read_file(&self) -> Result<Option<String>, Problem> {
        let Some(file) = self.0.sources.file.clone() else { return Ok(None) };
        // A file system that hangs must not hold up the others.
        let read = tokio::task::spawn_blocking(move || sources::read_file(&file)).await;
        match read {
            Ok(read) => read.map(Some),
            Err(error) => Err(Problem::new("", format!("the file cannot be read: {error}"), None)),
        }
    }

    /// What would be in force: what needs a restart is as it was.
    fn mixed(&self, wanted: &Layer) -> Result<(Layer, crate::config::CoordinatorConfig), Vec<Problem>> {
        let layer = self.shown().layer.with(wanted, |setting| setting.live);
        let config = layer.config()?;
        // What is only in force after a restart has to be sound by then too.
        wanted.config()?;
        let checks = self.0.checks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let problems: Vec<Problem> = checks.iter().filter_map(|check| check(&config).err()).collect();
        if problems.is_empty() { Ok((layer, config)) } else { Err(problems) }
    }

    async fn change(&self, turn: &mut Turn, plan: Plan<'_>) -> Result<Outcome, Error> {
        let changes = turn.wanted.changes(&plan.layer);
        if changes.is_empty() {
            self.lines_moved(turn, plan);
            return Ok(Outcome::default());
        }
        let (layer, config) = match self.mixed(&plan.layer) {
            Ok(mixed) => mixed,
            Err(problems) => return Ok(Outcome { problems, ..Outcome::default() }),
        };
        let ills = self.ills();
        let stored = Stored {
            refused_hash: plan.refused_hash,
            rolled_back: plan.rolled_back,
            restored: plan.restored,
            start: self.0.start,
            unwell_before: ills.iter().map(|(part, _)| part.clone()).collect(),
            ..Stored::new(plan.cause, plan.who, plan.reason, &plan.layer, &changes)
        };
        let first = turn.unstored.as_ref().map(Stored::written).transpose()?;
        let before_this = self.shown().version;
        let version = before_this + 1;
        let notice =
            format!("configuration: version {version} is in force ({}): {}", plan.cause.name(), named(&changes));
        let configure = Configure {
            settings: config.engine.settings(),
            declared: first.into_iter().chain([stored.written()?]).collect(),
            notice: notice.clone(),
        };
        let (written, now) = self.engine_takes((plan.cause, plan.reason), &changes, configure).await?;
        let before = std::mem::replace(&mut turn.wanted, plan.layer);
        turn.unstored = None;
        let time = std::time::Duration::from_millis(config.reload.probation_ms);
        self.put_in_force(config);
        let on_probation = plan.cause.has_probation() && !time.is_zero();
        let probation_until = on_probation.then(|| now.plus(time));
        let waiting = Self::awaits_restart(&layer, &turn.wanted);
        let because = why_it_differs(plan.differs_because, &waiting);
        self.show(|shown| {
            shown.version = version;
            shown.since = now;
            shown.layer = layer.clone();
            shown.differs_because.clone_from(&because);
            shown.probation_until = probation_until;
            shown.unstored = None;
        });
        tracing::info!(version, cause = plan.cause.name(), by = plan.who.0, "{notice}");
        if !waiting.is_empty() {
            tracing::warn!(version, "in force after a restart only: {}", waiting.join(", "));
        }
        if on_probation {
            let known = ills.into_iter().map(|(part, _)| part).collect();
            self.watch_over(version, (before_this, before), known, time);
        }
        if let Some(written) = written {
            written.ended(&format!("OK: version {version}")).await;
        }
        Ok(Outcome { version, changes, problems: Vec::new(), probation_until })
    }

    /// Has a change written down, and the engine store and take it; when that was.
    async fn engine_takes(
        &self,
        (cause, reason): (Cause, &str),
        changes: &[Change],
        configure: Configure,
    ) -> Result<(Option<Begun>, Timestamp), Error> {
        let gateway = self.gateway()?;
        let written = self.write_down(cause, reason, changes).await?;
        let made = gateway.control(ControlCommand::Configure(Box::new(configure)), reason.to_owned()).await;
        match (made, written) {
            (Ok(_), written) => Ok((written, gateway.clock.now())),
            (Err(error), None) => Err(error),
            (Err(error), Some(written)) => {
                written.ended(&format!("{}: {error}", error.code.name())).await;
                Err(error)
            }
        }
    }

    /// The same values, but perhaps from other lines.
    fn lines_moved(&self, turn: &mut Turn, plan: Plan<'_>) {
        self.show(|shown| {
            shown.layer = shown.layer.with(&plan.layer, |setting| setting.live);
            shown.differs_because.clone_from(&plan.differs_because);
        });
        turn.wanted = plan.layer;
    }

    /// From here on everybody who asks, and everybody who has to be told, has this configuration.
    fn put_in_force(&self, config: crate::config::CoordinatorConfig) {
        let config = std::sync::Arc::new(config);
        self.0.running.send_replace(std::sync::Arc::clone(&config));
        for taker in self.0.takers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            taker(&config);
        }
    }

    /// A file that is wrong: the old configuration stays, and that is said once for each such file.
    async fn refuse(&self, turn: &mut Turn, cause: Cause, hash: Option<String>, problems: Problems) -> Outcome {
        let Problems(problems) = problems;
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let because = format!("the file is wrong: {}", words.join("; "));
        let known = self.shown().differs_because == because;
        // Before it is said, so that who hears of it and asks is told.
        self.show(|shown| shown.differs_because.clone_from(&because));
        if let Some(hash) = hash {
            turn.seen_hash = hash;
        }
        if !known || cause != Cause::File {
            let message = format!("configuration: not changed, {because}");
            tracing::error!(version = self.shown().version, "{message}");
            let notice = Notice { kind: ClusterEventKind::Config, agent: None, message };
            if let Ok(gateway) = self.gateway()
                && let Err(error) = gateway.keep(Vec::new(), vec![notice]).await
                && error != Lifecycle::restarting()
            {
                tracing::warn!(%error, "that the configuration is wrong could not be put into the history");
            }
            self.write_down_refused(cause, &words).await;
        }
        Outcome { problems, ..Outcome::default() }
    }
}

impl LiveConfig {
    /// Writes down a change that nobody has called for, before it is made.
    ///
    /// # Errors
    /// UNAVAILABLE if that cannot be done; then it is not made. What makes an unwell coordinator well again is made nevertheless.
    async fn write_down(&self, cause: Cause, reason: &str, changes: &[Change]) -> Result<Option<Begun>, Error> {
        let (Some(by), Some(audit)) = (cause.by(), self.0.audit.get()) else { return Ok(None) };
        let request = json!({ "changes": named(changes), "reason": reason }).to_string();
        match audit.begin(by, &format!("config/{}", cause.name()), &request).await {
            Ok(begun) => Ok(Some(begun)),
            Err(error) if cause == Cause::Probation => {
                tracing::error!(%error, "a rollback is not in the audit log");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%error, "the configuration is not changed: that has to be in the audit log");
                let what = "nothing was changed: the audit log cannot be written, and this has to be in it";
                Err(Error::new(Code::Unavailable, what))
            }
        }
    }

    /// Writes down that a file was refused. It changes nothing, so it waits for nobody's leave.
    async fn write_down_refused(&self, cause: Cause, problems: &[String]) {
        let (Some(by), Some(audit)) = (cause.by(), self.0.audit.get()) else { return };
        let request = json!({ "problems": problems }).to_string();
        match audit.begin(by, &format!("config/{}", cause.name()), &request).await {
            Ok(begun) => begun.ended("INVALID_ARGUMENT: nothing was changed").await,
            Err(error) => tracing::warn!(%error, "that a configuration was refused is not in the audit log"),
        }
    }
}
