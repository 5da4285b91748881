//! What is kept of a sign-in between its start and its completion (S43, S44).

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::Returned;
use crate::{
    crypto::opaque,
    domain::{Domain, Error, Result},
    provider::Proofs,
    store::oauth_flows::{self, OauthFlow},
    types::{Digest, UserId},
};

/// What is sealed of the proofs.
#[derive(Serialize, Deserialize)]
struct Sealed {
    code_verifier: Option<String>,
    nonce: Option<String>,
}

impl Domain {
    /// The proofs of a sign-in that was started here, by whoever completes it, for this very provider and redirect URI
    /// (S43, S44). It is over then, whatever comes of it.
    pub(super) async fn take_flow(&self, returned: &Returned, user_id: Option<UserId>) -> Result<Proofs> {
        self.provider_of(returned)?;
        let (state, secret) = match (&returned.state, &returned.flow_secret) {
            (Some(state), Some(secret)) => digests(state, secret).ok_or(Error::OauthStateInvalid)?,
            // A client that made its own request has no state of ours.
            (None, None) if !self.settings.require_state && user_id.is_none() => return Ok(Proofs::default()),
            _ => return Err(Error::OauthStateInvalid),
        };
        let flow = self.store.tx(async |tx| {
            let flow = oauth_flows::find(tx, state).await?.ok_or(Error::OauthStateInvalid)?;
            let now = tx.now().await?;
            let is_this = flow.flow_secret == secret
                && flow.provider == returned.provider
                && flow.redirect_uri == returned.redirect_uri
                && flow.user_id == user_id
                && now < flow.expire_time;
            // Who has only half of it does not end it for whoever has it all.
            if is_this && oauth_flows::take(tx, state).await? {
                Ok(flow)
            } else {
                Err(Error::OauthStateInvalid)
            }
        });
        self.open_proofs(&flow.await?).ok_or(Error::OauthStateInvalid)
    }

    pub(super) fn seal_proofs(&self, state: Digest, proofs: &Proofs) -> Result<String> {
        let text =
            |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let sealed = Sealed { code_verifier: text(&proofs.code_verifier), nonce: text(&proofs.nonce) };
        let json = serde_json::to_vec(&sealed).map_err(|error| Error::Internal(Box::new(error)))?;
        Ok(self.master_key.seal(&purpose(state), &json)?)
    }

    pub(super) fn open_proofs(&self, flow: &OauthFlow) -> Option<Proofs> {
        let opened = self.master_key.open(&purpose(flow.state), &flow.proofs_sealed)?;
        let Sealed { code_verifier, nonce } = serde_json::from_slice(&opened).ok()?;
        Some(Proofs { code_verifier: code_verifier.map(Into::into), nonce: nonce.map(Into::into) })
    }
}

pub(in crate::domain) fn purpose(state: Digest) -> String {
    format!("oauth-proofs:{state:x}")
}

/// What is stored of both; `None` where they cannot be ours.
fn digests(state: &SecretString, flow_secret: &SecretString) -> Option<(Digest, Digest)> {
    Some((
        opaque::oauth_state_digest(state.expose_secret())?,
        opaque::flow_secret_digest(flow_secret.expose_secret())?,
    ))
}
