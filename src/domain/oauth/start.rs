//! Starting: what is kept here of a sign-in, and where to send the person (S43).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{opaque, sha256},
    domain::{Domain, Error, Result, access::SignedIn},
    provider::Proofs,
    store::oauth_flows::{self, OauthFlow},
    types::{Digest, UserId},
};

/// How long a person may take.
const LIFETIME: Duration = Duration::from_mins(10);

/// What a client gets that starts a sign-in.
#[derive(Debug)]
pub struct Started {
    /// Where to send the person.
    pub authorization_url: String,
    /// Comes back with the code.
    pub state: SecretString,
    /// Does not: only whoever started it has it.
    pub flow_secret: SecretString,
}

/// What is sealed of the proofs.
#[derive(Serialize, Deserialize)]
struct Sealed {
    code_verifier: Option<String>,
    nonce: Option<String>,
}

impl Domain {
    /// Starts a sign-in.
    pub async fn start_oauth(&self, provider: &str, redirect_uri: &str) -> Result<Started> {
        self.start_flow(provider, redirect_uri, None).await
    }

    /// Starts linking an identity to the caller's account.
    pub async fn start_link(&self, caller: &SignedIn, provider: &str, redirect_uri: &str) -> Result<Started> {
        self.start_flow(provider, redirect_uri, Some(caller.user_id)).await
    }

    async fn start_flow(&self, name: &str, redirect_uri: &str, user_id: Option<UserId>) -> Result<Started> {
        let provider = self.provider(name, redirect_uri)?;
        let (state, flow_secret) = (opaque::new_oauth_state(), opaque::new_flow_secret());
        let proofs = provider.new_proofs();
        let authorization_url =
            provider.authorization_url(redirect_uri, &state, &proofs).await.map_err(|error| {
                tracing::warn!(provider = name, cause = %error, "nobody can be sent to a provider");
                Error::from(error)
            })?;
        let digest = sha256(state.expose_secret());
        let proofs_sealed = self.seal_proofs(digest, &proofs)?;
        let kept = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let flow = OauthFlow {
                state: digest,
                flow_secret: sha256(flow_secret.expose_secret()),
                provider: name.to_owned(),
                redirect_uri: redirect_uri.to_owned(),
                proofs_sealed,
                user_id,
                create_time: now,
                expire_time: now + LIFETIME,
            };
            oauth_flows::insert(tx, &flow).await
        });
        kept.await?;
        Ok(Started { authorization_url, state, flow_secret })
    }

    fn seal_proofs(&self, state: Digest, proofs: &Proofs) -> Result<String> {
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

fn purpose(state: Digest) -> String {
    format!("oauth-proofs:{state:x}")
}
