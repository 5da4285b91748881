//! Telling services that verify tokens themselves what was revoked.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Domain, Error, Result, feed::FRESH, revocations::News};
use crate::types::Scopes;

/// The scope that it takes.
const SCOPE: &str = "countersign:watch";

impl Domain {
    /// Makes sure that the caller may watch.
    pub async fn authorize_watch(&self, credential: Option<&str>) -> Result<()> {
        let required = Scopes::parse([SCOPE]).map_err(|error| Error::Internal(error.into()))?;
        self.authenticate_for(credential, &required).await.map(drop)
    }

    /// What has been revoked and matters still, from this position of an earlier watch on; 0 is the beginning. And what
    /// comes: whoever takes that too slowly misses some, and is told so.
    ///
    /// # Errors
    /// `Overloaded` while more is revoked than can be held in memory.
    pub async fn watch_revocations(&self, position: i64) -> Result<(News, broadcast::Receiver<Arc<News>>)> {
        self.catch_up().await?;
        let watch = self.revocations.watch(position, self.clock.now());
        watch.ok_or(Error::Overloaded { retry_after: FRESH })
    }
}
