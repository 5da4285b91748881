//! The store: two databases, queries written once.
//!
//! Owns the pools, transactions, migrations and every query; one file a table. Knows no rules: those are `domain`'s,
//! which also opens and closes the transactions. Nothing outside this room knows Diesel.
//!
//! A row is locked by a plain `UPDATE` of it (`lock`, `touch`), never by `SELECT … FOR UPDATE`, which SQLite lacks.
//! Locks are taken in the order user → session → refresh token, user → key → secret.

mod conn;
mod connect;
mod error;
mod migrate;
mod schema;
mod sql_types;
mod tls;

pub mod api_keys;
pub mod changes;
pub mod events;
pub mod feed;
pub mod identities;
pub mod mails;
pub mod oauth_flows;
pub mod one_time_tokens;
pub mod password_failures;
pub mod rate_windows;
pub mod refresh_tokens;
pub mod sessions;
pub mod signing_keys;
pub mod users;

pub use conn::{Conn, PoolStats, Store, Tx};
use conn::{run, sweep};
pub use connect::{ConnectError, Settings, sqlite_path};
pub use error::{Error, Result};
