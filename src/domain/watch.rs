//! Telling services that verify tokens themselves what was revoked.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Domain, Error, Result, feed::FRESH, revocations::News};
use crate::types::{Scopes, UserId};

/// The scope that it takes.
const SCOPE: &str = "countersign:watch";
/// How long ago an earlier watch may have ended to be taken up again: less than the 24 hours for which every change is
/// remembered at least, by as much as replicas' clocks will ever differ.
const MAX_AGE: Duration = Duration::from_hours(23);

/// Where an earlier watch is taken up again.
#[derive(Debug, Clone, Copy)]
pub struct Resume {
    /// Everything before it was told.
    pub position: i64,
    /// Everything that was acknowledged until then was told, in seconds after 1970.
    pub as_of_seconds: i64,
}

impl Domain {
    /// Makes sure that the caller may watch, and tells who that is.
    pub async fn authorize_watch(&self, credential: Option<&str>) -> Result<UserId> {
        let required = Scopes::parse([SCOPE]).map_err(|error| Error::Internal(error.into()))?;
        self.authenticate_for(credential, &required).await.map(|principal| principal.user_id())
    }

    /// What has been revoked and matters still; of this only what an earlier watch has not told, if that can be known. And what
    /// comes: whoever takes that too slowly misses some, and is told so.
    ///
    /// # Errors
    /// `Overloaded` while more is revoked than can be held in memory.
    pub async fn watch_revocations(
        &self,
        resume: Option<Resume>,
    ) -> Result<(News, broadcast::Receiver<Arc<News>>)> {
        self.catch_up().await?;
        let now = self.clock.now();
        // What is older may have been forgotten, by a replica that began since without a trace.
        let recent = |resume: &Resume| now.seconds().abs_diff(resume.as_of_seconds) <= MAX_AGE.as_secs();
        let position = resume.filter(recent).map_or(0, |resume| resume.position);
        // Another replica, which told it, may have looked a moment later than this one.
        self.catch_up_to(position).await;
        let watch = self.revocations.watch(position, now);
        watch.ok_or(Error::Overloaded { retry_after: FRESH })
    }
}
