//! How often one client address may fail to complete sign-ins by providers, and how many it may complete at once.

use std::time::Duration;

use crate::domain::{Client, Domain, Error, Result};

/// When a provider that is asked too often is worth asking again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Domain {
    /// Does what a wrong code or state makes fail, unless the client's address has failed too often.
    pub(super) async fn limit_failures<T>(
        &self,
        client: &Client,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(window) = self.settings.throttle.of_completions(client) else { return work.await };
        // Without it, many at once would all be looked at before the first is counted, and keep everybody else from the provider.
        let _turn = self.provider_turns.take(window.key).await;
        let mut conn = self.store.conn().await?;
        if let Some(retry_after) = window.wait(&mut conn).await? {
            return Err(Error::TooManyAttempts { retry_after });
        }
        drop(conn);
        let done = work.await;
        if matches!(done, Err(Error::OauthStateInvalid | Error::OauthCodeRefused)) {
            let counted = self.store.tx(async |tx| {
                let now = tx.now().await?;
                window.count(tx, now).await
            });
            counted.await?;
        }
        done
    }
}
