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

/// Leaves of a tree, down to where the table knows a setting.
fn leaves(at: &str, tree: &serde_json::Value, found: &mut Vec<String>) {
    match tree {
        serde_json::Value::Object(entries) if table::find(at).is_none() => {
            for (name, below) in entries {
                leaves(&if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, below, found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn the_table_has_each_setting_and_no_other() {
    let mut found = Vec::new();
    leaves("", &serde_json::to_value(CoordinatorConfig::default()).unwrap(), &mut found);
    let mut known: Vec<String> = table::settings().map(|setting| setting.path.to_owned()).collect();
    found.sort();
    known.sort();
    let missing: Vec<_> = found.iter().filter(|path| !known.contains(path)).collect();
    let unknown: Vec<_> = known.iter().filter(|path| !found.contains(path)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "add to config/table: {missing:?}; remove from it: {unknown:?}");
    known.dedup();
    assert_eq!(known.len(), found.len(), "each is there once");
}

#[test]
fn each_setting_says_what_it_is_for_and_its_default_is_in_its_range() {
    let default = Layer::of(&CoordinatorConfig::default(), "");
    for setting in table::settings() {
        assert!(setting.about.ends_with('.'), "{}", setting.path);
        assert_eq!(setting.kind.check(default.value(setting.path)), Ok(()), "{}", setting.path);
        for (ending, unit) in
            [("_ms", "ms"), ("_bytes", "bytes"), ("_bytes_max", "bytes"), ("_hours", "h"), ("_days", "d")]
        {
            if setting.path.ends_with(ending) {
                assert_eq!(setting.unit, unit, "{}", setting.path);
            }
        }
    }
}

/// The default, all of it said.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(said) if !said.starts_with(' ') => said.to_owned(),
        _ => line.to_owned(),
    };
    document::commented().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_commented_file_says_nothing_and_uncommented_it_says_the_default() {
    let sources = Sources::default();
    let said_nothing = sources.load_text(Some(&document::commented())).unwrap();
    let nothing = sources.load_text(None).unwrap();
    assert_eq!(said_nothing.config, nothing.config);
    let said_all = sources.load_text(Some(&uncommented())).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(said_all.config, nothing.config);
    let said = |path: &str| said_all.layer.origin(path).unwrap().source == Source::File;
    assert!(table::settings().all(|setting| said(setting.path) || nothing.layer.value(setting.path).is_null()));
}

#[test]
fn the_schema_has_each_setting() {
    let schema = document::schema();
    for setting in table::settings() {
        let mut at = &schema;
        for name in setting.path.split('.') {
            at = &at["properties"][name];
        }
        assert!(at["description"].is_string(), "{}", setting.path);
    }
}

#[test]
fn the_reference_is_what_the_table_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let (begin, end) = ("<!-- begin of the generated reference -->\n", "<!-- end of the generated reference -->");
    let text = std::fs::read_to_string(page).unwrap();
    let (before, rest) = text.split_once(begin).expect("a place for the reference");
    let (written, after) = rest.split_once(end).expect("its end");
    let wanted = format!("{}\n", document::reference());
    if written != wanted && std::env::var_os("EVENKEEL_WRITE_DOCS").is_some() {
        std::fs::write(page, format!("{before}{begin}{wanted}{end}{after}")).unwrap();
        return;
    }
    assert!(written == wanted, "docs/configuration.md is out of date: run this test with EVENKEEL_WRITE_DOCS=1");
}

fn with(file: &str, variables: &[(&str, &str)], flags: Vec<Flag>) -> Result<Loaded, Vec<String>> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { variables, flags, ..Sources::default() };
    sources.load_text(Some(file)).map_err(|Problems(problems)| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn flags_cover_the_environment_that_covers_the_file_and_each_value_says_where_it_is_from() {
    let file = "[limits]\nwatchers_max = 1\nwatcher_queue_max = 1\n\nconnections_max = 1\n";
    let variables = [("EVENKEEL_LIMITS__WATCHER_QUEUE_MAX", "2"), ("EVENKEEL_LIMITS__CONNECTIONS_MAX", "2")];
    let loaded = with(file, &variables, vec![Flag::new("--connections", "limits.connections_max", 3)]).unwrap();
    let limits = &loaded.config.limits;
    assert_eq!((limits.watchers_max, limits.watcher_queue_max, limits.connections_max), (1, 2, 3));
    let from = |path: &str| {
        let origin = loaded.layer.origin(path).unwrap();
        format!("{} {}", origin.source.name(), origin.place())
    };
    assert_eq!(from("limits.watchers_max"), "file line 2");
    assert_eq!(from("limits.watcher_queue_max"), "environment EVENKEEL_LIMITS__WATCHER_QUEUE_MAX");
    assert_eq!(from("limits.connections_max"), "flag --connections");
    assert_eq!(from("limits.session_queue_max"), "default ");
}

#[test]
fn variables_have_the_forms_that_people_write() {
    let variables = [
        ("EVENKEEL_GRPC", "127.0.0.1:1"),
        ("EVENKEEL_STRATEGY", "weighted"),
        ("EVENKEEL_EPHEMERAL", "yes"),
        ("EVENKEEL_HTTP_NAMES", "a.example, b.example"),
        ("EVENKEEL_ENGINE__TENANT_WEIGHTS", "{ acme = 3 }"),
        ("EVENKEEL_ENGINE__HEALTH__CPU__WARNING", "0.5"),
        ("EVENKEEL_ENGINE__TASKS_MAX", "2_000"),
        ("EVENKEEL_STORE__FINE_HOURS", ""),
    ];
    let config = with("", &variables, Vec::new()).unwrap().config;
    assert_eq!(config.grpc.port(), 1);
    assert_eq!(config.engine.strategy.name(), "weighted");
    assert!(config.ephemeral);
    assert_eq!(config.http_names, ["a.example", "b.example"]);
    assert_eq!(config.engine.tenant_weights.get("acme"), Some(&3));
    assert_eq!((config.engine.health.cpu.warning, config.engine.tasks_max), (0.5, 2_000));
    assert_eq!(config.store, StoreConfig::default(), "an empty variable is not set");
}

#[test]
fn variables_of_others_are_left_alone_and_mistyped_ones_are_not() {
    let others =
        [("EVENKEEL_PORT", "tcp://10.0.0.1"), ("EVENKEEL_COORDINATOR", "x"), ("EVENKEEL_AGENT__X", "1"), ("HOME", "/")];
    assert!(with("", &others, Vec::new()).is_ok());
    let wrong = with("", &[("EVENKEEL_LIMITS__CONECTIONS_MAX", "1")], Vec::new()).unwrap_err();
    assert_eq!(
        wrong,
        [
            "EVENKEEL_LIMITS__CONECTIONS_MAX: is the variable of no setting; did you mean `EVENKEEL_LIMITS__CONNECTIONS_MAX`?"
        ]
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once_each_with_its_place() {
    let file = "grcp = \"127.0.0.1:1\"\n[limits]\nconnections_max = 0\nwatchers = 3\n[store]\nfine_hours = \"x\"\n\
                [engine]\nstrategy = { name = \"fastest\" }\nhealth = 3\n[enigne]\n";
    let wrong = with(file, &[("EVENKEEL_STORE__HISTORY_DAYS", "1")], Vec::new()).unwrap_err();
    let expected = [
        "line 1: `grcp` is no setting; did you mean `grpc`?",
        "line 3: `limits.connections_max` is 0; at least 1 is needed",
        "line 4: `limits.watchers` is no setting; did you mean `watchers_max`?",
        "line 6: `store.fine_hours` is \"x\"; a whole number is needed",
        "line 8: `engine.strategy` is wrong: unknown variant `fastest`",
        "line 9: `engine.health` has settings of its own",
        "line 10: `enigne` is no setting; did you mean `engine`?",
        "EVENKEEL_STORE__HISTORY_DAYS: `store.history_days` is 1; at least 32 is needed",
    ];
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for (said, expected) in wrong.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_traced_to_the_line_of_one() {
    let wrong = with("[engine.lease]\n[engine.outliers]\nejection_base_ms = 10\nejection_max_ms = 5", &[], Vec::new());
    assert_eq!(wrong.unwrap_err(), ["line 4: `engine.outliers.ejection_max_ms` must not be below ejection_base_ms"]);
}

#[test]
fn what_is_no_toml_says_where() {
    let wrong = with("grpc = \"127.0.0.1:1\"\nhttp = = 3\n", &[], Vec::new()).unwrap_err();
    assert!(wrong[0].starts_with("line 2: it is not TOML"), "{wrong:?}");
}

#[test]
fn part_of_a_table_leaves_the_rest_as_it_is() {
    let config = with("[engine.health.cpu]\nwarning = 0.5", &[], Vec::new()).unwrap().config;
    assert_eq!(config.engine.health.cpu.readings, CoordinatorConfig::default().engine.health.cpu.readings);
}

#[test]
fn secrets_are_not_shown() {
    static SECRET: setting::Setting =
        setting::Setting::new("limits.connections_max", setting::Kind::Text, "Secret.").secret();
    assert_eq!(shown(&SECRET, &"sentinel".into()), "\"***\"");
    assert_eq!(shown(&SECRET, &"".into()), "\"\"", "that there is none is no secret");
    let endpoint = table::settings().find(|setting| setting.path == "telemetry.otlp_endpoint").unwrap();
    let value = "http://user:sentinel@127.0.0.1:4317/?key=sentinel".into();
    let change = Change { setting: endpoint, before: serde_json::Value::Null, after: value };
    let words = change.shown_after();
    assert!(words.contains("127.0.0.1:4317") && !words.contains("sentinel"), "{words}");
}
