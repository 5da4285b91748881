//! The audit trail (S56): each event is a row that commits with what it tells of, and a log line once it lasts. Neither
//! holds an e-mail address or a secret (S57).

use super::{Client, Domain, Result, access::SignedIn};
use crate::{
    store::{
        Tx,
        events::{self, Event},
    },
    types::{
        EventId, KeyId, SessionId, Time, UserId,
        event::{Action, Outcome},
    },
};

/// Something that was done, or tried, before it is written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed {
    action: Action,
    outcome: Outcome,
    user_id: Option<UserId>,
    session_id: Option<SessionId>,
    key_id: Option<KeyId>,
    actor_user_id: Option<UserId>,
    actor_key_id: Option<KeyId>,
}

impl Deed {
    /// That this was done to nobody's account, until it is said whose.
    pub(super) const fn done(action: Action) -> Self {
        Self {
            action,
            outcome: Outcome::Succeeded,
            user_id: None,
            session_id: None,
            key_id: None,
            actor_user_id: None,
            actor_key_id: None,
        }
    }

    /// That this was refused.
    pub(super) const fn failed(action: Action) -> Self {
        Self::done(action).but_failed()
    }

    /// That it was refused after all.
    pub(super) const fn but_failed(self) -> Self {
        Self { outcome: Outcome::Failed, ..self }
    }

    /// To whose account.
    pub(super) fn to(self, user_id: impl Into<Option<UserId>>) -> Self {
        Self { user_id: user_id.into(), ..self }
    }

    /// In which session, or to which.
    pub(super) fn session(self, id: SessionId) -> Self {
        Self { session_id: Some(id), ..self }
    }

    /// To which key.
    pub(super) fn key(self, id: KeyId) -> Self {
        Self { key_id: Some(id), ..self }
    }

    /// By which administrator, and by which key of theirs.
    pub(super) fn by(self, user_id: Option<UserId>, key_id: Option<KeyId>) -> Self {
        Self { actor_user_id: user_id, actor_key_id: key_id, ..self }
    }

    /// Writes the row, and the log line once the transaction has committed.
    pub(super) async fn record(self, tx: &mut Tx, client: &Client) -> Result<()> {
        let now = tx.now().await?;
        self.record_at(tx, client, now).await
    }

    /// The same, by a time that the transaction has asked for already.
    pub(super) async fn record_at(self, tx: &mut Tx, client: &Client, now: Time) -> Result<()> {
        let Self { action, outcome, user_id, session_id, key_id, actor_user_id, actor_key_id } = self;
        let event = Event {
            id: EventId::generate(now),
            user_id,
            action,
            outcome,
            session_id,
            key_id,
            ip_address: client.ip_address(),
            user_agent: client.user_agent().to_owned(),
            create_time: now,
            actor_user_id,
            actor_key_id,
        };
        events::insert(tx, &event).await?;
        let client = client.clone();
        tx.after_commit(move || self.log(&client));
        Ok(())
    }

    /// The log line alone.
    pub(super) fn log(self, client: &Client) {
        let (action, outcome) = (self.action.as_str(), self.outcome.as_str());
        tracing::info!(
            action,
            outcome,
            user_id = self.user_id.map(display),
            session_id = self.session_id.map(display),
            key_id = self.key_id.map(display),
            actor_user_id = self.actor_user_id.map(display),
            actor_key_id = self.actor_key_id.map(display),
            address = client.address.map(display),
            "{action} {outcome}"
        );
    }
}

/// Logs what was refused, of which no account can be told.
pub(super) fn note_refusal<T>(answer: Result<T>, action: Action, client: &Client) -> Result<T> {
    if answer.is_err() {
        Deed::failed(action).log(client);
    }
    answer
}

impl SignedIn {
    /// That the caller did this, in the session that they called in.
    pub(super) fn did(&self, action: Action) -> Deed {
        Deed::done(action).to(self.user_id).session(self.session_id)
    }
}

impl Domain {
    /// A page of the user's events, newest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_events(
        &self,
        user_id: UserId,
        after: Option<EventId>,
        limit: i64,
    ) -> Result<Vec<Event>> {
        Ok(events::list(&mut self.store.conn().await?, Some(user_id), None, after, limit).await?)
    }
}
