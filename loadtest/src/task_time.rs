//! How long the tasks of a run take.
//!
//! A task's time is drawn from the seed and the task's number, not from a generator that the agents share: a run with the
//! same seed is the same work, wherever its tasks end up.

use std::{fmt, str::FromStr, time::Duration};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Longest time that can be asked for. More would be the attempt timeout's matter and not the harness's.
const TASK_TIME_MAX: Duration = Duration::from_secs(600);

/// A distribution of task times. Written `fixed:0`, `uniform:1ms..20ms` or `exp:5ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TaskTime {
    /// The same for each task.
    Fixed(Duration),
    /// Evenly between two times.
    Uniform(Duration, Duration),
    /// Exponential with this mean, cut off at ten minutes: many short tasks, a few long ones.
    Exponential(Duration),
}

impl TaskTime {
    /// The time of task `number` in a run with this seed.
    #[must_use]
    pub fn of_task(self, seed: u64, number: u32) -> Duration {
        let mut rng = Rng::with_seed(mix(seed ^ mix(u64::from(number))));
        match self {
            Self::Fixed(time) => time,
            Self::Uniform(min, max) => min + (max - min).mul_f64(rng.f64()),
            // The inverse of the distribution function; 1 - f64() is never 0.
            Self::Exponential(mean) => mean.mul_f64(-(1.0 - rng.f64()).ln()).min(TASK_TIME_MAX),
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014): neighbouring numbers give unrelated seeds.
pub(crate) const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FromStr for TaskTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = || format!("`{text}` is not a task time; write fixed:5ms, uniform:1ms..20ms or exp:5ms");
        let (name, times) = text.split_once(':').ok_or_else(forms)?;
        match name {
            "fixed" => Ok(Self::Fixed(duration(times)?)),
            "exp" => Ok(Self::Exponential(duration(times)?)),
            "uniform" => {
                let (min, max) = times.split_once("..").ok_or_else(forms)?;
                let (min, max) = (duration(min)?, duration(max)?);
                if min > max {
                    return Err(format!("`{text}`: the shorter time comes first"));
                }
                Ok(Self::Uniform(min, max))
            }
            _ => Err(forms()),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("`{text}` is not a duration: {error}"))?;
    if time > TASK_TIME_MAX {
        return Err(format!("{text} is longer than the longest task time, {} s", TASK_TIME_MAX.as_secs()));
    }
    Ok(time)
}

impl TryFrom<String> for TaskTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TaskTime> for String {
    fn from(time: TaskTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TaskTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time| humantime::format_duration(time);
        match *self {
            Self::Fixed(time) => write!(f, "fixed:{}", text(time)),
            Self::Uniform(min, max) => write!(f, "uniform:{}..{}", text(min), text(max)),
            Self::Exponential(mean) => write!(f, "exp:{}", text(mean)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 20_000;

    fn mean_ms(time: TaskTime, seed: u64) -> f64 {
        let sum: Duration = (0..DRAWS).map(|number| time.of_task(seed, number)).sum();
        sum.as_secs_f64() * 1e3 / f64::from(DRAWS)
    }

    #[test]
    fn a_time_reads_back_as_it_is_written() {
        for text in ["fixed:0s", "fixed:20ms", "uniform:1ms..20ms", "exp:5ms"] {
            assert_eq!(text.parse::<TaskTime>().unwrap().to_string(), text);
        }
        assert_eq!("fixed:0".parse(), Ok(TaskTime::Fixed(Duration::ZERO)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for (text, reason) in [
            ("5ms", "write fixed:5ms"),
            ("gauss:5ms", "write fixed:5ms"),
            ("uniform:5ms", "write fixed:5ms"),
            ("exp:5", "is not a duration"),
            ("uniform:9ms..1ms", "the shorter time comes first"),
            ("fixed:1h", "longest task time"),
        ] {
            let error = text.parse::<TaskTime>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_means_are_those_asked_for() {
        let exponential = mean_ms("exp:5ms".parse().unwrap(), 1);
        assert!((4.8..5.2).contains(&exponential), "{exponential} ms");
        let uniform = mean_ms("uniform:1ms..20ms".parse().unwrap(), 1);
        assert!((10.3..10.7).contains(&uniform), "{uniform} ms");
        assert!((mean_ms("fixed:3ms".parse().unwrap(), 1) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_seed_gives_the_same_work_and_another_seed_other_work() {
        let time: TaskTime = "exp:5ms".parse().unwrap();
        assert_eq!(time.of_task(7, 42), time.of_task(7, 42));
        assert_ne!(time.of_task(7, 42), time.of_task(8, 42));
        assert_ne!(time.of_task(7, 42), time.of_task(7, 43));
    }
}
