use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000_000);

fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

fn granted(table: &Table<&'static str>, name: &str, now: Timestamp) -> [u64; 3] {
    let (_, row) = table.rows().find(|(of, _)| of.is_some_and(|of| *of == name)).unwrap();
    row.windows(now).map(|window| window.counts.granted)
}

#[test]
fn what_happened_leaves_the_windows_one_after_the_other() {
    let mut table = Table::default();
    let row = table.enter(START, &"t");
    (0..3).for_each(|_| table.count(START, row, |counts| counts.granted += 1));
    for (secs, expected) in [
        (0, [3, 3, 3]),
        (45, [3, 3, 3]),
        (61, [0, 3, 3]),
        (265, [0, 3, 3]),
        (301, [0, 0, 3]),
        (3_299, [0, 0, 3]),
        (3_601, [0; 3]),
    ] {
        assert_eq!(granted(&table, "t", after(secs)), expected, "after {secs} s");
    }
    assert_eq!(table.rows().next().unwrap().1.total.granted, 3);
}

#[test]
fn slots_are_averaged_over_the_time_they_were_in_use() {
    let mut table = Table::default();
    let row = table.enter(START, &"t");
    table.use_slots(START, row, 4);
    table.use_slots(after(30), row, -4);
    let window = table.rows().next().unwrap().1.windows(after(50))[0];
    assert!((window.slots_mean - 2.0).abs() < 1e-9, "4 slots for half of a minute: {}", window.slots_mean);
}

#[test]
fn means_are_of_what_was_counted() {
    let mut table = Table::default();
    let row = table.enter(START, &"t");
    for wait_us in [100, 300] {
        table.count(START, row, |counts| {
            counts.granted += 1;
            counts.wait_us += wait_us;
        });
    }
    let window = table.rows().next().unwrap().1.windows(START)[0];
    assert_eq!((window.wait_mean, window.run_mean), (Duration::from_micros(200), Duration::ZERO));
}

#[test]
fn names_beyond_the_bound_share_a_row_until_others_are_idle() {
    let mut table = Table::default();
    let rows: Vec<_> = (0..ROWS_MAX + 5).map(|n| table.enter(START, &n)).collect();
    assert_eq!(rows[ROWS_MAX + 4], OTHERS_ROW);
    table.count(START, OTHERS_ROW, |counts| counts.requested += 1);
    assert_eq!(table.rows().last().unwrap().0, None);
    rows[..10].iter().for_each(|row| table.leave(*row));
    assert_eq!(table.enter(after(3_599), &9_999), OTHERS_ROW);
    assert_ne!(table.enter(after(3_700), &9_999), OTHERS_ROW, "ten have been idle for an hour");
    assert_eq!(table.rows().count(), ROWS_MAX - 10 + 1 + 1);
}

proptest! {
    /// A window counts what happened in it, give or take one of its buckets.
    #[test]
    fn windows_are_as_long_as_they_say(gaps in prop::collection::vec(0..40u64, 1..200)) {
        let mut table = Table::default();
        let row = table.enter(START, &"t");
        let mut times = Vec::new();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            times.push(now);
            table.count(after(now), row, |counts| counts.granted += 1);
            let found = granted(&table, "t", after(now));
            for (at, (bucket, _)) in STEPS.into_iter().enumerate() {
                let length = WINDOWS[at].as_secs();
                let within = |span: u64| times.iter().filter(|time| now - **time < span).count() as u64;
                // The steps of a longer ring begin with those of the shorter ones.
                let least = within(length.saturating_sub(bucket));
                prop_assert!((least..=within(length + bucket)).contains(&found[at]), "{at}: {found:?} of {times:?}");
            }
        }
    }
}
