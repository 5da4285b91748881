//! Values parsed once at the door: inside there are no raw strings for things that have rules.
//!
//! Owns the rules of single values and the two sources of what is not deterministic, the clock and randomness.
//! Knows no other room; every other room knows this one.

pub mod clock;
pub mod digest;
pub mod email;
pub mod event;
pub mod ids;
pub mod ip;
pub mod name;
pub mod password;
pub mod random;
pub mod rate_limit;
pub mod scopes;
pub mod throttle;
pub mod time;
pub mod token_format;
pub mod user_kind;

pub use clock::Clock;
pub use digest::Digest;
pub use email::Email;
pub use ids::{EventId, IdentityId, KeyId, MailId, SessionId, TokenId, UserId};
pub use name::{DisplayName, KeyName};
pub use password::Password;
pub use rate_limit::RateLimit;
pub use scopes::{Scope, Scopes};
pub use throttle::Throttle;
pub use time::Time;
pub use token_format::TokenFormat;
pub use user_kind::UserKind;

/// Why a value was refused, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// A refusal with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
