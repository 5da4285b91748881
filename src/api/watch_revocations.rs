//! `WatchRevocations`: a stream that begins with all that matters, goes on with what comes, and says now and then that
//! nothing did. It ends when the service stops, when its caller loses the right to it, or when that is too slow.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tonic::Status;

use super::{
    convert::{field, timestamp},
    pb::{self, ErrorReason, revocation::Subject},
    places::Place,
    status::Problem,
    streams::End,
};
use crate::{
    domain::{Domain, Error, News, Result, Resume},
    store::{changes::Change, feed::Entry},
    types::Invalid,
};

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often it is looked whether its caller may watch still, and how long an answer to that is waited for.
const CHECK: Duration = Duration::from_secs(5);
const CHECK_PATIENCE: Duration = Duration::from_secs(1);
/// Revocations in one message: well below the four megabytes that clients take by default.
const CHUNK: usize = 1000;
/// What a cursor begins with: the version of its form. Then come a position and, since changes are not remembered for ever,
/// how old it is: `r1-POSITION-SECONDS`.
const CURSOR: &str = "r1-";

/// What the RPC answers.
pub type Answer = Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

/// One caller's watch.
pub struct Watcher {
    domain: Arc<Domain>,
    /// Checked again and again.
    credential: SecretString,
    news: Receiver<Arc<News>>,
    /// What is to be told before anything else.
    telling: Telling,
    /// What was told so far; without revocations.
    told: pb::WatchRevocationsResponse,
    checks: Interval,
    heartbeats: Interval,
    _place: Place,
}

impl Watcher {
    /// Begins at a cursor.
    pub async fn begin(
        domain: Arc<Domain>,
        credential: SecretString,
        cursor: &str,
        place: Place,
    ) -> Result<Self> {
        let (first, news) = domain.watch_revocations(field("cursor", resume(cursor))?).await?;
        let told = end(&first);
        let telling = Telling::new(Arc::new(first));
        let (checks, heartbeats) = (after(CHECK), after(HEARTBEAT));
        Ok(Self { domain, credential, news, telling, told, checks, heartbeats, _place: place })
    }

    /// The stream.
    pub fn answer(self, end: End) -> Answer {
        let end = Box::pin(end.reached());
        Box::pin(stream::unfold(Some((self, end)), |going_on| async move {
            let (mut watcher, mut end) = going_on?;
            let item = tokio::select! {
                biased;
                why = &mut end => Err(why),
                item = watcher.next() => item,
            };
            let going_on = item.is_ok().then_some((watcher, end));
            Some((item, going_on))
        }))
    }

    async fn next(&mut self) -> Result<pb::WatchRevocationsResponse, Status> {
        loop {
            tokio::select! {
                biased;
                // Before the news, of which there may be no end.
                _ = self.checks.tick() => self.check_credential().await?,
                Some(message) = async { self.telling.next() } => {
                    self.heartbeats.reset();
                    return Ok(message);
                }
                news = self.news.recv() => match news {
                    Ok(news) => {
                        self.told = end(&news);
                        if news.restarted || !news.entries.is_empty() {
                            self.telling = Telling::new(news);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        let text = "this watcher takes too long; watch again from the last cursor";
                        return Err(Problem::new(ErrorReason::Overloaded, text).into());
                    }
                    Err(RecvError::Closed) => return Err(Status::unavailable("the server is going away")),
                },
                _ = self.heartbeats.tick() => return Ok(self.told.clone()),
            }
        }
    }

    /// Whoever has lost the right to watch is told why. A database that does not answer, or a rate limit, is no reason.
    async fn check_credential(&self) -> Result<(), Status> {
        let check = self.domain.authorize_watch(Some(self.credential.expose_secret()));
        match timeout(CHECK_PATIENCE, check).await {
            Ok(Err(error))
                if !matches!(error, Error::StorageUnavailable(_) | Error::TooManyAttempts { .. }) =>
            {
                Err(Problem::from(error).into())
            }
            _ => Ok(()),
        }
    }
}

/// News as messages, each of which is made when it is sent: all that matters may be a million revocations.
struct Telling {
    /// Until all were told.
    news: Option<Arc<News>>,
    /// How many were.
    told: usize,
}

impl Telling {
    fn new(news: Arc<News>) -> Self {
        Self { news: Some(news), told: 0 }
    }
}

impl Iterator for Telling {
    type Item = pb::WatchRevocationsResponse;

