//! Signing in by another's word: started here, or by the client itself; completed here. Here is what the use cases share.

mod complete;
mod identities;
mod link;
mod start;

pub use complete::Returned;
pub use start::Started;

use super::{Domain, Error, Result};
use crate::provider::{self, Profile, Proofs, Provider};

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

    /// Who came back with this code.
    async fn identify(&self, returned: &Returned, proofs: &Proofs) -> Result<Profile> {
        let provider = self.provider(&returned.provider, &returned.redirect_uri)?;
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
            provider::Error::Refused(_) => Self::OauthCodeRefused,
        }
    }
}
