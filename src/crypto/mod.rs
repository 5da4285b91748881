//! Cryptography: what secrets look like, how they are checked and how they are kept.
//!
//! Owns token formats, the signing keys in memory, sealing under the master key and password hashing. Knows no database
//! and no rules. Nothing outside this room knows `argon2`, `ed25519_compact`, `pasetors` or `sha2`.

pub mod api_key;
mod hash_pool;
pub mod jwt;
pub mod keyring;
pub mod opaque;
pub mod password;
pub mod seal;
pub mod tokens;

pub use keyring::{KeyRing, KeyState, SigningKey};
pub use seal::MasterKey;

use sha2::Digest as _;

use crate::types::Digest;

/// SHA-256, for secrets that are random and for what is no secret.
pub fn sha256(text: &str) -> Digest {
    Digest(sha2::Sha256::digest(text.as_bytes()).into())
}

/// A failure that only a fault of ours or a broken machine explains. The text holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CryptoError(pub &'static str);
