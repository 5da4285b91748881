//! Starting: what is kept here of a sign-in, and where to send the person (S43).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    crypto::{opaque, sha256},
    domain::{Client, Domain, Error, Result, access::SignedIn},
    store::oauth_flows::{self, OauthFlow},
    types::UserId,
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

impl Domain {
    /// Starts a sign-in.
    #[tracing::instrument(skip_all)]
    pub async fn start_oauth(&self, provider: &str, redirect_uri: &str, client: &Client) -> Result<Started> {
        self.start_flow(provider, redirect_uri, None, client).await
    }

    /// Starts linking an identity to the caller's account.
    #[tracing::instrument(skip_all)]
    pub async fn start_link(&self, caller: &SignedIn, provider: &str, redirect_uri: &str) -> Result<Started> {
        self.start_flow(provider, redirect_uri, Some(caller.user_id), &caller.client).await
    }

    async fn start_flow(
        &self,
        name: &str,
        redirect_uri: &str,
        user_id: Option<UserId>,
        client: &Client,
    ) -> Result<Started> {
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
            if let Some(window) = self.settings.throttle.of_starts(client)
                && !window.admit(tx, now).await?
            {
                let retry_after = window.wait(tx).await?.unwrap_or_default();
                return Err(Error::TooManyAttempts { retry_after });
            }
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
            Ok(oauth_flows::insert(tx, &flow).await?)
        });
        kept.await?;
        Ok(Started { authorization_url, state, flow_secret })
    }
}
