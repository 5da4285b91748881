//! Changing what an account may do.

use super::{Administrator, right::admits};
use crate::{
    domain::{Domain, Error, Result, tokens::tokens_gone_by},
    store::{
        changes::Change,
        users::{self, User},
    },
    types::{Invalid, Scopes, UserId, event::Action},
};

impl Domain {
    /// Gives a user these scopes and no others. Tokens and keys that were made before have no more than they had, and may do less
    /// within a second (S34).
    ///
    /// # Errors
    /// `InvalidField` when administrators would take from themselves what lets them administer.
    #[tracing::instrument(skip_all)]
    pub async fn set_scopes(&self, id: UserId, scopes: &Scopes, by: &Administrator) -> Result<User> {
        self.change_scopes(id, by, |_| Ok(scopes.clone())).await
    }

    /// Gives a user these scopes as well.
    ///
    /// # Errors
    /// `InvalidField` when they would be too many.
    #[tracing::instrument(skip_all)]
    pub async fn grant_scopes(&self, id: UserId, scopes: &Scopes, by: &Administrator) -> Result<User> {
        self.change_scopes(id, by, |had| had.union(scopes)).await
    }

    /// Takes these scopes from a user.
    #[tracing::instrument(skip_all)]
    pub async fn revoke_scopes(&self, id: UserId, scopes: &Scopes, by: &Administrator) -> Result<User> {
        self.change_scopes(id, by, |had| Ok(had.difference(scopes))).await
    }

    async fn change_scopes(
        &self,
        id: UserId,
        by: &Administrator,
        change: impl Fn(&Scopes) -> Result<Scopes, Invalid>,
    ) -> Result<User> {
        let changed = self.store.tx(async |tx| {
            let user = by.lock(tx, id).await?;
            let now = tx.now().await?;
            let scopes = change(&user.scopes).map_err(|invalid| Error::field("scopes", invalid))?;
            if scopes == user.scopes {
                return Ok(user);
            }
            if admits(&scopes).is_err() {
                by.not_oneself(id)?;
            }
            users::set_scopes(tx, id, &scopes, now).await?;
            self.tell(tx, &[Change::UserChanged(id)], now, tokens_gone_by(now)).await?;
            by.did(Action::ChangeScopes).to(id).record(tx, &by.client).await?;
            Ok(User { scopes, update_time: now, ..user })
        });
        changed.await
    }
}
