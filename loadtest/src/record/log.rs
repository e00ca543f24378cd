//! Histograms as a file: the interval log of HdrHistogram, that its tools of all languages read.
//!
//! One line is one histogram: of the whole run with the tag `SLICE/PHASE` (`all/end_to_end`, `tenant:acme/queueing`), and of
//! all tasks by stretch with the tag `second/PHASE`. Values are microseconds. `HistogramLogProcessor -i FILE -tag
//! all/end_to_end` prints the percentiles. Names in tags are percent-encoded, because a tag can hold neither a comma nor
//! a space.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer, V2DeflateSerializer,
        interval_log::{IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag},
    },
};

use super::{Histograms, Interval, Phase, Slice, histograms::empty, intervals::sparse};

/// The slice in the tags of stretches.
const STRETCH: &str = "second";

/// The log of a run that started at that time and took so long.
///
/// # Errors
/// What could not be encoded.
pub fn encode(histograms: &Histograms, started_at_ms: u64, duration_s: f64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let started_at = UNIX_EPOCH + Duration::from_millis(started_at_ms);
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Latencies of a run of evenkeel loadtest, in microseconds]")
        .with_base_time(started_at)
        .with_start_time(started_at)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| error.to_string())?;
    let mut write = |us: &Histogram<u64>, from_s: f64, length_s: f64, tag: &str| {
        let tag = Tag::new(tag).ok_or_else(|| format!("`{tag}` cannot be a tag"))?;
        writer.write_histogram(us, seconds(from_s), seconds(length_s), Some(tag)).map_err(|error| error.to_string())
    };
    for ((slice, phase), us) in histograms.iter() {
        write(us, 0.0, duration_s, &format!("{}/{}", slice_tag(slice), phase.name()))?;
    }
    let mut us = empty();
    for interval in histograms.intervals() {
        for (phase, values) in &interval.values {
            us.reset();
            values.iter().for_each(|(value, count)| us.saturating_record_n(*value, *count));
            write(&us, interval.from_s, interval.length_s, &format!("{STRETCH}/{}", phase.name()))?;
        }
    }
    Ok(bytes)
}

/// The histograms of a log.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode(bytes: &[u8]) -> Result<Histograms, String> {
    let mut whole = Vec::new();
    // By start in milliseconds, which is the precision of the log.
    let mut stretches: BTreeMap<u128, Interval> = BTreeMap::new();
    let mut deserializer = Deserializer::new();
    for (line, entry) in IntervalLogIterator::new(bytes).enumerate() {
        let entry = entry.map_err(|error| format!("{error:?}"))?;
        let LogEntry::Interval(entry) = entry else { continue };
        let at = |what: &str| format!("histogram {}: {what}", line + 1);
        let us = histogram(&mut deserializer, &entry).map_err(|error| at(&error))?;
        let tag = entry.tag().ok_or_else(|| at("it has no tag"))?;
        let (slice, phase) = tag.as_str().rsplit_once('/').ok_or_else(|| at("its tag has no phase"))?;
        let phase = Phase::named(phase).ok_or_else(|| at("its tag names no phase"))?;
        if slice == STRETCH {
            let (from, length) = (entry.start_timestamp(), entry.duration());
            let stretch = stretches.entry(from.as_millis()).or_insert_with(|| Interval {
                from_s: from.as_secs_f64(),
                length_s: length.as_secs_f64(),
                values: BTreeMap::new(),
            });
            stretch.values.insert(phase, sparse(&us));
        } else {
            let slice = slice_named(slice).ok_or_else(|| at("its tag names no slice of the tasks"))?;
            whole.push(((slice, phase), us));
        }
    }
    Ok(Histograms::of(whole, stretches.into_values().collect()))
}

fn histogram(deserializer: &mut Deserializer, entry: &IntervalLogHistogram<'_>) -> Result<Histogram<u64>, String> {
    let encoded = STANDARD.decode(entry.encoded_histogram()).map_err(|error| error.to_string())?;
    deserializer.deserialize(&mut encoded.as_slice()).map_err(|error| error.to_string())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}

fn slice_tag(slice: &Slice) -> String {
    match slice {
        Slice::All => "all".to_owned(),
        Slice::Tenant(name) => format!("tenant:{}", escaped(name)),
        Slice::Priority(priority) => format!("priority:{priority}"),
        Slice::Work(name) => format!("work:{}", escaped(name)),
    }
}

fn slice_named(tag: &str) -> Option<Slice> {
    match tag.split_once(':') {
        None if tag == "all" => Some(Slice::All),
        Some(("tenant", name)) => Some(Slice::Tenant(unescaped(name)?)),
        Some(("priority", priority)) => Some(Slice::Priority(priority.parse().ok()?)),
        Some(("work", name)) => Some(Slice::Work(unescaped(name)?)),
        _ => None,
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(values_us: &[u64]) -> Histograms {
        let mut histograms = Histograms::default();
        for &us in values_us {
            histograms.record(&Slice::All, Phase::EndToEnd, us);
            histograms.record(&Slice::Tenant("a, b/%ü:\n".to_owned()), Phase::Queueing, us / 2);
            histograms.record(&Slice::Priority(9), Phase::Acceptance, us / 3);
        }
        histograms
    }

    fn whole() -> Histograms {
        let mut whole = Histograms::default();
        whole.add_interval(0.0, 1.0, &stretch(&[1, 1_000, 1_000, 77_777]));
        whole.add_interval(1.0, 1.0, &stretch(&[5_000_000]));
        whole.add(&stretch(&[3]));
        whole
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = whole();
        let log = encode(&whole, 1_700_000_000_000, 2.5).unwrap();
        let read = decode(&log).unwrap();
        assert_eq!(read.latencies(), whole.latencies());
        assert_eq!(read.intervals(), whole.intervals());
        assert_eq!(read.intervals().len(), 2);
    }

    #[test]
    fn the_log_is_of_the_form_that_other_tools_read() {
        let log = String::from_utf8(encode(&whole(), 1_700_000_000_000, 2.5).unwrap()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert!(log.contains("#[BaseTime: 1700000000.000 (seconds since epoch)]"), "{log}");
        // `HIST` is the cookie of compressed V2 histograms in base64.
        assert!(lines.iter().any(|line| line.starts_with("Tag=all/end_to_end,0.000,2.500,") && line.contains(",HIST")));
        assert!(lines.iter().any(|line| line.starts_with("Tag=second/end_to_end,1.000,1.000,")));
        assert!(lines.iter().any(|line| line.starts_with("Tag=tenant:a%2C%20b%2F%25%C3%BC%3A%0A/queueing,")));
    }

    #[test]
    fn damage_is_found_and_its_place_named() {
        let log = String::from_utf8(encode(&whole(), 0, 1.0).unwrap()).unwrap();
        let check = |damaged: String, part: &str| {
            let error = decode(damaged.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(log.replace("HISTF", "HISTZ"), "histogram 3");
        check(log.replace("all/end_to_end", "all/nonsense"), "names no phase");
        check(log.replace("Tag=all/end_to_end", "Tag=some/end_to_end"), "names no slice");
        check(log[..log.len() - 40].to_owned(), "ParseError");
    }
}
