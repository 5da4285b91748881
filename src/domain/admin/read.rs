//! Looking accounts and events up.

use crate::{
    domain::{Domain, Error, Result},
    store::{
        events::{self, Event},
        users::{self, Filter, User},
    },
    types::{Email, EventId, UserId, event::Action},
};

impl Domain {
    /// A page of accounts, newest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_users(&self, filter: &Filter, after: Option<UserId>, limit: i64) -> Result<Vec<User>> {
        Ok(users::list(&mut self.store.conn().await?, filter, after, limit).await?)
    }

    /// The account with this id.
    #[tracing::instrument(skip_all)]
    pub async fn find_user(&self, id: UserId) -> Result<User> {
        users::find(&mut self.store.conn().await?, id).await?.ok_or(Error::NotFound("user"))
    }

    /// The account of this address.
    #[tracing::instrument(skip_all)]
    pub async fn find_user_by_email(&self, email: &Email) -> Result<User> {
        let found = users::find_by_email(&mut self.store.conn().await?, email.normalized()).await?;
        found.ok_or(Error::NotFound("user"))
    }

    /// A page of events, newest first: of one account, which may be gone, or of all.
    #[tracing::instrument(skip_all)]
    pub async fn list_all_events(
        &self,
        user_id: Option<UserId>,
        action: Option<Action>,
        after: Option<EventId>,
        limit: i64,
    ) -> Result<Vec<Event>> {
        Ok(events::list(&mut self.store.conn().await?, user_id, action, after, limit).await?)
    }
}
