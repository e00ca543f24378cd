use super::*;

const STEP: Duration = Duration::from_secs(60);

fn series(count: usize, value: impl Fn(f64) -> f64) -> Vec<Point> {
    let at = |n: usize| Timestamp::from_unix_millis(1_000_000_020_000 + n as u64 * 60_000);
    (0..count).map(|n| value(n as f64)).enumerate().map(|(n, v)| Point { at: at(n), mean: v, min: v, max: v }).collect()
}

fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut draws = fastrand::Rng::with_seed(seed);
    // Nearly normal, of deviation 1.
    move || (0..12).map(|_| draws.f64()).sum::<f64>() - 6.0
}

fn noisy(count: usize, seed: u64, value: impl Fn(f64) -> f64) -> Vec<Point> {
    let mut noise = noise(seed);
    let draws: Vec<f64> = (0..count).map(|_| noise()).collect();
    series(count, |n| value(n) + draws[n as usize])
}

fn trend(points: &[Point]) -> Trend {
    Trend::of(points, STEP, false).unwrap()
}

#[test]
fn of_few_points_nothing_is_said() {
    assert_eq!(Trend::of(&series(POINTS_MIN - 1, |_| 1.0), STEP, false), None);
    assert_eq!(Trend::of(&[], STEP, false), None);
}

#[test]
fn what_is_flat_stays_so_and_reaches_nothing() {
    let flat = trend(&series(120, |_| 5.0));
    assert_eq!((flat.level, flat.slope_per_hour, flat.season.clone()), (5.0, 0.0, None));
    let later = flat.forecast(Duration::from_secs(3_600));
    assert_eq!((later.value, later.low, later.high), (5.0, 5.0, 5.0));
    assert_eq!(flat.reaches(6.0, false, Duration::from_secs(86_400)), None);
}

#[test]
fn noise_has_neither_slope_nor_season() {
    let found = (0..100).map(|seed| trend(&noisy(120, seed, |_| 50.0)));
    let (mut sloped, mut seasonal) = (0, 0);
    for trend in found {
        sloped += u32::from(trend.slope_per_hour != 0.0);
        seasonal += u32::from(trend.season.is_some());
        assert!((trend.level - 50.0).abs() < 1.0, "{trend:?}");
    }
    assert!(sloped <= 5 && seasonal <= 2, "{sloped} sloped, {seasonal} seasonal of 100");
}

#[test]
fn a_line_is_read_through_noise_and_wild_points_and_says_when_it_ends() {
    let mut points = noisy(120, 1, |n| 100.0 + n);
    for wild in [2, 3, 11, 29, 31, 48, 52, 71, 90, 93, 110, 117] {
        points[wild].mean += 500.0;
    }
    let line = trend(&points);
    assert!((line.slope_per_hour - 60.0).abs() < 3.0, "{}", line.slope_per_hour);
    let exhausted = line.reaches(400.0, false, Duration::from_secs(6 * 3_600)).unwrap();
    let minutes = exhausted.since(line.at).as_secs_f64() / 60.0;
    assert!((165.0..200.0).contains(&minutes), "{minutes}");
    assert_eq!(line.reaches(400.0, false, Duration::from_secs(3_600)), None, "not within the hour");
}

#[test]
fn what_falls_reaches_its_floor() {
    let falling = trend(&series(60, |n| 100.0 - n));
    let at = falling.reaches(20.0, true, Duration::from_secs(7_200)).unwrap();
    assert_eq!(at.since(falling.at), Duration::from_secs(21 * 60));
    assert_eq!(falling.forecast(Duration::from_secs(86_400)).value, 0.0, "never less than nothing");
}

#[test]
fn a_wave_is_found_with_its_period_and_foretold() {
    for (period, seed) in [(20.0, 3), (24.0, 4), (60.0, 5)] {
        let wave = |n: f64| 100.0 + 0.2 * n + 20.0 * (n * std::f64::consts::TAU / period).sin();
        let found = trend(&noisy(200, seed, wave));
        let season = found.season.clone().unwrap();
        let minutes = season.period.as_secs_f64() / 60.0;
        assert!((minutes - period).abs() <= 1.0, "{minutes} for {period}");
        assert!(season.strength > 0.9 && (33.0..46.0).contains(&season.swing()), "{season:?}");
        if minutes == period {
            for ahead in [5.0, 13.0, 31.0] {
                let said = found.forecast(STEP.mul_f64(ahead));
                let truth = wave(199.0 + ahead);
                assert!((said.value - truth).abs() < 4.0, "{period}, {ahead} ahead: {said:?} for {truth}");
            }
        }
    }
}

#[test]
fn after_a_step_the_new_level_counts_and_no_slope_is_made_of_it() {
    let step = trend(&noisy(120, 2, |n| if n < 70.0 { 10.0 } else { 40.0 }));
    assert!((step.level - 40.0).abs() < 1.5, "{}", step.level);
    let later = step.forecast(Duration::from_secs(1_800));
    assert!((later.value - 40.0).abs() < 3.0, "{later:?}");
}

#[test]
fn gaps_are_bridged() {
    let mut points = series(120, |n| n);
    points.drain(40..80);
    let line = trend(&points);
    assert!((line.slope_per_hour - 60.0).abs() < 0.5 && line.points == 120, "{line:?}");
}

