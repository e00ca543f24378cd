//! Mutations that know protobuf.
//!
//! Bytes that are a message all the way down are taken apart into a tree, changed in a few places and written again, so
//! that every length around a change is right. Some inputs get changes of plain bytes on top, which break lengths. A
//! mutation is decided by its seed alone.
//!
//! Changing bytes alone was tried first in thought: four of five such inputs do not get past the first length.

use fastrand::Rng;

/// Depth to which bytes are taken for messages.
const DEPTH_MAX: usize = 8;
/// Longest input.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Changes in one mutation.
const CHANGES_MAX: usize = 5;
/// A piece of bytes is repeated up to so long.
const REPEATED_BYTES_MAX: usize = 4 << 10;

/// Numbers at which something changes.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    9,
    10,
    100,
    101,
    127,
    128,
    255,
    256,
    1_000,
    1_001,
    4_096,
    4_097,
    65_536,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
    31_622_400_001,
];

const FLOATS: [f64; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.05,
    1.051,
    1e-320,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::MIN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e18,
    9_007_199_254_740_993.0,
];

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    number: u64,
    value: Value,
}

/// One input, changed; `others` lend it parts.
#[must_use]
pub fn mutate(input: &[u8], others: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut output = match parse(input, 0) {
        Some(mut tree) if !tree.is_empty() => {
            let lent = rng.choice(others).and_then(|other| parse(other, 0)).unwrap_or_default();
            for _ in 0..rng.usize(1..=CHANGES_MAX) {
                change_tree(&mut tree, &lent, rng);
            }
            let mut bytes = Vec::new();
            encode(&tree, &mut bytes);
            bytes
        }
        _ => change_bytes(input.to_vec(), rng),
    };
    if rng.u8(0..8) == 0 {
        output = change_bytes(output, rng);
    }
    output.truncate(INPUT_BYTES_MAX);
    output
}

/// For libFuzzer, half of the time; the other half is its own.
#[must_use]
pub fn in_place(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut rng = Rng::with_seed(seed.into());
    if rng.bool() {
        return None;
    }
    let input = data[..size].to_vec();
    let output = mutate(&input, &[&input], &mut rng);
    let len = output.len().min(max_size).min(data.len());
    data[..len].copy_from_slice(&output[..len]);
    (len > 0).then_some(len)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number as u8) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// The fields of a message, if the bytes are one.
fn parse(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let (number, wire_type) = (key >> 3, key & 7);
        if number == 0 || number > 1 << 20 {
            return None;
        }
        let value = match wire_type {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, len)?;
                let nested = if depth < DEPTH_MAX && !is_text(inner) { parse(inner, depth + 1) } else { None };
                nested.map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
            }
            5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

/// Text that happens to be a message as well is text.
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n')
}

fn encode(fields: &[Field], bytes: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let wire_type = match value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) | Value::Message(_) => 2,
            Value::Fixed32(_) => 5,
        };
        put_varint(number << 3 | wire_type, bytes);
        match value {
            Value::Varint(number) => put_varint(*number, bytes),
            Value::Fixed64(fixed) => bytes.extend_from_slice(fixed),
            Value::Fixed32(fixed) => bytes.extend_from_slice(fixed),
            Value::Bytes(inner) => {
                put_varint(inner.len() as u64, bytes);
                bytes.extend_from_slice(inner);
            }
            Value::Message(fields) => {
                let mut inner = Vec::new();
                encode(fields, &mut inner);
                put_varint(inner.len() as u64, bytes);
                bytes.extend_from_slice(&inner);
            }
        }
    }
}

/// Changes something, at the top or further down.
fn change_tree(fields: &mut Vec<Field>, lent: &[Field], rng: &mut Rng) {
    let nested: Vec<usize> = (0..fields.len()).filter(|&at| matches!(fields[at].value, Value::Message(_))).collect();
    // Two of three go further down, where most of a message is.
    if !nested.is_empty() && rng.u8(0..3) > 0 {
        let at = nested[rng.usize(0..nested.len())];
        if let Value::Message(inner) = &mut fields[at].value {
            return change_tree(inner, lent, rng);
        }
    }
    if fields.is_empty() {
        fields.push(some_field(lent, rng));
        return;
    }
    let at = rng.usize(0..fields.len());
    match rng.u8(0..10) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[at].clone()),
        2 => {
            let other = rng.usize(0..fields.len());
            fields.swap(at, other);
        }
        3 => fields.insert(at, some_field(lent, rng)),
        4 => fields[at].number = rng.u64(1..16),
        _ => change_value(&mut fields[at].value, lent, rng),
    }
}

