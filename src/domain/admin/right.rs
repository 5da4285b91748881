//! That whoever administers may still do so when it is done. Between the call's admission and its transaction another
//! administrator may have taken the right away, and was told that nothing more comes of it.

use super::Administrator;
use crate::{
    domain::{Error, Result, access::read_live_key},
    store::{
        Tx, api_keys, sessions,
        users::{self, User},
    },
    types::{Digest, KeyId, Scopes, SessionId, UserId, scopes::ADMIN},
};

/// An administrator who called.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) user_id: UserId,
    pub(super) proof: Proof,
}

/// What they called with. Its own scopes sufficed; a token's never change.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// An access token of this session.
    Session(SessionId),
    /// This secret of this key.
    Key(KeyId, Digest),
}

/// What it takes, as a set.
pub(super) fn required() -> Result<Scopes> {
    Scopes::parse([ADMIN]).map_err(|error| Error::Internal(error.into()))
}

/// Whether these scopes are enough.
pub(super) fn admits(scopes: &Scopes) -> Result<()> {
    let missing = scopes.missing(&required()?);
    if missing.is_empty() { Ok(()) } else { Err(Error::InsufficientScope(missing)) }
}

impl Caller {
    pub(super) fn key_id(&self) -> Option<KeyId> {
        match self.proof {
            Proof::Session(_) => None,
            Proof::Key(id, _) => Some(id),
        }
    }

    /// Locks what they called with, and looks once more at all that was looked at when they were let in. Their account's row
    /// is locked.
    async fn check(&self, tx: &mut Tx, account: &User) -> Result<()> {
        if account.disabled_time.is_some() {
            return Err(Error::AccountDisabled);
        }
        match self.proof {
            Proof::Session(id) => {
                sessions::lock(tx, self.user_id, id).await?.ok_or(Error::CredentialRevoked)?;
                admits(&account.scopes)
            }
            Proof::Key(id, secret) => {
                api_keys::lock(tx, self.user_id, id).await?.ok_or(Error::CredentialRevoked)?;
                let now = tx.now().await?;
                admits(&read_live_key(tx, secret, now).await?)
            }
        }
    }
}

impl Administrator {
    /// Locks the account that something is done to, as [`hold`](Self::hold) does.
    pub(super) async fn lock(&self, tx: &mut Tx, id: UserId) -> Result<User> {
        self.hold(tx, Some(id)).await?.ok_or(Error::NotFound("user"))
    }

    /// Begins whatever an administrator does: from here until the transaction ends nobody takes the right to it away, and
    /// whoever did before has it refused. Locks the account that it is done to, if it is to one that exists, and hands that
    /// back. An operator at the command line has no account, and the right to all of it.
    pub(super) async fn hold(&self, tx: &mut Tx, id: Option<UserId>) -> Result<Option<User>> {
        // In one order: else two who do something to each other would each wait for the other's row.
        let mut ids: Vec<_> = self.user_id().into_iter().chain(id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut accounts = Vec::with_capacity(ids.len());
        for id in ids {
            accounts.extend(users::lock(tx, id).await?);
        }
        if let Some(caller) = &self.caller {
            let own = accounts.iter().find(|account| account.id == caller.user_id);
            caller.check(tx, own.ok_or(Error::CredentialRevoked)?).await?;
        }
        Ok(accounts.into_iter().find(|account| Some(account.id) == id))
    }
}
