//! What `build.rs` generated from `proto/`.
#![expect(clippy::pedantic, clippy::allow_attributes, reason = "generated code")]

tonic::include_proto!("countersign.v1");

/// The encoded `FileDescriptorSet` of all protos, with their annotations and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
