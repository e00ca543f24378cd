//! The write-ahead log, looked at before SQLite opens it.
//!
//! SQLite reads the log up to the first frame whose checksum is wrong, and takes that for its end. After a power cut this
//! is right: what lies behind was never answered. After damage it is not: commits that were answered would be gone without
//! a word. The two can be told apart. Each commit is synced before the next one is written, so a power cut can leave at
//! most one whole commit behind a frame that is not as it should be; if there are more, or if the head of the log is
//! damaged, which is synced before anything else, then the disk has lost what it had.
//!
//! What cannot be told apart is damage to the very last commit and a power cut while it was written.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use super::super::StoreError;

const HEAD_BYTES: usize = 32;
const FRAME_HEAD_BYTES: usize = 24;
/// SQLite's default, which every database of Evenkeel has.
const PAGE_BYTES: usize = 4_096;
/// The head of a log begins with this, and with 1 more where its checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// Read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Where SQLite keeps the log of a database.
pub fn path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// A running checksum.
#[derive(Clone, Copy, PartialEq)]
struct Check(u32, u32);

impl Check {
    fn over(self, bytes: &[u8], big_endian: bool) -> Self {
        let read = |word: &[u8; 4]| if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        pairs.iter().fold(self, |Self(a, b), [first, second]| {
            let a = a.wrapping_add(read(first)).wrapping_add(b);
            let b = b.wrapping_add(read(second)).wrapping_add(a);
            Self(a, b)
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Refuses a log in which answered commits lie behind damage.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let found = read(BufReader::with_capacity(BUFFER_BYTES, file)).map_err(StoreError::io("read", path))?;
    let Some(Damage { at, commits }) = found else { return Ok(()) };
    Err(StoreError::Corrupt(format!(
        "`{}` is damaged at byte {at}, and {commits} whole commits lie behind that",
        path.display()
    )))
}

/// Damage, and what lies behind it.
#[derive(Debug, PartialEq)]
struct Damage {
    at: u64,
    commits: u64,
}

fn read(mut log: impl Read) -> io::Result<Option<Damage>> {
    let mut head = [0; HEAD_BYTES];
    if !fill(&mut log, &mut head)? {
        return Ok(None);
    }
    // A head that is damaged says nothing about the order of bytes; then it is this machine's.
    let known = number(&head, 0) & !1 == MAGIC;
    let big_endian = if known { number(&head, 0) & 1 == 1 } else { cfg!(target_endian = "big") };
    let own = Check(number(&head, 24), number(&head, 28));
    let head_is_sound = known && Check(0, 0).over(&head[..24], big_endian) == own;
    let mut damaged_at = if head_is_sound { None } else { Some(0) };
    let mut salts = head_is_sound.then(|| [number(&head, 16), number(&head, 20)]);
    let (mut before, mut commits, mut at) = (own, 0, HEAD_BYTES as u64);
    let mut frame = vec![0; FRAME_HEAD_BYTES + PAGE_BYTES];
    while fill(&mut log, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEAD_BYTES);
        let stored = Check(number(head, 16), number(head, 20));
        let found = [number(head, 8), number(head, 12)];
        let salt_is_right = *salts.get_or_insert(found) == found;
        // Behind damage the checksum goes on from what the frame before says of itself.
        let sum_is_right = before.over(&head[..8], big_endian).over(page, big_endian) == stored;
        if !(salt_is_right && sum_is_right && number(head, 0) > 0) {
            damaged_at = damaged_at.or(Some(at));
        } else if damaged_at.is_some() && number(head, 4) > 0 {
            // Only the last frame of a commit tells the size of the database.
            commits += 1;
        }
        before = stored;
        at += frame.len() as u64;
    }
    let explained = u64::from(head_is_sound);
    Ok(damaged_at.filter(|_| commits > explained).map(|at| Damage { at, commits }))
}

/// Fills the buffer; false if there is not enough left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