    fn next(&mut self) -> Option<Self::Item> {
        let news = self.news.take()?;
        let left = news.entries.get(self.told..).unwrap_or_default();
        let (chunk, left) = left.split_at(left.len().min(CHUNK));
        let mut message = if left.is_empty() { end(&news) } else { pb::WatchRevocationsResponse::default() };
        message.reset = news.restarted && self.told == 0;
        message.revocations = chunk.iter().filter_map(revocation).collect();
        self.told += chunk.len();
        if !left.is_empty() {
            self.news = Some(news);
        }
        Some(message)
    }
}

/// An interval whose first tick is not at once.
fn after(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

/// That all of these news were told.
fn end(news: &News) -> pb::WatchRevocationsResponse {
    let cursor = format!("{CURSOR}{}-{}", news.position, news.as_of.seconds());
    pb::WatchRevocationsResponse { cursor, as_of_time: Some(timestamp(news.as_of)), ..Default::default() }
}

/// Reads a cursor; an empty one is none.
fn resume(cursor: &str) -> Result<Option<Resume>, Invalid> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
    let parts = cursor.strip_prefix(CURSOR).and_then(|rest| rest.split_once('-'));
    let parts = parts.and_then(|(position, seconds)| number(position).zip(number(seconds)));
    let (position, as_of_seconds) =
        parts.ok_or_else(|| Invalid::new("not a cursor that a watch came with"))?;
    Ok(Some(Resume { position, as_of_seconds }))
}

fn revocation(entry: &Entry) -> Option<pb::Revocation> {
    let subject = match entry.change? {
        Change::SessionEnded(id) => Subject::SessionId(id.to_string()),
        Change::KeyEnded(id) | Change::KeyChanged(id) => Subject::KeyId(id.to_string()),
        Change::UserChanged(id) => Subject::UserId(id.to_string()),
        Change::SigningKeysChanged => Subject::SigningKeys(true),
    };
    Some(pb::Revocation { subject: Some(subject), expire_time: Some(timestamp(entry.expire_time)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{SessionId, Time};

    #[test]
    fn news_are_told_in_pieces_the_last_of_which_has_the_cursor() {
        let as_of = Time::from_micros(1_800_000_000_000_001);
        let news = |restarted, count| {
            let change = |_| Some(Change::SessionEnded(SessionId::generate(as_of)));
            let entry = |n| Entry { change: change(n), position: 7, expire_time: as_of };
            let entries = (0..count).map(entry).collect();
            Telling::new(Arc::new(News { restarted, entries, position: 8, as_of }))
        };
        let told = |telling: Telling| -> Vec<_> {
            telling.map(|m| (m.reset, m.revocations.len(), m.cursor, m.as_of_time.is_some())).collect()
        };
        let (none, cursor) = (String::new(), "r1-8-1800000000".to_owned());
        let expected = [
            (true, CHUNK, none.clone(), false),
            (false, CHUNK, none, false),
            (false, 1, cursor.clone(), true),
        ];
        assert_eq!(told(news(true, 2 * CHUNK + 1)), expected);
        assert_eq!(told(news(false, CHUNK)), [(false, CHUNK, cursor.clone(), true)]);
        assert_eq!(told(news(true, 0)), [(true, 0, cursor.clone(), true)]);
        let Resume { position, as_of_seconds } = resume(&cursor).unwrap().unwrap();
        assert_eq!((position, as_of_seconds), (8, 1_800_000_000));
    }
}
