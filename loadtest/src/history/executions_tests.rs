use std::fs;

use tempfile::TempDir;

use super::*;

const ID: &str = "00000000-0000-7000-8000-000000000001";

fn line(event: &str, more: &str) -> String {
    format!(r#"{{"agent":"a-1","task_id":"{ID}","attempt":1,"assignment_id":7,"event":"{event}",{more}}}"#)
}

fn read(log: &str) -> Result<History, ExecutionsError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a-1.jsonl");
    fs::write(&path, log).unwrap();
    let mut history = History::default();
    read_executions(&path, &mut history).map(|()| history)
}

#[test]
fn executions_and_answers_are_read_and_one_that_was_killed_has_no_end() {
    let begin = line("begin", r#""at_unix_us":1000"#);
    let end = line("end", r#""at_unix_us":2500"#);
    let ack = line("ack", r#""success":true,"recorded":false"#);
    let history = read(&format!("{begin}\n{end}\n{ack}\n{begin}\n")).unwrap();
    let attempt = AttemptRef { task: ID.parse().unwrap(), attempt: AttemptNumber(1), assignment: AssignmentId(7) };
    let agent = AgentId::new("a-1").unwrap();
    let begun_at = Timestamp::from_unix_micros(1_000);
    let ended_at = Some(Timestamp::from_unix_micros(2_500));
    let killed = Execution { agent: agent.clone(), attempt, begun_at, ended_at: None };
    assert_eq!(history.executions, [Execution { ended_at, ..killed.clone() }, killed]);
    assert_eq!(history.acknowledgements, [Acknowledgement { agent, attempt, success: true, recorded: false }]);
}

#[test]
fn a_torn_last_line_is_left_out_and_any_other_is_an_error() {
    let begin = line("begin", r#""at_unix_us":1000"#);
    for cut in 0..begin.len() {
        let torn = &begin[..cut];
        assert_eq!(read(&format!("{begin}\n{torn}")).unwrap().executions.len(), 1, "{torn}");
        let error = read(&format!("{begin}\n{torn}\n{begin}\n")).unwrap_err();
        assert!(matches!(error, ExecutionsError::Malformed { line: 2, .. }), "{torn}: {error}");
    }
    // Whole but for its end of line.
    assert_eq!(read(&format!("{begin}\n{begin}")).unwrap().executions.len(), 2);
}

#[test]
fn an_end_without_a_beginning_and_an_unknown_event_are_errors() {
    let end = line("end", r#""at_unix_us":1000"#);
    assert!(read(&format!("{end}\n")).unwrap_err().to_string().contains("line 1: attempt 1 of task"));
    let other = line("paused", r#""at_unix_us":1000"#);
    assert!(read(&format!("{other}\n")).is_err());
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let error = read_executions(Path::new("nowhere.jsonl"), &mut History::default()).unwrap_err();
    assert!(error.to_string().contains("nowhere.jsonl"), "{error}");
}
