//! Signing in by another's word: started here, or by the client itself; completed here.
//!
//! An identity is only ever an account's whose address is proven: by the provider's own word, or before it was linked (S46).

mod complete;
pub(super) mod flow;
mod identities;
mod limits;
mod link;
mod start;

use secrecy::{ExposeSecret, SecretString};

pub use self::start::Started;
use super::{Domain, Error, Result};
use crate::provider::{self, Profile, Proofs, Provider};

/// How many of one client address are asked about at once: fewer than a provider bears, since others are to get there, too.
pub(super) const SIGN_INS_AT_ONCE: usize = 16;
/// The longest code, in bytes: more than any provider's.
const MAX_CODE_LEN: usize = 4096;

/// What a person came back with.
#[derive(Debug)]
pub struct Returned {
    /// From which provider.
    pub provider: String,
    /// The authorization code.
    pub code: SecretString,
    /// Where they were led back to.
    pub redirect_uri: String,
    /// Of a sign-in that was started here.
    pub state: Option<SecretString>,
    /// Required with it.
    pub flow_secret: Option<SecretString>,
    /// The provider's name of itself, where the person came back with it (RFC 9207).
    pub iss: Option<String>,
}

impl Domain {
    /// The provider of this name, and that people may be led back to there (S49).
    fn provider(&self, name: &str, redirect_uri: &str) -> Result<&Provider> {
        let provider = self.providers.get(name).ok_or(Error::UnknownProvider)?;
        if self.settings.redirect_uris.iter().any(|listed| listed == redirect_uri) {
            Ok(provider)
        } else {
            Err(Error::RedirectUriNotAllowed)
        }
    }

    /// The provider that somebody came back from, if it can be that one.
    fn provider_of(&self, returned: &Returned) -> Result<&Provider> {
        let provider = self.provider(&returned.provider, &returned.redirect_uri)?;
        // Another's answer is not of the sign-in that was started (S44).
        if returned.iss.as_deref().is_some_and(|iss| !provider.is_named(iss)) {
            return Err(Error::OauthStateInvalid);
        }
        let code = returned.code.expose_secret();
        if code.is_empty() || code.len() > MAX_CODE_LEN || code.contains(char::is_control) {
            let description = format!("must be 1 to {MAX_CODE_LEN} bytes without control characters");
            return Err(Error::InvalidField { field: "code".to_owned(), description });
        }
        Ok(provider)
    }

    /// Who came back with this code.
    async fn identify(&self, returned: &Returned, proofs: &Proofs) -> Result<Profile> {
        let provider = self.provider_of(returned)?;
        provider.identify(&returned.code, &returned.redirect_uri, proofs).await.map_err(|error| {
            tracing::warn!(provider = returned.provider, cause = %error, "a provider did not say who somebody is");
            error.into()
        })
    }
}

impl From<provider::Error> for Error {
    fn from(error: provider::Error) -> Self {
        match error {
            provider::Error::Unavailable(_) => Self::ProviderUnavailable,
            provider::Error::Busy => Self::Overloaded { retry_after: limits::RETRY_AFTER },
            provider::Error::Refused(_) => Self::OauthCodeRefused,
        }
    }
}
