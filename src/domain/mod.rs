//! domain

pub mod password_policy;
