//! Linking an identity to one's own account.

use super::Returned;
use crate::{
    domain::{Domain, Error, Result, access::SignedIn},
    mail::{Change, Content},
    store::{
        identities::{self, Identity},
        sessions, users,
    },
    types::event::Action,
};

impl Domain {
    /// Links the identity of whoever came back to the account of the caller, who started it.
    #[tracing::instrument(skip_all)]
    pub async fn complete_link(&self, caller: &SignedIn, returned: &Returned) -> Result<Identity> {
        self.limit_failures(&caller.client, Box::pin(self.link(caller, returned))).await
    }

    async fn link(&self, caller: &SignedIn, returned: &Returned) -> Result<Identity> {
        let proofs = self.take_flow(returned, Some(caller.user_id)).await?;
        let profile = self.identify(returned, &proofs).await?;
        let linked = self.store.tx(async |tx| {
            let user = users::lock(tx, caller.user_id).await?.ok_or(Error::CredentialRevoked)?;
            // The session may have ended meanwhile.
            sessions::lock(tx, caller.user_id, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            // Whoever registered a stranger's address must not be left a way in that outlives its proof (S21).
            if user.email_verified_time.is_none() {
                return Err(Error::EmailNotVerified);
            }
            let now = tx.now().await?;
            match identities::find(tx, &profile.issuer, &profile.subject).await? {
                Some(identity) if identity.user_id == user.id => return Ok(identity),
                Some(_) => return Err(Error::IdentityAlreadyLinked),
                None => {}
            }
            let identity = match self.insert_identity(tx, &user, returned, &profile, now).await {
                Err(Error::Taken) => return Err(Error::IdentityAlreadyLinked),
                identity => identity?,
            };
            let change = format!("Signing in by {} was added.", returned.provider);
            self.post_notice(tx, &user, Content::SignInMethodChanged(Change { change })).await?;
            caller.did(Action::LinkIdentity).record(tx, &caller.client).await?;
            Ok(identity)
        });
        linked.await
    }
}
