//! A profile as pprof writes it: <https://github.com/google/pprof/blob/main/proto/profile.proto>, of which this is the part that
//! stacks of functions need. Strings are in a table, whose first one is empty; functions and locations are numbered from 1.

use std::collections::HashMap;

use prost::Message;

use super::{Profile, SAMPLES_PER_SECOND};

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// The bytes of it.
pub fn write(profile: &Profile) -> Vec<u8> {
    made(profile).encode_to_vec()
}

fn made(profile: &Profile) -> Written {
    let period_nanos = 1_000_000_000 / i64::from(SAMPLES_PER_SECOND);
    let mut written = Written {
        string_table: ["", "samples", "count", "cpu", "nanoseconds"].map(str::to_owned).to_vec(),
        sample_type: vec![ValueType { r#type: 1, unit: 2 }, ValueType { r#type: 3, unit: 4 }],
        duration_nanos: i64::try_from(profile.lasted.as_nanos()).unwrap_or(i64::MAX),
        period_type: Some(ValueType { r#type: 3, unit: 4 }),
        period: period_nanos,
        ..Written::default()
    };
    // A function is one location: samples are by function, not by line.
    let mut ids: HashMap<&str, u64> = HashMap::new();
    for (stack, samples) in &profile.stacks {
        let mut location_id = Vec::with_capacity(stack.len());
        // Innermost first.
        for name in stack.iter().rev() {
            let id = *ids.entry(name).or_insert_with(|| {
                let id = written.function.len() as u64 + 1;
                written.function.push(Function { id, name: written.string_table.len() as i64 });
                written.string_table.push(name.clone());
                written.location.push(Location { id, line: vec![Line { function_id: id }] });
                id
            });
            location_id.push(id);
        }
        let samples = i64::try_from(*samples).unwrap_or(i64::MAX);
        written.sample.push(Sample { location_id, value: vec![samples, samples.saturating_mul(period_nanos)] });
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_stacks() {
        let profile = super::super::tests::example();
        let read = Written::decode(write(&profile).as_slice()).unwrap();
        assert_eq!((read.string_table[0].as_str(), read.sample.len()), ("", 2));
        for (sample, (stack, samples)) in read.sample.iter().zip(&profile.stacks) {
            let name = |location: &u64| {
                let location = read.location.iter().find(|of| of.id == *location).unwrap();
                let function = read.function.iter().find(|of| of.id == location.line[0].function_id).unwrap();
                read.string_table[usize::try_from(function.name).unwrap()].clone()
            };
            let names: Vec<_> = sample.location_id.iter().rev().map(name).collect();
            assert_eq!((&names, sample.value[0]), (stack, i64::try_from(*samples).unwrap()));
        }
    }
}