/// A field of another input, from any depth, or a new one.
fn some_field(lent: &[Field], rng: &mut Rng) -> Field {
    let mut at = lent;
    while let Some(field) = rng.choice(at) {
        match &field.value {
            Value::Message(inner) if rng.bool() => at = inner,
            _ => return field.clone(),
        }
    }
    Field { number: rng.u64(1..16), value: Value::Varint(some_number(rng)) }
}

fn some_number(rng: &mut Rng) -> u64 {
    if rng.bool() { NUMBERS[rng.usize(0..NUMBERS.len())] } else { rng.u64(..) >> rng.u32(0..64) }
}

fn change_value(value: &mut Value, lent: &[Field], rng: &mut Rng) {
    match value {
        Value::Varint(number) => {
            *number = match rng.u8(0..4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                _ => some_number(rng),
            }
        }
        Value::Fixed64(fixed) => *fixed = FLOATS[rng.usize(0..FLOATS.len())].to_le_bytes(),
        Value::Fixed32(fixed) => *fixed = rng.u32(..).to_le_bytes(),
        Value::Bytes(bytes) => {
            *bytes = match some_field(lent, rng).value {
                Value::Bytes(other) if rng.u8(0..4) == 0 => other,
                _ => change_bytes(std::mem::take(bytes), rng),
            }
        }
        Value::Message(_) => *value = some_field(lent, rng).value,
    }
}

/// Changes plain bytes, or digits in a text.
fn change_bytes(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    if bytes.is_empty() {
        return (0..rng.usize(1..9)).map(|_| rng.u8(..)).collect();
    }
    let at = rng.usize(0..bytes.len());
    let end = (at + rng.usize(1..=16)).min(bytes.len());
    match rng.u8(0..9) {
        0 => bytes[at] ^= 1 << rng.u8(0..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes.insert(at, rng.u8(b' '..=b'~')),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        6 => {
            let room = REPEATED_BYTES_MAX.saturating_sub(bytes.len()) / (end - at);
            let piece = bytes[at..end].repeat(rng.usize(0..=room));
            bytes.splice(at..at, piece);
        }
        7 => {
            let other = rng.usize(0..bytes.len());
            bytes.swap(at, other);
        }
        _ => change_number(&mut bytes, at, rng),
    }
    bytes
}

/// Writes another number over the next one of a text; without one, a float or a number over the bytes.
fn change_number(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    if let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit) {
        let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = match rng.u8(0..4) {
            0 => format!("-{}", some_number(rng)),
            1 => format!("{:e}", FLOATS[rng.usize(0..FLOATS.len())]),
            _ => some_number(rng).to_string(),
        };
        bytes.splice(start..start + digits, number.into_bytes());
    } else {
        let number = if rng.bool() { some_number(rng).to_le_bytes() } else { f64::NAN.to_le_bytes() };
        let end = (at + number.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&number[..end - at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together_as_it_was() {
        let inner = vec![
            Field { number: 2, value: Value::Varint(u64::MAX) },
            Field { number: 15, value: Value::Bytes(b"text".to_vec()) },
        ];
        let tree = vec![
            Field { number: 1, value: Value::Message(inner) },
            Field { number: 3, value: Value::Fixed64(1.5_f64.to_le_bytes()) },
            Field { number: 16, value: Value::Fixed32([1, 2, 3, 4]) },
        ];
        let mut bytes = Vec::new();
        encode(&tree, &mut bytes);
        assert_eq!(parse(&bytes, 0), Some(tree));
    }

    #[test]
    fn a_mutation_is_decided_by_its_seed() {
        let input = b"\x0a\x06\x08\x01\x12\x02hi";
        let mutated = |seed| mutate(input, &[input], &mut Rng::with_seed(seed));
        assert!((0..100).all(|seed| mutated(seed) == mutated(seed)));
        assert!((0..100).filter(|&seed| mutated(seed) != input).count() > 80);
    }
}
