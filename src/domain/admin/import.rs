//! Taking over accounts of another system with the hashes of their passwords, which then verify here and are replaced at the
//! first sign-in.

use std::time::Duration;

use super::Administrator;
use crate::{
    crypto::password::check_foreign,
    domain::{Domain, Error, Result, throttle},
    store::{
        password_failures,
        users::{self, User},
    },
    types::{DisplayName, Email, Invalid, Scopes, UserId, event::Action, password::PasswordHash},
};

/// When to try again, should an account be deleted while it is looked at.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is taken over of an account.
#[derive(Debug)]
pub struct Imported {
    /// The address.
    pub email: Email,
    /// The display name; may be empty.
    pub name: DisplayName,
    /// Whether control of the address has been proven there.
    pub email_verified: bool,
    /// Absent where there is no password.
    pub password_hash: Option<PasswordHash>,
    /// What it may do; absent: what every new account may.
    pub scopes: Option<Scopes>,
}

impl Imported {
    /// Takes what another system says of an account.
    ///
    /// # Errors
    /// `InvalidField`, with the first field that is not acceptable.
    pub fn parse(
        email: &str,
        name: &str,
        email_verified: bool,
        password_hash: &str,
        scopes: &[String],
    ) -> Result<Self> {
        let field = |name: &'static str| move |invalid: Invalid| Error::field(name, invalid);
        let hash = Some(password_hash).filter(|hash| !hash.is_empty());
        hash.map_or(Ok(()), check_foreign).map_err(field("password_hash"))?;
        let scopes = Scopes::parse(scopes).map_err(field("scopes"))?;
        Ok(Self {
            email: Email::parse(email).map_err(field("email"))?,
            name: DisplayName::parse(name).map_err(field("name"))?,
            email_verified,
            password_hash: hash.map(|hash| PasswordHash::new(hash.to_owned())),
            scopes: Some(scopes).filter(|scopes| *scopes != Scopes::default()),
        })
    }
}

/// What became of an account that was to be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Created(UserId),
    /// The address had an account before, which was not changed.
    Exists(UserId),
}

impl Domain {
    /// Takes these accounts over: all, or none when it fails. An address that has an account is left as it is.
    #[tracing::instrument(skip_all)]
    pub async fn import_users(&self, accounts: &[Imported], by: &Administrator) -> Result<Vec<Outcome>> {
        // In one order, whatever the caller's: else two imports of the same addresses could each wait for the other's.
        let mut sorted: Vec<_> = accounts.iter().enumerate().collect();
        sorted.sort_by_key(|(_, account)| account.email.normalized());
        let imported = self.store.tx(async |tx| {
            by.hold(tx, None).await?;
            let now = tx.now().await?;
            let mut outcomes = Vec::with_capacity(accounts.len());
            for (at, account) in &sorted {
                let email = &account.email;
                let scopes = account.scopes.as_ref().unwrap_or(&self.settings.default_scopes);
                let user = User {
                    email_verified_time: account.email_verified.then_some(now),
                    password_hash: account.password_hash.clone(),
                    ..User::new(Some(email), account.name.as_str(), scopes.clone(), now)
                };
                if !users::insert_if_absent(tx, &user).await? {
                    let found = users::find_by_email(tx, email.normalized()).await?;
                    // Deleted this very moment.
                    let found = found.ok_or(Error::Overloaded { retry_after: RETRY_AFTER })?;
                    outcomes.push((*at, Outcome::Exists(found.id)));
                    continue;
                }
                // Whoever guessed at the address before guessed at no account.
                password_failures::clear(tx, throttle::account(&user.email_normalized)).await?;
                by.did(Action::ImportAccount).to(user.id).record(tx, &by.client).await?;
                outcomes.push((*at, Outcome::Created(user.id)));
            }
            Ok::<_, Error>(outcomes)
        });
        let mut outcomes = imported.await?;
        outcomes.sort_by_key(|(at, _)| *at);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}
