//! `WatchRevocations`: a stream that begins with all that matters, goes on with what comes, and says now and then that
//! nothing did. It ends when the service stops, when its caller loses the right to it, or when that is too slow.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{Receiver, error::RecvError},
    },
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    convert::{field, timestamp},
    pb::{self, ErrorReason, revocation::Subject},
    status::Problem,
};
use crate::{
    domain::{Domain, Error, News, Result},
    store::{changes::Change, feed::Entry},
    types::Invalid,
};

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Revocations in one message: well below the four megabytes that clients take by default.
const CHUNK: usize = 1000;
/// What a cursor begins with: the version of its form.
const CURSOR: &str = "r1-";

/// What the RPC answers.
pub type Answer = Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

/// One caller's watch.
pub struct Watcher {
    domain: Arc<Domain>,
    /// Checked again with each heartbeat.
    credential: SecretString,
    stop: CancellationToken,
    news: Receiver<Arc<News>>,
    /// What is still to be sent.
    waiting: VecDeque<pb::WatchRevocationsResponse>,
    /// What was told so far; without revocations.
    told: pb::WatchRevocationsResponse,
    heartbeats: Interval,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Begins at a cursor.
    pub async fn begin(
        domain: Arc<Domain>,
        credential: SecretString,
        cursor: &str,
        stop: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Result<Self> {
        let (first, news) = domain.watch_revocations(field("cursor", position(cursor))?).await?;
        let mut heartbeats = interval(HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeats.reset();
        let (waiting, told) = (VecDeque::new(), pb::WatchRevocationsResponse::default());
        let mut watcher =
            Self { domain, credential, stop, news, waiting, told, heartbeats, ended: false, _place: place };
        watcher.take(&first);
        Ok(watcher)
    }

    /// The stream.
    pub fn answer(self) -> Answer {
        Box::pin(stream::unfold(self, |mut watcher| async move {
            if watcher.ended {
                return None;
            }
            let item = watcher.next().await;
            watcher.ended = item.is_err();
            Some((item, watcher))
        }))
    }

    async fn next(&mut self) -> Result<pb::WatchRevocationsResponse, Status> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                self.heartbeats.reset();
                return Ok(message);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Status::unavailable("the server is going away")),
                news = self.news.recv() => match news {
                    Ok(news) if news.entries.is_empty() && !news.restarted => self.told = last(&news),
                    Ok(news) => self.take(&news),
                    Err(RecvError::Lagged(_)) => {
                        let text = "this watcher takes too long; watch again from the last cursor";
                        return Err(Problem::new(ErrorReason::Overloaded, text).into());
                    }
                    Err(RecvError::Closed) => return Err(Status::unavailable("the server is going away")),
                },
                _ = self.heartbeats.tick() => {
                    self.check_credential().await?;
                    return Ok(self.told.clone());
                }
            }
        }
    }

    /// Whoever has lost the right to watch is told why. A database that does not answer, or a rate limit, is no reason.
    async fn check_credential(&self) -> Result<(), Status> {
        match self.domain.authorize_watch(Some(self.credential.expose_secret())).await {
            Err(error) if !matches!(error, Error::StorageUnavailable(_) | Error::TooManyAttempts { .. }) => {
                Err(Problem::from(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Makes messages of what is new.
    fn take(&mut self, news: &News) {
        self.told = last(news);
        let told: Vec<_> = news.entries.iter().filter_map(revocation).collect();
        let mut messages: VecDeque<_> = told
            .chunks(CHUNK)
            .map(|chunk| pb::WatchRevocationsResponse { revocations: chunk.to_vec(), ..Default::default() })
            .collect();
        if messages.is_empty() {
            messages.push_back(pb::WatchRevocationsResponse::default());
        }
        if let Some(first) = messages.front_mut() {
            first.reset = news.restarted;
        }
        if let Some(last) = messages.back_mut() {
            last.cursor.clone_from(&self.told.cursor);
            last.as_of_time = self.told.as_of_time;
        }
        self.waiting.append(&mut messages);
    }
}

fn last(news: &News) -> pb::WatchRevocationsResponse {
    let cursor = format!("{CURSOR}{}", news.position);
    pb::WatchRevocationsResponse { cursor, as_of_time: Some(timestamp(news.as_of)), ..Default::default() }
}

fn position(cursor: &str) -> Result<i64, Invalid> {
    if cursor.is_empty() {
        return Ok(0);
    }
    let digits = cursor.strip_prefix(CURSOR).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Invalid::new("not a cursor that a watch came with"))
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
