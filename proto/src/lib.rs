//! The gRPC interface of Evenkeel.
//!
//! Everything here is generated from `evenkeel/v1/*.proto`, the settings of the codec apart; there is no logic in this crate. Domain types live in
//! `evenkeel-shared`, which also owns the conversions between the two, so that a change of the wire stays a change
//! of the wire.

#![allow(missing_docs)]

pub mod codec;

/// Messages, clients and servers of the package `evenkeel.v1`.
#[allow(clippy::all)]
pub mod v1 {
    tonic::include_proto!("evenkeel.v1");
}

/// The interface by which KEDA asks an external scaler, which a coordinator serves.
#[allow(clippy::all)]
pub mod externalscaler {
    tonic::include_proto!("externalscaler");
}

/// The encoded `FileDescriptorSet` of the packages, as server reflection wants it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evenkeel_v1.bin"));
