//! crypto

mod hash_pool;
pub mod password;
