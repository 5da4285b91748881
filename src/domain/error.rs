//! What a use case can end in, other than well: one variant for each outcome that a client can tell apart.

use std::time::Duration;

use crate::{
    crypto::{CryptoError, password::HashError},
    store,
    types::Invalid,
};

/// A use case's failure. `api/status.rs` says how each is answered (S63).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credential was presented where one is needed.
    #[error("a credential is required")]
    MissingCredential,
    /// The presented credential is malformed, unknown or not ours.
    #[error("the credential is not valid")]
    InvalidCredential,
    /// The presented credential has expired.
    #[error("the credential has expired")]
    CredentialExpired,
    /// The presented credential was revoked.
    #[error("the credential was revoked")]
    CredentialRevoked,
    /// No account with this address has this password.
    #[error("wrong e-mail address or password")]
    WrongEmailOrPassword,
    /// Unknown or expired, or its session has ended.
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    /// Used before; its session was ended.
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReused,
    /// These scopes are missing.
    #[error("missing scope: {}", .0.join(" "))]
    InsufficientScope(Vec<String>),
    /// The account is disabled. Told only after its right password or a valid credential.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The account's address has to be proven first. Told only after the right password.
    #[error("the e-mail address has to be verified first")]
    EmailNotVerified,
    /// Unknown, used, void or expired, or for something else.
    #[error("the token is not valid: it was used before, has expired or was replaced by a newer one")]
    OneTimeTokenInvalid,
    /// No provider of this name is configured.
    #[error("there is no such provider")]
    UnknownProvider,
    /// Not one of `oauth.redirect_uris` (S49).
    #[error("the redirect URI is not one of those that are allowed")]
    RedirectUriNotAllowed,
    /// Unknown, over, too late, or of another provider, redirect URI or person (S43, S44).
    #[error("the sign-in was not started here, is over, or was started by somebody else")]
    OauthStateInvalid,
    /// The provider does not take the code, or does not vouch for what it says of the person.
    #[error("the provider did not accept the code, or does not vouch for the person's e-mail address")]
    OauthCodeRefused,
    /// The provider does not answer, or not as it should.
    #[error("the identity provider is not available")]
    ProviderUnavailable,
    /// The identity is another account's.
    #[error("the identity belongs to another account")]
    IdentityAlreadyLinked,
    /// Without it nobody could sign in to the account.
    #[error("this is the last way to sign in; set a password or link another identity first")]
    LastWayIn,
    /// Somebody else made the same account or identity at the same time: to be tried anew. Never leaves the domain.
    #[error("made by somebody else at the same time")]
    Taken,
    /// An API key where a user's access token is needed (S35).
    #[error("this needs a user's access token; an API key does not do")]
    SessionRequired,
    /// `accounts.registration` is `closed`.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The address has an account.
    #[error("an account with this e-mail address exists")]
    EmailAlreadyRegistered,
    /// A field is not acceptable.
    #[error("{field}: {description}")]
    InvalidField {
        /// Its path.
        field: String,
        /// What would be acceptable.
        description: String,
    },
    /// The new password is easily guessed (S4).
    #[error("{description}")]
    PasswordTooCommon {
        /// Which field it stood in.
        field: &'static str,
        /// What is wrong with it.
        description: String,
    },
    /// There is none, or it is not the caller's.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// Too many failures, or uses of a rate-limited key.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When the next is allowed.
        retry_after: Duration,
    },
    /// More to do than can be done.
    #[error("the server is overloaded")]
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// As many as a user may have.
    #[error("{0}")]
    LimitReached(String),
    /// The database did not answer. The cause is for the log.
    #[error("the database is not available")]
    StorageUnavailable(#[source] store::Error),
    /// A fault of ours. The cause is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A use case's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether it says that nobody, or not the right one, was seen to call.
    pub(super) fn is_of_credential(&self) -> bool {
        matches!(
            self,
            Self::MissingCredential
                | Self::InvalidCredential
                | Self::CredentialExpired
                | Self::CredentialRevoked
                | Self::AccountDisabled
                | Self::SessionRequired
        )
    }

    /// That `field` is not acceptable, and why.
    pub fn field(field: impl Into<String>, why: Invalid) -> Self {
        Self::InvalidField { field: field.into(), description: why.0 }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) => Self::StorageUnavailable(error),
            // Where a conflict is an outcome, the use case has seen to it.
            store::Error::Conflict | store::Error::Refused(_) => Self::Internal(Box::new(error)),
        }
    }
}

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<HashError> for Error {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            HashError::Unsupported | HashError::Failed => Self::Internal(Box::new(error)),
        }
    }
}
