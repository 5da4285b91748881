//! Countersign: a standalone authentication service.
//!
//! The rooms, and who may look into whom: `api → domain → store | crypto | mail | provider → types`. A request runs straight down and
//! comes straight back; never upward, never sideways among the leaves. [`app`] alone wires the rooms together.
//! `tests/layers.rs` holds the rule; `docs/ARCHITECTURE.md` walks through two requests.

pub mod api;
pub mod app;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod mail;
pub mod provider;
pub mod store;
pub mod telemetry;
pub mod types;
mod worker;
