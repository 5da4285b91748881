//! The service from outside, through its doors, on both databases.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/authority.rs"]
mod authority;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/idp.rs"]
#[expect(dead_code, reason = "its lies are tried in tests/provider")]
mod idp;
mod log;
mod mailbox;
mod provider;
mod sink;
mod support;
mod wire;

mod admin;
mod bad_input;
mod callers;
mod change_email;
mod change_password;
mod delete_me;
mod doors;
mod ends;
mod enumeration;
mod events;
mod gateways;
mod internal_listen;
mod jwt;
mod key_changes;
mod key_pages;
mod key_usage;
mod keys;
mod login;
mod logout;
mod master_key;
mod oauth;
mod operator;
mod outage;
mod outbox;
mod overload;
mod parity;
mod pre_hijacking;
mod profile;
mod refresh;
mod register;
mod request_ids;
mod reset_password;
mod revocations;
mod secrets;
mod sessions;
mod signing_keys;
mod start;
mod sweep;
mod throttle;
mod tls;
mod together;
mod validate;
mod verify_email;
