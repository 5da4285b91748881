//! The service from outside, through its doors, on both databases.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod refresh;
