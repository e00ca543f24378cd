//! `evenkeel config`: the settings of a coordinator, what is wrong with them, and what they were.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use evenkeel_coordinator::{
    config::{Layer, Loaded, Source, Sources, document, read_file, table},
    services::admin::setting_shown,
};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome, answer},
    output::config::{ChangeView, ConfigView, SettingView, VersionView},
    settings,
};

/// Versions that are listed unless it is said how many.
const VERSIONS_DEFAULT: u32 = 20;

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file and the environment, and list everything that is wrong, with its line
    Check {
        /// The file [default: none, the environment alone]
        #[arg(env = "EVENKEEL_CONFIG")]
        file: Option<PathBuf>,
        /// Ask the running coordinator what would come of this file there; nothing is changed
        #[arg(long)]
        running: bool,
    },
    /// Show settings that differ from their defaults, and where they come from
    ///
    /// Those of the running coordinator, unless --offline is given. Secrets are shown as ***.
    Show(ShowArgs),
    /// Print a file with every setting, its meaning, range and default
    Default,
    /// Print a JSON Schema of the file, for editors
    Schema,
    /// List the versions that were in force, newest first
    History {
        /// Show so many at most
        #[arg(long, value_name = "N", default_value_t = VERSIONS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Put an earlier version in force again, until the file changes
    Rollback {
        /// Which version [default: the one before the one in force]
        version: Option<u64>,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Have the coordinator read its file again
    Reload {
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Show every setting, not only those that somebody has set
    #[arg(long)]
    effective: bool,
    /// Do not ask a coordinator: show what one would have that starts with this file and this environment
    #[arg(long)]
    offline: bool,
    /// The file, with --offline
    #[arg(long, value_name = "FILE", env = "EVENKEEL_CONFIG", requires = "offline")]
    config: Option<PathBuf>,
}

/// Carries it out.
///
/// # Errors
/// If something is wrong with the settings, or the coordinator does not answer.
pub async fn run(command: ConfigCommand, global: &Global) -> Outcome {
    let output = global.output();
    match command {
        ConfigCommand::Check { file, running: true } => check_running(file, global).await?,
        ConfigCommand::Check { file, running: false } => check(file, global)?,
        ConfigCommand::Show(args) if args.offline => {
            let loaded = settings::coordinator(args.config, Vec::new(), Sources::default())?;
            output.one(&ConfigView::offline(settings_of(&loaded), args.effective))?;
        }
        ConfigCommand::Show(args) => {
            let mut admin = global.address()?.connect().await?.admin;
            let config = answer("show the configuration", admin.get_config(v1::GetConfigRequest {}).await)?;
            output.one(&ConfigView::of(config, args.effective))?;
        }
        ConfigCommand::Default => output.raw(document::commented().as_bytes())?,
        ConfigCommand::Schema => output.raw(format!("{:#}\n", document::schema()).as_bytes())?,
        ConfigCommand::History { limit } => {
            let mut admin = global.address()?.connect().await?.admin;
            let request = v1::ListConfigVersionsRequest { page_size: limit, page_token: String::new() };
            let versions = answer("list the versions", admin.list_config_versions(request).await)?.versions;
            let versions: Vec<_> = versions.into_iter().map(VersionView::from).collect();
            output.list(&versions, "there are no versions")?;
        }
        ConfigCommand::Rollback { version, reason } => {
            let mut admin = global.address()?.connect().await?.admin;
            let request = v1::RollbackConfigRequest { version: version.unwrap_or(0), reason };
            let changed = answer("roll the configuration back", admin.rollback_config(request).await)
                .map_err(|error| error.hint_if_missing("see `evenkeel config history`"))?;
            made(changed, global)?;
        }
        ConfigCommand::Reload { reason } => {
            let mut admin = global.address()?.connect().await?.admin;
            let changed =
                answer("reload the configuration", admin.reload_config(v1::ReloadConfigRequest { reason }).await)?;
            made(changed, global)?;
        }
    }
    Ok(Exit::Ok)
}

fn settings_of(Loaded { layer, .. }: &Loaded) -> Vec<SettingView> {
    table::settings().map(|setting| SettingView::from(setting_shown(setting, layer))).collect()
}

/// Of a file that is not in force anywhere.
fn check(file: Option<PathBuf>, global: &Global) -> Result<(), CliError> {
    let loaded = settings::coordinator(file, Vec::new(), Sources::default())?;
    let said = |path| loaded.layer.origin(path).is_some_and(|origin| origin.source != Source::Default);
    let changed: Vec<_> = Layer::of(&Sources::default().base, "")
        .changes(&loaded.layer)
        .into_iter()
        .filter(|change| said(change.setting.path))
        .map(|change| ChangeView::new(change.setting.path, change.shown_before(), change.shown_after(), false))
        .collect();
    Ok(global.output().one(&crate::output::config::CheckedView::sound(changed))?)
}

async fn check_running(file: Option<PathBuf>, global: &Global) -> Result<(), CliError> {
    let text = match file {
        Some(file) => read_file(&file).map_err(|problem| CliError::usage(problem.to_string()))?,
        None => String::new(),
    };
    let mut admin = global.address()?.connect().await?.admin;
    let checked = answer("check the configuration", admin.check_config(v1::CheckConfigRequest { text }).await)?;
    refused(&checked)?;
    Ok(global.output().one(&crate::output::config::CheckedView::would(checked))?)
}

/// Shows a change that was made, or all that speaks against it.
fn made(change: v1::ConfigChange, global: &Global) -> Result<(), CliError> {
    refused(&change)?;
    Ok(global.output().one(&crate::output::config::MadeView::from(change))?)
}

fn refused(change: &v1::ConfigChange) -> Result<(), CliError> {
    if change.problems.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = change.problems.iter().map(crate::output::config::problem).collect();
    Err(CliError::usage("the configuration is wrong; what was in force stays so").because(words.join("\n")))
}

/// Variables are read here too, so that a mistake in one is found before a start.
#[cfg(test)]
mod tests {
    use evenkeel_coordinator::config::variables;

    use super::*;

    #[test]
    fn what_is_printed_as_the_default_is_sound_and_says_nothing() {
        let sources = Sources::default();
        let loaded = sources.load_text(Some(&document::commented())).unwrap();
        assert_eq!(loaded.config.engine, sources.base.engine);
        assert!(variables().iter().all(|(name, _)| !name.is_empty()));
    }
}
