//! What an account may do, changed on the operator's behalf.

use super::{Client, Domain, Error, Result, audit::Deed, tokens::tokens_gone_by};
use crate::{
    store::{changes::Change, users},
    types::{Invalid, Scopes, UserId, event::Action},
};

impl Domain {
    /// Gives a user these scopes as well, and says which there are then. Tokens and keys that were made before have no more than
    /// they had.
    ///
    /// # Errors
    /// `InvalidField` when they would be too many.
    #[tracing::instrument(skip_all)]
    pub async fn grant_scopes(&self, id: UserId, scopes: &Scopes) -> Result<Scopes> {
        self.set_scopes(id, |had| had.union(scopes)).await
    }

    /// Takes these scopes from a user, and says which are left. Tokens and keys may do less within a second (S34).
    #[tracing::instrument(skip_all)]
    pub async fn revoke_scopes(&self, id: UserId, scopes: &Scopes) -> Result<Scopes> {
        self.set_scopes(id, |had| Ok(had.difference(scopes))).await
    }

    async fn set_scopes(
        &self,
        id: UserId,
        change: impl Fn(&Scopes) -> Result<Scopes, Invalid>,
    ) -> Result<Scopes> {
        let changed = self.store.tx(async |tx| {
            let user = users::lock(tx, id).await?.ok_or(Error::NotFound("user"))?;
            let now = tx.now().await?;
            let scopes = change(&user.scopes).map_err(|invalid| Error::field("scopes", invalid))?;
            if scopes != user.scopes {
                users::set_scopes(tx, id, &scopes, now).await?;
                self.tell(tx, &[Change::UserChanged(id)], now, tokens_gone_by(now)).await?;
                Deed::done(Action::ChangeScopes).to(id).record(tx, &Client::default()).await?;
            }
            Ok(scopes)
        });
        changed.await
    }
}
