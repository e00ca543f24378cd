//! Compiles `evenkeel/v1/*.proto` without `protoc`, and keeps the descriptor set for server reflection and for REST.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

const FILES: [&str; 7] = [
    "evenkeel/v1/types.proto",
    "evenkeel/v1/agent.proto",
    "evenkeel/v1/task.proto",
    "evenkeel/v1/cluster.proto",
    "evenkeel/v1/resource.proto",
    "evenkeel/v1/admin.proto",
    "externalscaler/externalscaler.proto",
];
/// Messages whose maps are sorted: they are part of what is hashed and summed, so that one content must have one encoding.
const SORTED_MAPS: [&str; 2] = [".evenkeel.v1.TaskBudget", ".evenkeel.v1.Usage"];

/// The same without the places in the source of what has no comment: the comments are the reference that tools show, the
/// places are half of the whole.
fn with_comments_only(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for source in descriptors.file.iter_mut().filter_map(|file| file.source_code_info.as_mut()) {
        source.location.retain(|place| place.leading_comments.is_some() || place.trailing_comments.is_some());
    }
    descriptors
}

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("evenkeel_v1.bin"), with_comments_only(descriptors.clone()).encode_to_vec())?;
    let mut configured = tonic_prost_build::configure().bytes(".").codec_path("crate::codec::SmallBuffers");
    for message in SORTED_MAPS {
        configured = configured.btree_map(message);
    }
    configured.compile_fds(descriptors)?;
    Ok(())
}
