//! Opaque tokens: 256 random bits that mean nothing but to the database (S16, S37, S43).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use super::sha256;
use crate::types::{Digest, random};

const REFRESH_PREFIX: &str = "rt_";
const ONE_TIME_PREFIX: &str = "ot_";
const STATE_PREFIX: &str = "os_";
const FLOW_SECRET_PREFIX: &str = "fs_";
/// 32 bytes in base64.
const RANDOM_LEN: usize = 43;

/// A new refresh token: `rt_` and 43 characters of base64url.
pub fn new_refresh_token() -> SecretString {
    new(REFRESH_PREFIX)
}

/// What is stored of a refresh token; `None` where the text cannot be one.
pub fn refresh_token_digest(text: &str) -> Option<Digest> {
    digest(REFRESH_PREFIX, text)
}

/// A new token to be mailed (S37): `ot_` and 43 characters of base64url.
pub fn new_one_time_token() -> SecretString {
    new(ONE_TIME_PREFIX)
}

/// What is stored of a mailed token; `None` where the text cannot be one.
pub fn one_time_token_digest(text: &str) -> Option<Digest> {
    digest(ONE_TIME_PREFIX, text)
}

/// A new state of a sign-in by a provider (S43): `os_` and 43 characters of base64url.
pub fn new_oauth_state() -> SecretString {
    new(STATE_PREFIX)
}

/// What is stored of a state; `None` where the text cannot be one.
pub fn oauth_state_digest(text: &str) -> Option<Digest> {
    digest(STATE_PREFIX, text)
}

/// What whoever starts such a sign-in is known by when they complete it: `fs_` and 43 characters of base64url.
pub fn new_flow_secret() -> SecretString {
    new(FLOW_SECRET_PREFIX)
}

/// What is stored of a flow secret; `None` where the text cannot be one.
pub fn flow_secret_digest(text: &str) -> Option<Digest> {
    digest(FLOW_SECRET_PREFIX, text)
}

fn new(prefix: &str) -> SecretString {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>())).into()
}

fn digest(prefix: &str, text: &str) -> Option<Digest> {
    (text.len() == prefix.len() + RANDOM_LEN && text.starts_with(prefix)).then(|| sha256(text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn tokens_are_random_and_have_one_shape() {
        let (one, other) = (new_refresh_token(), new_refresh_token());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(refresh_token_digest(one.expose_secret()).is_some());
        assert!(refresh_token_digest(&one.expose_secret()[1..]).is_none());
        assert!(refresh_token_digest("").is_none());
    }
}
