//! `short TARGET [MUTATIONS [SEED]]`: a short run of a target; `short TARGET FILE…`: these inputs.

use std::{fs, io, path::Path, time::Instant};

use evenkeel_fuzz::{TARGETS, short};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((target, run)) = TARGETS.into_iter().find(|(target, _)| *target == name) else {
        return Err(io::Error::other(format!("there is no target `{name}`")));
    };
    let rest: Vec<String> = arguments.collect();
    let numbers: Option<Vec<u64>> = rest.iter().map(|text| text.parse().ok()).collect();
    let Some(numbers) = numbers else {
        return rest.iter().try_for_each(|path| fs::read(path).map(|input| short::run_one(target, run, &input)));
    };
    let mutations = numbers.first().and_then(|n| u32::try_from(*n).ok()).unwrap_or(1_000);
    let seed = numbers.get(1).copied().unwrap_or(0);
    let seeds = short::seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"), target)?;
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let began = Instant::now();
    short::run(target, run, &seeds, mutations, seed);
    println!("{target}: {} seeds and {mutations} mutations in {:.1?}", seeds.len(), began.elapsed());
    Ok(())
}
