//! The service from outside, through its doors, on both databases.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod support;
mod wire;

mod bad_input;
mod doors;
mod parity;
mod refresh;
