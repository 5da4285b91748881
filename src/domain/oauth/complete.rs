//! Completing a sign-in: whose account it is, by S45 to S47.

use super::{Returned, limits::RETRY_AFTER};
use crate::{
    domain::{Client, Domain, Error, Issued, Result, audit::Deed, throttle},
    mail::{Change, Content},
    provider::Profile,
    store::{
        self, Tx,
        identities::{self, Identity},
        one_time_tokens::{self, Purpose},
        password_failures,
        users::{self, User},
    },
    types::{DisplayName, Email, IdentityId, Time, event::Action},
};

/// How often it is tried anew when somebody else made the same account or identity at the same time.
const TRIES: usize = 3;

impl Domain {
    /// Signs a person in by their provider's word; makes their account if there is none.
    #[tracing::instrument(skip_all)]
    pub async fn complete_oauth(&self, returned: &Returned, client: &Client) -> Result<Issued> {
        let signed_in = self.limit_failures(client, Box::pin(self.sign_in_by(returned, client))).await;
        crate::domain::audit::note_refusal(signed_in, Action::SignIn, client)
    }

    async fn sign_in_by(&self, returned: &Returned, client: &Client) -> Result<Issued> {
        let proofs = self.take_flow(returned, None).await?;
        let profile = self.identify(returned, &proofs).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            // That it was refused has to be committed, so within the transaction it is no error.
            match self.store.tx(async |tx| self.settle(tx, returned, &profile, client).await).await {
                Err(Error::Taken) if tries < TRIES => {}
                Err(Error::Taken) => return Err(Error::Overloaded { retry_after: RETRY_AFTER }),
                answer => return answer?,
            }
        }
    }

    async fn settle(
        &self,
        tx: &mut Tx,
        returned: &Returned,
        profile: &Profile,
        client: &Client,
    ) -> Result<Result<Issued>> {
        let now = tx.now().await?;
        if let Some(identity) = identities::find(tx, &profile.issuer, &profile.subject).await? {
            let user = users::lock(tx, identity.user_id).await?.ok_or(Error::Taken)?;
            // It may have been removed while the account was locked: by a reset, say (S21).
            if identities::mark_used(tx, identity.id, now).await? == 0 {
                return Err(Error::Taken);
            }
            return self.let_in(tx, user, Action::SignIn, client).await;
        }
        // An address that the provider does not vouch for is nobody's (S46, S47).
        let email = profile.verified_email.as_deref().and_then(|email| Email::parse(email).ok());
        let Some(email) = email else { return Ok(Err(Error::OauthCodeRefused)) };
        let found = match users::find_by_email(tx, email.normalized()).await? {
            Some(found) => {
                let user = users::lock(tx, found.id).await?.ok_or(Error::Taken)?;
                // It may have got another address meanwhile, which is then not the one that is vouched for.
                if user.email_normalized != email.normalized() {
                    return Err(Error::Taken);
                }
                Some(user)
            }
            None => None,
        };
        let (user, action) = match found {
            Some(user) if user.disabled_time.is_some() => {
                return self.let_in(tx, user, Action::SignIn, client).await;
            }
            Some(user) if user.email_verified_time.is_some() => (user, Action::SignIn),
            Some(user) => (self.first_proof(tx, user, now).await?, Action::SignIn),
            None if !self.settings.registration_open => return Ok(Err(Error::RegistrationClosed)),
            None => (self.insert_federated(tx, &email, profile, now).await?, Action::Register),
        };
        self.insert_identity(tx, &user, returned, profile, now).await?;
        if action == Action::SignIn {
            let change = format!("Signing in by {} was added.", returned.provider);
            self.post_notice(tx, &user, Content::SignInMethodChanged(Change { change })).await?;
            Deed::done(Action::LinkIdentity).to(user.id).record(tx, client).await?;
        }
        self.let_in(tx, user, action, client).await
    }

    async fn let_in(
        &self,
        tx: &mut Tx,
        user: User,
        action: Action,
        client: &Client,
    ) -> Result<Result<Issued>> {
        if let Some(refusal) = self.refusal(&user) {
            Deed::failed(action).to(user.id).record(tx, client).await?;
            return Ok(Err(refusal));
        }
        self.open_session(tx, user, action, client).await.map(Ok)
    }

    /// The provider's word is the first proof that the address is this person's: what was made before goes, since whoever made
    /// it may have been somebody else (S21, S46).
    async fn first_proof(&self, tx: &mut Tx, user: User, now: Time) -> Result<User> {
        self.end_all_sessions(tx, user.id, None, now).await?;
        self.end_all_keys(tx, user.id, now).await?;
        identities::delete_all(tx, user.id).await?;
        let mailed = [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::ChangeEmail];
        one_time_tokens::void(tx, user.id, &mailed).await?;
        password_failures::clear(tx, throttle::account(&user.email_normalized)).await?;
        users::remove_password(tx, user.id, now).await?;
        users::set_email_verified(tx, user.id, now).await?.ok_or(Error::Taken)
    }

    async fn insert_federated(
        &self,
        tx: &mut Tx,
        email: &Email,
        profile: &Profile,
        now: Time,
    ) -> Result<User> {
        let name = DisplayName::parse(&profile.name).map(|name| name.as_str().to_owned()).unwrap_or_default();
        let account = User::new(Some(email), &name, self.settings.default_scopes.clone(), now);
        let user = User { email_verified_time: Some(now), ..account };
        users::insert(tx, &user).await.map_err(taken)?;
        Ok(user)
    }

    pub(super) async fn insert_identity(
        &self,
        tx: &mut Tx,
        user: &User,
        returned: &Returned,
        profile: &Profile,
        now: Time,
    ) -> Result<Identity> {
        let identity = Identity {
            id: IdentityId::generate(now),
            user_id: user.id,
            provider: returned.provider.clone(),
            issuer: profile.issuer.clone(),
            subject: profile.subject.clone(),
            email: profile.verified_email.clone().filter(|email| Email::parse(email).is_ok()),
            create_time: now,
            last_used_time: now,
        };
        identities::insert(tx, &identity).await.map_err(taken)?;
        Ok(identity)
    }
}

fn taken(error: store::Error) -> Error {
    match error {
        store::Error::Conflict => Error::Taken,
        error => error.into(),
    }
}
