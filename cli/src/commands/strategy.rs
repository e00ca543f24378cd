//! `evenkeel strategy`: the rule that picks agents.

use clap::Subcommand;
use evenkeel_proto::v1;
use evenkeel_shared::{StrategyConfig, wire};
use serde_json::Value;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::cluster::StrategyView,
    quantity,
};

/// What to do with the strategy.
#[derive(Debug, Subcommand)]
pub enum StrategyCommand {
    /// Show the strategy in force
    Get,
    /// Change it; nothing queued is lost or reordered
    Set {
        /// Which one
        #[arg(value_parser = StrategyConfig::NAMES)]
        name: String,
        /// A setting of it, for example cpu=0.4 (may be repeated); the others get their defaults
        #[arg(long, value_name = "NAME=NUMBER", value_parser = quantity::pair)]
        param: Vec<(String, String)>,
    },
}

/// Carries it out.
///
/// # Errors
/// If a setting is wrong, or the coordinator does not answer.
pub async fn run(command: StrategyCommand, global: &Global) -> Outcome {
    let strategy = match command {
        StrategyCommand::Get => None,
        StrategyCommand::Set { name, param } => Some(config(&name, &param)?),
    };
    let mut clients = global.address()?.connect().await?;
    let (doing, answer) = match strategy {
        None => ("read the strategy", clients.cluster.get_strategy(v1::GetStrategyRequest {}).await),
        Some(config) => {
            let strategy = Some(wire::strategy::to_strategy(&config));
            ("change the strategy", clients.cluster.set_strategy(v1::SetStrategyRequest { strategy }).await)
        }
    };
    let answer = answer.map_err(|status| CliError::status(doing, &status))?.into_inner();
    let config = wire::strategy::strategy(answer).map_err(|violation| {
        CliError::new(Exit::Error, "the coordinator has a strategy unknown here").because(violation)
    })?;
    global.output().one(&StrategyView(config))?;
    Ok(Exit::Ok)
}

/// The strategy of this name with these settings.
fn config(name: &str, settings: &[(String, String)]) -> Result<StrategyConfig, CliError> {
    let wrong = |why: String| CliError::usage(format!("`{name}` cannot have these settings")).because(why);
    let default = StrategyConfig::named(name).map_err(|violation| wrong(violation.description))?;
    // Its own JSON form knows the settings; serde alone would pass over unknown ones of a strategy that has none.
    let mut json = serde_json::to_value(default).map_err(|error| wrong(error.to_string()))?;
    for (setting, value) in settings {
        let known: Vec<String> = json
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys())
            .filter(|key| *key != "name")
            .cloned()
            .collect();
        if !known.contains(setting) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(wrong(format!("there is no setting `{setting}`; its settings: {known}")));
        }
        let number: Value = serde_json::from_str(value)
            .ok()
            .filter(Value::is_number)
            .ok_or_else(|| wrong(format!("{setting}: `{value}` is not a number")))?;
        json[setting] = number;
    }
    let config: StrategyConfig = serde_json::from_value(json).map_err(|error| wrong(error.to_string()))?;
    config.validate().map_err(|violation| wrong(violation.to_string()))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, settings: &[(&str, &str)], expected: Result<StrategyConfig, &str>) {
        let settings: Vec<_> = settings.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        match (config(name, &settings), expected) {
            (Ok(config), Ok(expected)) => assert_eq!(config, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn settings_that_are_not_given_have_their_defaults() {
        check("random", &[], Ok(StrategyConfig::Random));
        let weighted = StrategyConfig::Weighted { task_capacity: 0.5, cpu: 0.4, memory: 0.2 };
        check("weighted", &[("cpu", "0.4")], Ok(weighted));
        let hash = StrategyConfig::ConsistentHash { load_bound_percent: 150 };
        check("consistent_hash", &[("load_bound_percent", "150")], Ok(hash));
    }

    #[test]
    fn wrong_settings_are_named() {
        check("random", &[("cpu", "1")], Err("its settings: none"));
        check("weighted", &[("cpus", "1")], Err("no setting `cpus`"));
        check("weighted", &[("name", "1")], Err("no setting `name`"));
        check("weighted", &[("cpu", "much")], Err("`much` is not a number"));
        check("weighted", &[("cpu", "-1")], Err("weighted.cpu"));
        check("consistent_hash", &[("load_bound_percent", "99999")], Err("99999"));
    }
}
