//! The store on both databases, through its public API: each query, transactions, migrations, TLS.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod common;
mod support;

mod after_commit;
mod api_keys;
mod changes;
mod clock;
mod events;
mod feed;
mod identities;
mod indexes;
mod mails;
mod migrations;
mod one_time_tokens;
mod password_failures;
mod rate_windows;
mod refresh_tokens;
mod sessions;
mod signing_keys;
mod tls;
mod transactions;
mod users;
