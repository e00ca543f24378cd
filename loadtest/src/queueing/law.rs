//! How long tasks take.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use fastrand::Rng;

use super::plan::QueueingError;
use crate::trace::Trace;

/// Largest squared coefficient of variation. Beyond it no number of tasks that can be simulated has a stable mean.
const VARIATION_MAX: f64 = 1_000.0;

/// A law of service times. Written `exp`, `fixed`, `h2:10` or `trace:FILE`.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceLaw {
    /// Exponential.
    Exponential,
    /// All the same.
    Fixed,
    /// Many short ones and a few long ones: one of two exponential laws, each of which brings half of the work ("balanced
    /// means"), with this squared coefficient of variation.
    Hyperexponential(f64),
    /// As in a recorded history: each is drawn from its service times.
    Trace(PathBuf),
}

impl FromStr for ServiceLaw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = || format!("`{text}` is no law of service times; write exp, fixed, h2:10 or trace:FILE");
        match text.split_once(':') {
            None if text == "exp" => Ok(Self::Exponential),
            None if text == "fixed" => Ok(Self::Fixed),
            Some(("trace", file)) if !file.is_empty() => Ok(Self::Trace(file.into())),
            Some(("h2", variation)) => {
                let variation: f64 = variation.parse().map_err(|_| forms())?;
                if !(1.0..=VARIATION_MAX).contains(&variation) {
                    return Err(format!("`{text}`: the squared coefficient of variation is 1 to {VARIATION_MAX}"));
                }
                Ok(Self::Hyperexponential(variation))
            }
            _ => Err(forms()),
        }
    }
}

impl fmt::Display for ServiceLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exponential => f.write_str("exp"),
            Self::Fixed => f.write_str("fixed"),
            Self::Hyperexponential(variation) => write!(f, "h2:{variation}"),
            Self::Trace(file) => write!(f, "trace:{}", file.display()),
        }
    }
}

/// Draws demands of mean 1. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Demands {
    Exponential,
    Fixed,
    /// The share of short tasks; their mean is half of its inverse, so that they are half of the work.
    Hyperexponential(f64),
    Recorded(Arc<[f64]>),
}

impl Demands {
    /// The law's, and the mean service time in seconds that it brings with it, if it does.
    pub fn of(law: &ServiceLaw) -> Result<(Self, Option<f64>), QueueingError> {
        Ok(match law {
            ServiceLaw::Exponential => (Self::Exponential, None),
            ServiceLaw::Fixed => (Self::Fixed, None),
            ServiceLaw::Hyperexponential(variation) => {
                let short = (1.0 + ((variation - 1.0) / (variation + 1.0)).sqrt()) / 2.0;
                (Self::Hyperexponential(short), None)
            }
            ServiceLaw::Trace(path) => {
                let tasks = Trace::read(path)?;
                let total: f64 = tasks.iter().map(|task| task.service.as_secs_f64()).sum();
                let mean = total / tasks.len() as f64;
                if tasks.is_empty() || mean <= 0.0 {
                    return Err(QueueingError::NoService { path: path.clone() });
                }
                (Self::Recorded(tasks.iter().map(|task| task.service.as_secs_f64() / mean).collect()), Some(mean))
            }
        })
    }

    /// One demand.
    pub fn draw(&self, rng: &mut Rng) -> f64 {
        match self {
            Self::Exponential => exponential(rng),
            Self::Fixed => 1.0,
            Self::Hyperexponential(short) => {
                let share = if rng.f64() < *short { *short } else { 1.0 - short };
                exponential(rng) / (2.0 * share)
            }
            Self::Recorded(times) => times[rng.usize(..times.len())],
        }
    }
}

/// Exponential of mean 1: the inverse of the distribution function; 1 - f64() is never 0.
pub(super) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_reads_back_as_it_is_written_and_what_is_none_is_refused() {
        for text in ["exp", "fixed", "h2:10", "trace:a/b.csv"] {
            assert_eq!(text.parse::<ServiceLaw>().unwrap().to_string(), text);
        }
        for (text, reason) in [("", "write exp"), ("h2", "write exp"), ("h2:x", "write exp"), ("trace:", "write exp")] {
            let error = text.parse::<ServiceLaw>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for text in ["h2:0.5", "h2:1e9", "h2:NaN"] {
            assert!(text.parse::<ServiceLaw>().unwrap_err().contains("1 to 1000"), "{text}");
        }
    }

    #[test]
    fn demands_have_mean_one_and_the_variation_asked_for() {
        for (law, variation) in [("exp", 1.0), ("fixed", 0.0), ("h2:10", 10.0)] {
            let (demands, _) = Demands::of(&law.parse().unwrap()).unwrap();
            let mut rng = Rng::with_seed(1);
            let drawn: Vec<f64> = (0..1_000_000).map(|_| demands.draw(&mut rng)).collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let square = drawn.iter().map(|x| x * x).sum::<f64>() / drawn.len() as f64;
            assert!((mean - 1.0).abs() < 0.01, "{law}: mean {mean}");
            assert!((square - 1.0 - variation).abs() < 0.03 * variation + 1e-9, "{law}: {}", square - 1.0);
        }
    }
}
