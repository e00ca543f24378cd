//! Amounts as people write them: durations, sizes, processor shares, `name=value` pairs.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

/// Reads a duration such as `90s`, `5m` or `1h 30m`; a bare number is seconds.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a duration as 30s, 5m or 1h"))
}

/// Reads a point in time: a duration from now (`2h`), or a date and time of RFC 3339 (`2030-01-31T12:00:00Z`).
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn deadline(text: &str) -> Result<SystemTime, String> {
    if let Ok(duration) = duration(text) {
        return SystemTime::now().checked_add(duration).ok_or_else(|| "is too far in the future".to_owned());
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write a time from now as 2h, or a date and time as 2030-01-31T12:00:00Z".to_owned())
}

/// Milliseconds; saturates.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch, 0 for what was before; saturates.
#[must_use]
pub fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a size in bytes: `512`, `64k`, `512MiB`, `2GB`. Letters alone and `iB` are powers of 1024, `B` powers of 1000.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("`{unit}` is not a unit of size; use k, MiB, GB and the like")),
    };
    let number: u64 = number.parse().map_err(|_| "write a size as 512MiB or 2GB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "is too large".to_owned())
}

/// Reads an amount of processor in thousandths of a core: `1.5` cores or `1500m`.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn cpu_millis(text: &str) -> Result<u64, String> {
    const CORES_MAX: f64 = 1e9;
    if let Some(millis) = text.strip_suffix('m') {
        return millis.parse().map_err(|_| "write processor as 1.5 (cores) or 1500m".to_owned());
    }
    match text.parse::<f64>() {
        // In range, so the conversion is exact enough: it cannot wrap.
        Ok(cores) if (0.0..=CORES_MAX).contains(&cores) => Ok((cores * 1_000.0).round() as u64),
        _ => Err("write processor as 1.5 (cores) or 1500m".to_owned()),
    }
}

/// Reads a range of numbers: `1..8`, both ends included.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn range(text: &str) -> Result<(u32, u32), String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if from <= to => Ok((from, to)),
        Some(_) => Err("the first number must not be the greater one".to_owned()),
        None => Err("write a range as 1..8".to_owned()),
    }
}

/// Reads where to listen: an address and a port.
///
/// # Errors
/// How it is written, for clap to show.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:7400 or [::1]:0".to_owned())
}

/// Reads the position of an event.
///
/// # Errors
/// What it is, for clap to show.
pub fn position(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a position is a whole number; `-o json` shows it with each event".to_owned())
}

/// Reads `name=value`.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

/// Reads `name=number`.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn amount(text: &str) -> Result<(String, u64), String> {
    let (name, value) = pair(text)?;
    let value = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
    Ok((name, value))
}

/// Reads an amount of a unit such as `usd=5` or `tokens=200000`.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn cost(text: &str) -> Result<(String, f64), String> {
    let (unit, value) = pair(text)?;
    Ok((unit, positive(&value)?))
}

/// Reads a number that is not negative.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("`{text}` is not a number of 0 or more")),
    }
}

/// Reads a rate such as `5/s`, `300/m` or `10000/h`, in times a second; a bare number is per second.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("`{unit}` is not a unit of rates; write 5/s, 300/m or 10000/h")),
    };
    Ok(positive(number.trim())? / seconds)
}

/// Reads a time in the past: so long ago (`2h`), or a date and time of RFC 3339.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(duration) = duration(text) {
        return Ok(SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write how long ago as 2h, or a date and time as 2030-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_both_families_of_units() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        for bad in ["", "MiB", "1.5G", "-1", "9999999999999T", "5 apples"] {
            assert!(bytes(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn processor_is_cores_or_thousandths() {
        assert_eq!(cpu_millis("1.5"), Ok(1_500));
        assert_eq!(cpu_millis("250m"), Ok(250));
        for bad in ["", "NaN", "inf", "-1", "1e300", "lots"] {
            assert!(cpu_millis(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate("5"), Ok(5.0));
        assert_eq!(rate("300/m"), Ok(5.0));
        assert_eq!(rate("7200 / h"), Ok(2.0));
        for bad in ["", "-1/s", "5/fortnight", "NaN", "inf"] {
            assert!(rate(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn costs_have_a_unit() {
        assert_eq!(cost("usd=0.5"), Ok(("usd".into(), 0.5)));
        for bad in ["5", "usd=", "usd=-1", "=5"] {
            assert!(cost(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_past_is_said_by_how_long_ago_it_was() {
        assert!(since("1h").unwrap() < SystemTime::now());
        assert_eq!(unix_ms(since("2030-01-31T12:00:00Z").unwrap()), 1_896_091_200_000);
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(amount("gpu=2"), Ok(("gpu".into(), 2)));
        assert!(pair("=b").is_err());
        assert!(amount("gpu=some").is_err());
    }
}
