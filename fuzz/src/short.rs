//! A short run, without libFuzzer: the seeds as they are, and mutations of them from a fixed seed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{Target, mutate::mutate};

/// Longest time that one input may take, even unoptimized and on a busy machine: what takes longer is a loop, or work that
/// grows faster than its input.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);

/// The input that is being run, to be kept if it finds something.
struct Running<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("evenkeel-fuzz-found-{}", self.target));
            let kept = fs::write(&path, self.input).map(|()| path.display().to_string());
            let kept = kept.unwrap_or_else(|error| format!("nowhere ({error})"));
            eprintln!("target {} found something; the input is kept in {kept}", self.target);
        }
    }
}

/// Runs one input.
///
/// # Panics
/// If it finds something, or takes too long.
pub fn run_one(target: &str, run: Target, input: &[u8]) {
    let _running = Running { target, input };
    let began = Instant::now();
    run(input);
    let took = began.elapsed();
    assert!(took <= INPUT_TIME_MAX, "an input took {took:?}");
}

/// The seeds of a target, by name.
///
/// # Errors
/// If they cannot be read.
pub fn seeds(root: &Path, target: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root.join(target))?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
}

/// Runs the seeds, and then so many mutations of them. The same numbers give the same inputs.
///
/// # Panics
/// If an input finds something.
pub fn run(target: &str, run: Target, seeds: &[Vec<u8>], mutations: u32, seed: u64) {
    for input in seeds {
        run_one(target, run, input);
    }
    let others: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let mut rng = Rng::with_seed(seed);
    for _ in 0..mutations {
        let Some(input) = rng.choice(seeds) else { return };
        run_one(target, run, &mutate(input, &others, &mut rng));
    }
}
