//! What administrators do with other people's accounts, a file each: by `AdminService`, or by a command straight on the
//! database. Here is who they are.

mod delete;
mod disable;
mod import;
mod keys;
mod read;
mod revoke_credentials;
mod scopes;
mod service_account;

pub use import::{Imported, Outcome};
pub use read::Wanted;
pub use revoke_credentials::{Revoked, What};

use super::{Client, Domain, Error, Result, audit::Deed, validate::Principal};
use crate::{
    store::{
        Tx,
        users::{self, User},
    },
    types::{Invalid, KeyId, Scopes, UserId, event::Action},
};

/// The scope that it takes.
const SCOPE: &str = "countersign:admin";

/// Who administers. Whoever it is may do all of it: there are no lesser administrators.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// Absent where a command does it.
    user_id: Option<UserId>,
    key_id: Option<KeyId>,
    client: Client,
}

impl Administrator {
    /// The operator, by a command straight on the database.
    pub fn operator() -> Self {
        Self { user_id: None, key_id: None, client: Client::default() }
    }

    /// That it was done by this administrator.
    fn did(&self, action: Action) -> Deed {
        Deed::done(action).by(self.user_id, self.key_id)
    }

    /// Nobody locks themselves out by a slip.
    fn not_oneself(&self, id: UserId) -> Result<()> {
        if self.user_id == Some(id) {
            return Err(Error::field(
                "user_id",
                Invalid::new("this is your own account; let somebody else do it"),
            ));
        }
        Ok(())
    }
}

impl Domain {
    /// An administrator, by access token or API key. It is the database that is asked, not memory: who has lost the scope may
    /// do nothing more from that moment on.
    #[tracing::instrument(skip_all)]
    pub async fn authenticate_administrator(
        &self,
        credential: Option<&str>,
        client: Client,
    ) -> Result<Administrator> {
        let required = Scopes::parse([SCOPE]).map_err(|error| Error::Internal(error.into()))?;
        let principal = self.authenticate_for(credential, &required).await?;
        let (user_id, key_id, now) = match principal {
            Principal::User { user_id, session_id, scopes } => {
                let now = self.read_live_session(user_id, session_id).await?;
                (user_id, None, now.intersection(&scopes))
            }
            Principal::ApiKey { user_id, key_id, .. } => {
                (user_id, Some(key_id), self.read_live_key(credential.unwrap_or_default()).await?)
            }
        };
        let missing = now.missing(&required);
        if !missing.is_empty() {
            return Err(Error::InsufficientScope(missing));
        }
        Ok(Administrator { user_id: Some(user_id), key_id, client })
    }
}

/// The account, locked.
async fn lock(tx: &mut Tx, id: UserId) -> Result<User> {
    users::lock(tx, id).await?.ok_or(Error::NotFound("user"))
}
