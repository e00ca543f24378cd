//! What makes two runs different tests, whatever the program did.

use serde_json::Value;

use crate::record::RunRecord;

/// Parts of a scenario that change nothing about what the coordinator has to do.
const BESIDE_THE_LOAD: [&str; 4] = ["name", "description", "levels", "webhook"];
/// Memory of the same machine is told differently by different kernels.
const MEMORY_SHARE: f64 = 0.02;

/// Each difference in what was done and on what; empty if the runs can be compared.
#[must_use]
pub fn differences(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let mut all = Vec::new();
    let mut check = |what: &str, a: &str, b: &str| {
        if a != b {
            all.push(format!("{what}: {a} and {b}"));
        }
    };
    let (first, second) = (&a.machine, &b.machine);
    check("scenario", &a.scenario.name, &b.scenario.name);
    check("processor", &first.cpu, &second.cpu);
    check("processors", &first.cpus.to_string(), &second.cpus.to_string());
    check("operating system", &first.os, &second.os);
    let system = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
    check("file system", &system(&first.file_system), &system(&second.file_system));
    let optimized = |optimized: bool| if optimized { "optimized" } else { "not optimized" };
    check("build", optimized(a.build.optimized), optimized(b.build.optimized));
    let (least, most) = (first.memory_bytes.min(second.memory_bytes), first.memory_bytes.max(second.memory_bytes));
    if (most - least) as f64 > MEMORY_SHARE * most as f64 {
        all.push(format!("memory: {} and {} bytes", first.memory_bytes, second.memory_bytes));
    }
    all.extend(in_scenarios(a, b));
    all
}

/// Field by field, so that a change of the rate is told as that.
fn in_scenarios(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let value = |record: &RunRecord| serde_json::to_value(&record.scenario).unwrap_or_default();
    let mut all = Vec::new();
    let (a, b) = (value(a), value(b));
    walk("", &a, &b, &mut all);
    all.retain(|(field, _)| !BESIDE_THE_LOAD.iter().any(|beside| field.split(['.', '[']).next() == Some(beside)));
    all.into_iter().map(|(field, values)| format!("{field} of the scenario: {values}")).collect()
}

fn walk(field: &str, a: &Value, b: &Value, into: &mut Vec<(String, String)>) {
    let inner = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match (a, b) {
        (Value::Object(first), Value::Object(second)) => {
            for name in first.keys().chain(second.keys().filter(|name| !first.contains_key(*name))) {
                walk(&inner(name), &a[name], &b[name], into);
            }
        }
        (Value::Array(first), Value::Array(second)) if first.len() == second.len() => {
            for (at, (first, second)) in first.iter().zip(second).enumerate() {
                walk(&format!("{field}[{at}]"), first, second, into);
            }
        }
        _ if a != b => into.push((field.to_owned(), format!("{a} and {b}"))),
        _ => {}
    }
}
