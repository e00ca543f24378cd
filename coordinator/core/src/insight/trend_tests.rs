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

/// How many of a hundred outcomes lie within the interval.
fn covered(ahead: usize, outcomes: impl Fn(u64) -> Vec<f64>) -> u32 {
    let mut covered = 0;
    for seed in 0..100 {
        let values = outcomes(seed);
        let known = values.len() - ahead;
        let said = trend(&series(known, |n| values[n as usize])).forecast(STEP * ahead as u32);
        let came = values[values.len() - 1];
        covered += u32::from((said.low..=said.high).contains(&came));
    }
    covered
}

/// The interval of 80 % is one: of series that are as the method takes them to be, and of one that wanders, which it does not.
#[test]
fn four_of_five_outcomes_are_within_the_interval() {
    let white = |line: f64| {
        move |seed| {
            let mut noise = noise(seed);
            (0..150).map(|n| 100.0 + line * f64::from(n) + noise()).collect::<Vec<_>>()
        }
    };
    let walk = |seed| {
        let (mut noise, mut value) = (noise(seed), 1_000.0);
        (0..150).map(|_| (value += noise(), value).1).collect::<Vec<_>>()
    };
    let wave = |seed| {
        let mut noise = noise(seed);
        (0..150).map(|n| 100.0 + 10.0 * (f64::from(n) * std::f64::consts::TAU / 25.0).sin() + noise()).collect()
    };
    let flat = covered(30, white(0.0));
    let line = covered(30, white(0.5));
    let wave = covered(30, wave);
    let walk = covered(15, walk);
    let all = format!("flat {flat}, line {line}, wave {wave}, walk {walk}");
    assert!((72..=92).contains(&flat) && (72..=94).contains(&line), "{all}");
    assert!((68..=94).contains(&wave), "{all}");
    assert!((60..=95).contains(&walk), "{all}");
}
