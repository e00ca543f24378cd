//! The commands about limits, budgets, scaling, measurements and advice, against a real `evenkeel dev`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use serde_json::Value;
use service::{Service, until};

fn dev() -> Service {
    Service::dev(&["--ephemeral", "--agents", "2", "--slots", "2"])
}

#[track_caller]
fn check_exit(dev: &Service, args: &[&str], code: i32, stderr_has: &str) {
    let output = dev.output(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(stderr_has), "{args:?}: {stderr}");
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// What a person reads.
fn shown(dev: &Service, args: &[&str]) -> String {
    let output = dev.output(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_limit_is_declared_used_seen_and_removed() {
    let dev = dev();
    let put = dev.json(&["limits", "put", "batch", "--kind", "sleep", "--concurrency", "1", "--rate", "600/m"]);
    assert_eq!((&put["kind"], &put["concurrency_max"], &put["rate_per_s"]), (&"sleep".into(), &1.into(), &10.0.into()));
    let tasks = [(); 2].map(|()| dev.submit(&["--kind", "sleep", "--payload", "60000"]));
    until("one runs and one waits", || {
        let limits = dev.json(&["limits", "list"]);
        let batch = rows(&limits)[0].clone();
        batch["in_use"] == 1 && batch["waiting"] == 1
    });
    let explained = tasks.each_ref().map(|task| dev.json(&["task", "explain", task]).to_string());
    assert!(explained.iter().any(|text| text.contains("batch")), "{explained:?}");
    let allocation = dev.json(&["allocation", "show", "--by", "kind", "--name", "sleep"]);
    assert_eq!((&rows(&allocation)[0]["requested"], &rows(&allocation)[0]["waiting"]), (&2.into(), &1.into()));
    assert!(shown(&dev, &["limits", "list"]).contains("1 of 1"));
    assert_eq!(dev.json(&["limits", "delete", "batch"])["name"], "batch");
    assert_eq!(dev.json(&["limits", "list"]), Value::Array(Vec::new()));
    until("the other one goes", || tasks.iter().all(|task| dev.json(&["task", "get", task])["state"] == "running"));

    check_exit(&dev, &["limits", "put", "l", "--concurrency", "1"], 2, "--tenant");
    check_exit(&dev, &["limits", "put", "l", "--tenant", "t"], 2, "--concurrency");
    check_exit(&dev, &["limits", "put", "l", "--tenant", "t", "--rate", "often"], 2, "`often`");
    check_exit(&dev, &["limits", "put", "l", "--tenant", "bad name", "--rate", "5/s"], 2, "tenant");
    check_exit(&dev, &["limits", "delete", "nobody"], 4, "limits list");
}

#[test]
fn a_request_size_is_declared_seen_and_removed() {
    let dev = dev();
    let put = dev.json(&["sizes", "put", "team/train", "--cpu", "250m", "--memory", "64MiB", "--reason", "measured"]);
    assert_eq!((&put["kind"], &put["cpu_millis"], &put["version"]), (&"team/train".into(), &250.into(), &1.into()));
    let again = dev.json(&["sizes", "put", "team/train", "--memory", "32MiB"]);
    assert!(again["cpu_millis"].is_null() && again["version"] == 2, "it is replaced: {again}");
    let table = shown(&dev, &["sizes", "list"]);
    assert!(table.contains("as asked") && table.contains("32.0 MiB"), "{table}");
    let events = shown(&dev, &["events", "--type", "size"]);
    let told =
        "request size of kind `team/train` was declared: tasks reserve 0.25 cores and 64 MiB of memory: measured";
    assert!(events.contains(told), "{events}");
    dev.json(&["sizes", "delete", "team/train"]);
    assert_eq!(dev.json(&["sizes", "list"]), Value::Array(Vec::new()));

    check_exit(&dev, &["sizes", "put", "k"], 2, "--cpu");
    check_exit(&dev, &["sizes", "put", "bad name", "--cpu", "1"], 2, "KIND");
    check_exit(&dev, &["sizes", "put", "k", "--memory", "512"], 2, "1 MiB");
    check_exit(&dev, &["sizes", "delete", "nobody"], 4, "sizes list");
}

#[test]
fn dynamic_limits_are_turned_on_and_keep_what_is_not_said() {
    let dev = dev();
    assert_eq!(dev.json(&["limits", "dynamic"])["enabled"], false);
    let on = dev.json(&["limits", "dynamic", "--on", "--tolerance", "2.5"]);
    assert_eq!((&on["enabled"], &on["tolerance"]), (&true.into(), &2.5.into()));
    let aimd = dev.json(&["limits", "dynamic", "--algorithm", "aimd"]);
    assert_eq!((&aimd["enabled"], &aimd["tolerance"], &aimd["algorithm"]), (&true.into(), &2.5.into(), &"aimd".into()));
}

#[test]
fn a_quota_cools_down_and_is_cleared() {
    let dev = dev();
    let quota = dev.json(&["quotas", "report", "openai/team-a", "--for", "10m", "--reason", "429"]);
    assert_eq!((&quota["key"], &quota["reason"]), (&"openai/team-a".into(), &"429".into()));
    assert_eq!(rows(&dev.json(&["quotas", "list"])).len(), 1);
    dev.json(&["quotas", "clear", "openai/team-a"]);
    assert_eq!(dev.json(&["quotas", "list"]), Value::Array(Vec::new()));
    check_exit(&dev, &["quotas", "report", "k", "--for", "400d"], 2, "--for: ");
}

#[test]
fn a_breaker_is_opened_and_closed_by_hand() {
    let dev = dev();
    let open = dev.json(&["breakers", "open", "kind", "echo", "--for", "1h", "--reason", "a bad release"]);
    assert_eq!((&open["scope"], &open["state"]), (&"kind".into(), &"open".into()));
    let task = dev.submit(&["--kind", "echo"]);
    assert!(dev.json(&["task", "explain", &task]).to_string().contains("echo"));
    assert_eq!(rows(&dev.json(&["breakers", "list", "--of", "kind"])).len(), 1);
    assert_eq!(rows(&dev.json(&["breakers", "list", "--of", "agent"])).len(), 0);
    assert_eq!(dev.json(&["breakers", "close", "kind", "echo"])["state"], "closed");
    until("the task goes", || dev.json(&["task", "get", &task])["state"] == "succeeded");
}

#[test]
fn a_budget_holds_what_it_does_not_allow() {
    let dev = dev();
    let args = ["budgets", "put", "b", "--cap", "usd=0.5", "--tenant", "t", "--window", "day", "--estimate", "0.3"];
    let budget = dev.json(&args);
    assert_eq!((&budget["cap"], &budget["window"], &budget["action"]), (&0.5.into(), &"day".into(), &"hold".into()));
    let sleep = ["--kind", "sleep", "--payload", "60000", "--tenant", "t"];
    let _tasks = [(); 2].map(|()| dev.submit(&sleep));
    until("one is reserved for and one waits", || {
        let budgets = dev.json(&["budgets", "list", "--tenant", "t"]);
        rows(&budgets)[0]["reserved"] == 0.3 && rows(&budgets)[0]["waiting"] == 1
    });
    assert!(shown(&dev, &["budgets", "list"]).contains("usd=0.5 a day"));
    dev.json(&["budgets", "delete", "b"]);
    assert_eq!(dev.json(&["budgets", "list"]), Value::Array(Vec::new()));
    check_exit(&dev, &["budgets", "put", "b", "--cap", "5"], 2, "name=value");
    check_exit(&dev, &["budgets", "put", "b", "--cap", "usd=1", "--warning", "95", "--critical", "90"], 2, "percent");
    check_exit(&dev, &["budgets", "delete", "nobody"], 4, "budgets list");
}

#[test]
fn prices_are_set_one_by_one_and_costs_are_in_their_unit() {
    let dev = dev();
    dev.json(&["prices", "set", "--agent-hour", "1.5", "--agent-price", "gpu=a100: 4"]);
    let prices = dev.json(&["prices", "set", "--core-hour", "0.05"]);
    assert_eq!((&prices["agent_hour"], &prices["core_hour"]), (&1.5.into(), &0.05.into()));
    assert_eq!(
        (&prices["agent_prices"][0]["label"], &prices["agent_prices"][0]["agent_hour"]),
        (&"gpu=a100".into(), &4.0.into())
    );
    assert_eq!(dev.json(&["prices", "get"]), prices);
    let costs = dev.json(&["costs", "--by", "kind"]);
    assert_eq!(costs["unit"], "usd");
    assert!(shown(&dev, &["costs"]).contains("an hour"));
}

#[test]
fn a_policy_is_made_from_a_template_printed_and_put_again() {
    let dev = dev();
    let templates = dev.json(&["scaling", "policy", "templates"]);
    assert_eq!(rows(&templates).len(), 6);
    let name = rows(&templates)[0]["name"].as_str().unwrap();
    let put = ["scaling", "policy", "put", "--template", name, "--min", "1", "--max", "7", "--reason", "a try"];
    let policy = dev.json(&put);
    assert_eq!((&policy["agents_max"], &policy["template"]), (&7.into(), &name.into()));
    let printed = dev.json(&["scaling", "policy", "get"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), printed.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let again = dev.json(&["scaling", "policy", "put", "--file", path, "--max", "9"]);
    assert_eq!((&again["agents_max"], &again["metrics"]), (&9.into(), &printed["metrics"]));
    let versions = dev.json(&["scaling", "policy", "versions"]);
    let most: Vec<_> = rows(&versions).iter().map(|version| version["policy"]["agents_max"].clone()).collect();
    assert_eq!(most, [9, 7]);

    let validate = ["scaling", "policy", "validate", "--file", path];
    check_exit(&dev, &validate, 0, "");
    check_exit(&dev, &[&validate[..], &["--min", "9", "--max", "2"]].concat(), 2, "");
    check_exit(&dev, &["scaling", "policy", "put", "--template", "no-such"], 4, name);
    std::fs::write(file.path(), "{\"agent_max\": 3}").unwrap();
    check_exit(&dev, &validate, 2, "agent_max");
}

#[test]
fn the_size_of_the_fleet_is_fixed_for_a_while() {
    let dev = dev();
    let scaling = dev.json(&["scaling", "override", "5", "--for", "1h", "--reason", "a launch"]);
    assert_eq!((&scaling["override"]["agents"], &scaling["override"]["reason"]), (&5.into(), &"a launch".into()));
    assert_eq!(dev.json(&["scaling", "clear"])["override"], Value::Null);
    assert!(shown(&dev, &["scaling", "status"]).contains("demand"));
    check_exit(&dev, &["scaling", "override", "5", "--for", "30d", "--reason", "r"], 2, "--for: ");
}

#[test]
fn the_fleet_is_measured_and_its_health_is_told() {
    let dev = dev();
    dev.json(&["task", "submit", "--kind", "echo", "--count", "10", "--wait"]);
    until("both agents are measured", || {
        let health = dev.json(&["health"]);
        health["score"].as_f64().unwrap() > 0.0 && rows(&health["agents"]).len() == 2
    });
    let thresholds = dev.json(&["metrics", "thresholds"]);
    let metric = rows(&thresholds)[0]["metric"].as_str().unwrap().to_owned();
    until("there are points", || !rows(&dev.json(&["metrics", "query", &metric])).is_empty());
    until("there are points enough for a trend", || {
        let trend = dev.output(&["metrics", "trend", &metric, "-o", "json"]);
        String::from_utf8_lossy(&trend.stdout).contains("slope_per_hour")
    });
    let critical = rows(&thresholds)[0]["critical"].as_f64().unwrap();
    let args = ["metrics", "set-threshold", &metric, "--for", "3m"];
    let changed = dev.json(&args);
    assert_eq!((&rows(&changed)[0]["for_ms"], &rows(&changed)[0]["critical"]), (&180_000.into(), &critical.into()));
    // A busy machine may be one.
    assert!(dev.json(&["health", "bottlenecks"]).is_array());
    assert_eq!(dev.json(&["advice", "list"]), Value::Array(Vec::new()), "nothing is advised from so little");
    check_exit(&dev, &["metrics", "set-threshold", "mood", "--critical", "1"], 4, &metric);
    check_exit(&dev, &["advice", "apply", "no-such"], 4, "advice list");
    check_exit(&dev, &["advice", "show", "no-such"], 4, "advice list");
}
