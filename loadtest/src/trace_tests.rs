use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<TraceTask>, TraceError> {
    Trace::read_from(text.as_bytes())
}

/// That the text is refused in these words.
#[track_caller]
fn check_refused(text: &str, words: &str) {
    let error = read(text).unwrap_err().to_string();
    assert!(error.contains(words), "{text:?}: {error}");
}

#[test]
fn two_columns_are_a_trace() {
    let tasks = read("submitted_ms,service_ms\n0,12.5\n3,0.000001\n").unwrap();
    let ms = Duration::from_micros(12_500);
    assert_eq!(tasks[0], TraceTask::new(Duration::ZERO, ms));
    assert_eq!((tasks[1].submitted_at, tasks[1].service), (Duration::from_millis(3), Duration::from_nanos(1)));
    assert_eq!(tasks[0].kind.as_str(), "work");
}

#[test]
fn columns_stand_in_any_order_and_fields_may_be_quoted_or_empty() {
    let text = "\u{feff}kind, \"service_ms\" ,state,submitted_ms,agent,priority\r\n\r\n\
                \"resize\",7,succeeded,5,\"a-1\",9\r\nresize,8,,6,,\r\n";
    let tasks = read(text).unwrap();
    assert_eq!(tasks[0].agent, Some(AgentId::new("a-1").unwrap()));
    assert_eq!((tasks[0].priority.level(), tasks[0].state), (9, Some(TaskState::Succeeded)));
    assert_eq!((tasks[1].priority.level(), tasks[1].state, &tasks[1].agent), (5, None, &None));
}

#[test]
fn rows_are_sorted_and_the_first_task_is_at_zero() {
    let tasks = read("submitted_ms,service_ms\n1700000000250,2\n1700000000000.5,1\n").unwrap();
    let seen: Vec<_> = tasks.iter().map(|task| (task.submitted_at, task.service)).collect();
    let (early, late) = (Duration::from_millis(1), Duration::from_millis(2));
    assert_eq!(seen, [(Duration::ZERO, early), (Duration::from_micros(249_500), late)]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    check_refused("", "the trace is empty");
    check_refused("submitted_ms\n", "line 1 of the trace: service_ms is missing");
    check_refused("submitted_ms,service_ms,servce\n", "`servce` is no column; the columns are submitted_ms, tenant");
    check_refused("submitted_ms,service_ms,service_ms\n", "service_ms is there twice");
    let header = "submitted_ms,service_ms,priority,kind,attempts,state\n";
    for (row, words) in [
        ("1,2\n", "line 2 of the trace has 2 fields; the header names 6 columns"),
        ("1,2,5,a,1,succeeded\n1,x,5,a,1,\n", "line 3 of the trace, service_ms: `x` is no time"),
        ("1,,5,a,1,\n", "line 2 of the trace, service_ms: `` is no time"),
        ("-1,2,5,a,1,\n", "submitted_ms: `-1` is no time"),
        ("1,1e3,5,a,1,\n", "service_ms: `1e3` is no time"),
        ("1,99999999999,5,a,1,\n", "service_ms: 99999999999 ms is more than 366 days"),
        ("99999999999999999999,1,5,a,1,\n", "submitted_ms: 99999999999999999999 ms is more than"),
        ("1,2,10,a,1,\n", "priority: `10` is no priority"),
        ("1,2,5,a b,1,\n", "kind: `a b` has a character outside"),
        ("1,2,5,a,-1,\n", "attempts: `-1` is no number"),
        ("1,2,5,a,1,done\n", "state: `done` is no state; the states are queued"),
    ] {
        check_refused(&format!("{header}{row}"), words);
    }
    check_refused(&format!("{header}{}", "1".repeat(5_000)), "line 2 of the trace is longer than");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Trace::read(Path::new("no/such.csv")).unwrap_err().to_string();
    assert!(error.starts_with("cannot open the trace no/such.csv"), "{error}");
}

fn any_task() -> impl Strategy<Value = TraceTask> {
    let time = || (0_u64..100_000_000_000).prop_map(Duration::from_nanos);
    let name = || "[A-Za-z0-9._:/-]{1,20}";
    let state = proptest::option::of(proptest::sample::select(TaskState::ALL.to_vec()));
    let agent = proptest::option::of(name());
    (time(), name(), 0_u8..10, name(), time(), agent, proptest::option::of(time()), any::<Option<u32>>(), state)
        .prop_map(|(submitted_at, tenant, priority, kind, service, agent, queued, attempts, state)| TraceTask {
            submitted_at,
            tenant: tenant.parse().unwrap(),
            priority: Priority::new(priority).unwrap(),
            kind: kind.parse().unwrap(),
            service,
            agent: agent.map(|agent| agent.parse().unwrap()),
            queued,
            attempts,
            state,
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read(tasks in proptest::collection::vec(any_task(), 0..40)) {
        let mut text = Vec::new();
        let mut writer = TraceWriter::new(&mut text).unwrap();
        tasks.iter().for_each(|task| writer.write(task).unwrap());
        writer.finish().unwrap();
        let read: Result<Vec<_>, _> = TraceReader::new(text.as_slice()).unwrap().collect();
        prop_assert_eq!(read.unwrap(), tasks);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(submitted_ms,service_ms\n)?[0-9.,\"\n -]{0,200}") {
        let _ = read(&text);
    }
}
