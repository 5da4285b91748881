//! What administrators do with other people's accounts, a file each: by `AdminService`, or by a command straight on the
//! database. Here is who they are.

mod delete;
mod disable;
mod import;
mod keys;
mod read;
mod revoke_credentials;
mod right;
mod scopes;
mod service_account;

pub use crate::store::users::Filter;
pub use import::{Imported, Outcome};
pub use revoke_credentials::{Revoked, What};

use right::{Caller, Proof, admits, required};

use super::{Client, Domain, Error, Result, access::read_live_key, audit::Deed, validate::Principal};
use crate::{
    crypto::api_key,
    types::{Invalid, KeyId, UserId, event::Action},
};

/// Who administers. Whoever it is may do all of it: there are no lesser administrators.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// Absent where a command does it.
    caller: Option<Caller>,
    client: Client,
}

impl Administrator {
    /// The operator, by a command straight on the database.
    pub fn operator() -> Self {
        Self { caller: None, client: Client::default() }
    }

    fn user_id(&self) -> Option<UserId> {
        self.caller.as_ref().map(|caller| caller.user_id)
    }

    fn key_id(&self) -> Option<KeyId> {
        self.caller.as_ref().and_then(Caller::key_id)
    }

    /// That it was done by this administrator.
    fn did(&self, action: Action) -> Deed {
        Deed::done(action).by(self.user_id(), self.key_id())
    }

    /// Nobody locks themselves out by a slip.
    fn not_oneself(&self, id: UserId) -> Result<()> {
        if self.user_id() == Some(id) {
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
    /// do nothing more from that moment on. What writes asks again within its transaction (`right`).
    #[tracing::instrument(skip_all)]
    pub async fn authenticate_administrator(
        &self,
        credential: Option<&str>,
        client: Client,
    ) -> Result<Administrator> {
        let principal = self.authenticate_for(credential, &required()?).await?;
        let (user_id, proof, now) = match principal {
            Principal::User { user_id, session_id, scopes } => {
                let now = self.read_live_session(user_id, session_id).await?;
                (user_id, Proof::Session(session_id), now.intersection(&scopes))
            }
            Principal::ApiKey { user_id, key_id, .. } => {
                let secret = credential.and_then(api_key::digest).ok_or(Error::InvalidCredential)?;
                let now = read_live_key(&mut self.store.conn().await?, secret, self.clock.now()).await?;
                (user_id, Proof::Key(key_id, secret), now)
            }
        };
        admits(&now)?;
        Ok(Administrator { caller: Some(Caller { user_id, proof }), client })
    }
}
