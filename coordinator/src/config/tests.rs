use evenkeel_core::engine::Settings;

use super::*;

fn check(text: &str) -> Result<CoordinatorConfig, String> {
    let config: CoordinatorConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

#[test]
fn nothing_said_is_the_default_and_reads_back() {
    let config = check("").unwrap();
    assert_eq!(config, CoordinatorConfig::default());
    assert_eq!(check(&toml::to_string(&config).unwrap()).unwrap(), config);
    let (settings, default) = (config.engine.settings(), Settings::default());
    assert_eq!(settings.adoption_grace, default.adoption_grace);
    assert_eq!(settings.ageing_interval, default.ageing_interval);
}

#[test]
fn settings_reach_the_engine() {
    let config = check(
        "[engine]\nageing_interval_ms = 0\nquarantine_after = 7\nstrategy = { name = \"weighted\", cpu = 0.5 }\n\
         [engine.tenant_weights]\nacme = 3",
    );
    let settings = config.unwrap().engine.settings();
    assert_eq!(settings.ageing_interval, None);
    assert_eq!(settings.quarantine_after, 7);
    assert_eq!(settings.strategy.name(), "weighted");
    assert_eq!(settings.tenant_weights.get("acme"), Some(&3));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (text, named) in [
        ("grcp = \"127.0.0.1:1\"", "grcp"),
        ("grpc = \"0.0.0.0:7400\"", "grpc = 0.0.0.0:7400"),
        ("http = \"[::]:7480\"", "http = [::]:7480"),
        ("[store]\nretention_hours = 23", "store.retention_hours"),
        ("[store]\nfine_hours = 0", "store.fine_hours"),
        ("[store]\nhistory_days = 31", "store.history_days"),
        ("[limits]\nwatchers_max = 0", "limits.watchers_max"),
        ("[limits]\nconnections_max = 0", "limits.connections_max"),
        ("[limits]\nconnections_max = 9223372036854775807", "limits.connections_max"),
        ("[limits]\nsession_queue_max = 9223372036854775807", "limits.session_queue_max"),
        ("[limits]\nunread_timeout_ms = 9", "limits.unread_timeout_ms"),
        ("[engine]\nquarantine_after = 0", "engine.quarantine_after"),
        ("[engine]\nattempt_timeout_ms = 99999999999999", "engine.attempt_timeout_ms"),
        ("[engine.lease]\nmissed_max = 0", "engine.lease.missed_max"),
        ("[engine.tenant_weights]\nacme = 0", "engine.tenant_weights.acme"),
        ("[engine]\nstrategy = { name = \"fastest\" }", "fastest"),
    ] {
        let error = check(text).unwrap_err();
        assert!(error.contains(named), "`{error}` does not name `{named}`");
    }
    assert!(check("grpc = \"0.0.0.0:7400\"\ninsecure = true").is_ok());
}
