use super::*;
use crate::scenario::Spike;

const DURATION_S: f64 = 200.0;

fn settings(process: Process) -> Settings {
    Settings { rate_per_s: 100.0, process, curve: Curve::default(), spikes: Vec::new() }
}

fn all(settings: &Settings, seed: u64) -> Vec<Arrival> {
    let arrivals: Vec<_> = Arrivals::new(settings, DURATION_S, seed).collect();
    assert!(arrivals.is_sorted_by(|a, b| a.at_s <= b.at_s), "out of order");
    assert!(arrivals.iter().all(|arrival| (0.0..DURATION_S).contains(&arrival.at_s)), "out of the run");
    arrivals
}

fn between(arrivals: &[Arrival], from_s: f64, until_s: f64) -> f64 {
    arrivals.iter().filter(|arrival| (from_s..until_s).contains(&arrival.at_s)).count() as f64
}

/// Whether a count is within five standard deviations of a Poisson number with this mean.
fn check(what: &str, count: f64, mean: f64) {
    assert!((count - mean).abs() < 5.0 * mean.sqrt().max(1.0), "{what}: {count} instead of {mean}");
}

#[test]
fn the_rate_is_the_one_asked_for_and_gaps_are_exponential() {
    let arrivals = all(&settings(Process::Poisson), 1);
    check("arrivals", arrivals.len() as f64, 20_000.0);
    let gaps: Vec<_> = arrivals.windows(2).map(|pair| pair[1].at_s - pair[0].at_s).collect();
    // Of an exponential distribution 1/e is above the mean, and its variation is 1.
    let above = gaps.iter().filter(|gap| **gap > 0.01).count() as f64 / gaps.len() as f64;
    assert!((above - (-1.0_f64).exp()).abs() < 0.02, "{above}");
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{}", variance.sqrt() / mean);
}

#[test]
fn a_seed_gives_the_same_arrivals_and_another_seed_others() {
    for process in [Process::Poisson, Process::Bursts { mean_size: 4.0 }] {
        let settings = settings(process);
        assert_eq!(all(&settings, 7), all(&settings, 7));
        assert_ne!(all(&settings, 7), all(&settings, 8));
    }
}

#[test]
fn bursts_have_their_mean_size_and_keep_the_rate() {
    let arrivals = all(&settings(Process::Bursts { mean_size: 10.0 }), 1);
    let mut moments: Vec<_> = arrivals.iter().map(|arrival| arrival.at_s).collect();
    moments.dedup();
    let size = arrivals.len() as f64 / moments.len() as f64;
    assert!((size - 10.0).abs() < 1.2, "{size}");
    // 2,000 bursts whose sizes vary by their mean: a deviation of 2 sqrt(2000) bursts is 900 tasks.
    assert!((arrivals.len() as f64 - 20_000.0).abs() < 3_000.0, "{}", arrivals.len());
}

#[test]
fn a_curve_thins_the_arrivals_where_it_is_low() {
    let curve = Curve(vec![(0.0, 0.0), (0.5, 2.0), (1.0, 0.0)]);
    let arrivals = all(&Settings { curve, ..settings(Process::Poisson) }, 1);
    check("first quarter", between(&arrivals, 0.0, 50.0), 2_500.0);
    check("second quarter", between(&arrivals, 50.0, 100.0), 7_500.0);
    check("last quarter", between(&arrivals, 150.0, 200.0), 2_500.0);
}

#[test]
fn a_spike_adds_its_tasks_in_its_stretch_and_nowhere_else() {
    let spike = Spike { at_share: 0.25, length_share: 0.25, times: 3.0, work: None };
    let with = Settings { spikes: vec![spike], ..settings(Process::Poisson) };
    let (plain, spiked) = (all(&settings(Process::Poisson), 1), all(&with, 1));
    let of_spike: Vec<_> = spiked.iter().copied().filter(|arrival| arrival.spike == Some(0)).collect();
    check("of the spike", of_spike.len() as f64, 15_000.0);
    assert_eq!(between(&of_spike, 50.0, 100.0), of_spike.len() as f64);
    let others: Vec<_> = spiked.into_iter().filter(|arrival| arrival.spike.is_none()).collect();
    assert_eq!(others, plain, "a spike changes nothing else");
}

#[test]
fn no_rate_gives_no_arrivals() {
    assert!(all(&Settings { rate_per_s: 0.0, ..settings(Process::Poisson) }, 1).is_empty());
    let curve = Curve(vec![(0.0, 0.0)]);
    assert!(all(&Settings { curve, ..settings(Process::Poisson) }, 1).is_empty());
}

#[test]
fn geometric_numbers_have_their_mean() {
    let mut rng = Rng::with_seed(1);
    for mean in [1.0, 1.5, 5.0, 40.0] {
        let found = (0..20_000).map(|_| geometric(mean, &mut rng) as f64).sum::<f64>() / 20_000.0;
        assert!((found / mean - 1.0).abs() < 0.05, "{found} instead of {mean}");
    }
}
