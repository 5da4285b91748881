//! The store on both databases, through its public API: each query, transactions, migrations, TLS.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod common;
mod support;

mod api_keys;
mod changes;
mod clock;
mod indexes;
mod migrations;
mod refresh_tokens;
mod sessions;
mod signing_keys;
mod tls;
mod transactions;
mod users;