#[test]
fn long_series_are_thinned() {
    let line = trend(&series(4_000, |n| n));
    assert!(line.points <= POINTS_MAX + 1 && (line.slope_per_hour - 60.0).abs() < 0.5, "{line:?}");
}

#[test]
fn shares_stay_shares() {
    let share = Trend::of(&series(60, |n| 0.4 + n / 100.0), STEP, true).unwrap();
    let later = share.forecast(Duration::from_secs(7_200));
    assert_eq!((later.value, later.high), (1.0, 1.0));
}

/// Series of one sort, one for each seed, of so many points.
type Sort = fn(u64, usize) -> Vec<f64>;

fn each(count: usize, seed: u64, mut value: impl FnMut(f64, f64) -> f64) -> Vec<f64> {
    let mut noise = noise(seed);
    (0..count).map(|n| value(n as f64, noise())).collect()
}

/// Each value keeps so much of the one before: 0 is noise, 1 a walk.
fn remembering(count: usize, seed: u64, memory: f64) -> Vec<f64> {
    let mut value = 0.0;
    each(count, seed, |_, noise| {
        value = memory * value + noise;
        1_000.0 + value
    })
}

fn wave(n: f64) -> f64 {
    10.0 * (n * std::f64::consts::TAU / 25.0).sin()
}

const SORTS: [(&str, Sort); 8] = [
    ("flat", |seed, count| each(count, seed, |_, noise| 100.0 + noise)),
    ("line", |seed, count| each(count, seed, |n, noise| 100.0 + n / 2.0 + noise)),
    ("wave", |seed, count| each(count, seed, |n, noise| 100.0 + wave(n) + noise)),
    ("rising wave", |seed, count| each(count, seed, |n, noise| 100.0 + n / 2.0 + wave(n) + noise)),
    ("skewed", |seed, count| each(count, seed, |_, noise| 100.0 + noise.exp())),
    ("lasting", |seed, count| remembering(count, seed, 0.5)),
    ("long lasting", |seed, count| remembering(count, seed, 0.9)),
    ("walk", |seed, count| remembering(count, seed, 1.0)),
];

/// Series of each sort, and the ways ahead that they are asked for: from the next point to half as far as they reach back.
const SERIES: u64 = 100;
const KNOWN: usize = 120;
const AHEAD: [usize; 4] = [1, 15, 30, 60];

/// The interval of 80 % is one: of series that are as the method takes them to be, and of those that hang together or wander, which
/// it does not. With a hundred series the share that is seen is 4 % off in the usual case.
#[test]
fn four_of_five_outcomes_are_within_the_interval() {
    let mut table = Vec::new();
    for (name, sort) in SORTS {
        let mut covered = AHEAD.map(|_| 0);
        for seed in 0..SERIES {
            let values = sort(seed + 1_000, KNOWN + AHEAD[3]);
            let known = trend(&series(KNOWN, |n| values[n as usize]));
            for (covered, ahead) in covered.iter_mut().zip(AHEAD) {
                let said = known.forecast(STEP * ahead as u32);
                let came = values[KNOWN + ahead - 1];
                *covered += u32::from((said.low..=said.high).contains(&came));
            }
        }
        table.push((name, covered));
    }
    for (name, covered) in &table {
        let all = covered.iter().sum::<u32>() as f64 / (4.0 * SERIES as f64);
        assert!(all >= 0.79, "{name} in all: {table:?}");
        assert!(covered.iter().all(|&covered| covered >= 74), "{name}: {table:?}");
    }
    // And it says something: what has no memory is not covered by being wide.
    for (name, covered) in &table[..5] {
        assert!(covered.iter().all(|&covered| covered <= 94), "{name} is too wide: {table:?}");
    }
}

#[test]
fn an_interval_is_as_wide_as_what_it_cannot_know() {
    let half = |memory: f64, ahead: u32| {
        let widths = (0..10).map(|seed| {
            let values = remembering(KNOWN, seed, memory);
            let said = trend(&series(KNOWN, |n| values[n as usize])).forecast(STEP * ahead);
            (said.high - said.low) / 2.0
        });
        widths.sum::<f64>() / 10.0
    };
    // Noise of deviation 1: a little more than 1.28, near and far.
    assert!((1.2..1.7).contains(&half(0.0, 1)) && (1.2..1.7).contains(&half(0.0, 60)), "{}", half(0.0, 60));
    // A walk is off by the root of the distance even if all of it is known.
    assert!(half(1.0, 60) > 2.0 * half(1.0, 1) && half(1.0, 60) > Z80 * 60_f64.sqrt(), "{}", half(1.0, 60));
}

#[test]
fn wild_points_do_not_widen_it_much() {
    let mut points = noisy(KNOWN, 3, |_| 100.0);
    let calm = trend(&points).forecast(STEP * 10);
    for wild in (5..KNOWN).step_by(12) {
        points[wild].mean += 500.0;
    }
    let shaken = trend(&points).forecast(STEP * 10);
    assert!(shaken.high - shaken.low < 60.0 * (calm.high - calm.low), "{shaken:?} for {calm:?}");
}
