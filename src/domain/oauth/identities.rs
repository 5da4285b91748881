//! A person's own identities.

use crate::{
    domain::{Domain, Error, Result, access::SignedIn},
    mail::{Change, Content},
    store::{
        identities::{self, Identity},
        sessions, users,
    },
    types::{IdentityId, UserId, event::Action},
};

impl Domain {
    /// All of the user's, oldest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_identities(&self, user_id: UserId) -> Result<Vec<Identity>> {
        Ok(identities::list(&mut self.store.conn().await?, user_id).await?)
    }

    /// Removes one, but never the last way in.
    #[tracing::instrument(skip_all)]
    pub async fn unlink(&self, caller: &SignedIn, id: IdentityId) -> Result<()> {
        let unlinked = self.store.tx(async |tx| {
            let user = users::lock(tx, caller.user_id).await?.ok_or(Error::CredentialRevoked)?;
            sessions::lock(tx, caller.user_id, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            let all = identities::list(tx, user.id).await?;
            let gone = all.iter().find(|identity| identity.id == id).ok_or(Error::NotFound("identity"))?;
            // By a provider that is no longer configured nobody gets in.
            let usable = |identity: &Identity| self.providers.values().any(|p| p.issuer() == identity.issuer);
            let others = all.iter().filter(|identity| identity.id != id && usable(identity)).count();
            if user.password_hash.is_none() && others == 0 {
                return Err(Error::LastWayIn);
            }
            identities::delete(tx, user.id, id).await?;
            let change = format!("Signing in by {} was removed.", gone.provider);
            self.post_notice(tx, &user, Content::SignInMethodChanged(Change { change })).await?;
            caller.did(Action::UnlinkIdentity).record(tx, &caller.client).await
        });
        unlinked.await
    }
}
