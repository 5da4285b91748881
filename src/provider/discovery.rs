//! What an OpenID Connect provider says of itself, its keys included: kept for an hour, asked for by one at a time, and used
//! for longer while the provider is away.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use openidconnect::{IssuerUrl, core::CoreProviderMetadata};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout},
};

use super::{
    Error, Result,
    http::{Http, describe},
};

/// How long it holds, and how long it still does when it cannot be had anew.
const TTL: Duration = Duration::from_hours(1);
const MAX_AGE: Duration = Duration::from_hours(24);
/// How soon it may be asked for again because of a key that is not in it.
const MIN_AGE: Duration = Duration::from_mins(1);
/// How long one try may take: of the whole sign-in, something is to be left for the rest.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// How soon after a failure the next is tried.
const PAUSE: Duration = Duration::from_secs(5);

/// What was said, and when.
pub(super) struct Said {
    pub(super) metadata: CoreProviderMetadata,
    since: Instant,
}

pub(super) struct Discovery {
    issuer: IssuerUrl,
    known: RwLock<Option<Arc<Said>>>,
    /// Whoever holds it asks; in it is when that last failed.
    turn: Mutex<Option<Instant>>,
}

impl Discovery {
    pub(super) fn new(issuer: IssuerUrl) -> Self {
        Self { issuer, known: RwLock::default(), turn: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// What is known, asked for where it is too old.
    pub(super) async fn get(&self, http: &Http) -> Result<Arc<Said>> {
        let known = self.known();
        match known {
            Some(known) if known.since.elapsed() < TTL => Ok(known),
            // It will do for everybody but the one who asks.
            Some(known) if known.since.elapsed() < MAX_AGE => match self.turn.try_lock() {
                Ok(turn) => Ok(self.ask(http, turn, Some(&known)).await.unwrap_or(known)),
                Err(_) => Ok(known),
            },
            _ => self.ask(http, self.turn.lock().await, known.as_ref()).await,
        }
    }

    /// What is newer than this, in which a key was missing; `None` where this is too young for that.
    pub(super) async fn newer(&self, http: &Http, than: &Arc<Said>) -> Result<Option<Arc<Said>>> {
        if than.since.elapsed() < MIN_AGE {
            return Ok(None);
        }
        self.ask(http, self.turn.lock().await, Some(than)).await.map(Some)
    }

    async fn ask(
        &self,
        http: &Http,
        mut failed: MutexGuard<'_, Option<Instant>>,
        seen: Option<&Arc<Said>>,
    ) -> Result<Arc<Said>> {
        // Whoever had the turn before may have brought it.
        if let Some(known) = self.known()
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &known))
        {
            return Ok(known);
        }
        if failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err(Error::Unavailable("discovery failed a moment ago".to_owned()));
        }
        match timeout(TIME_LIMIT, CoreProviderMetadata::discover_async(self.issuer.clone(), http)).await {
            Ok(Ok(metadata)) => {
                *failed = None;
                let said = Arc::new(Said { metadata, since: Instant::now() });
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
                Ok(said)
            }
            answer => {
                // Who is cut off before has not found out whether it fails.
                *failed = Some(Instant::now());
                let why = match answer {
                    Ok(Err(error)) => describe(&error),
                    _ => format!("no answer within {TIME_LIMIT:?}"),
                };
                Err(Error::Unavailable(format!("discovery: {why}")))
            }
        }
    }

    fn known(&self) -> Option<Arc<Said>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
