//! Removing what is over, in bounded batches. Nothing that is answered depends on it: every end is compared where it matters.

use std::time::Duration;

use super::{Domain, Result};
use crate::store::{
    changes, events, mails, oauth_flows, one_time_tokens, password_failures, rate_windows, sessions,
    signing_keys,
};

/// Rows removed in one transaction: few, so that nobody waits for it for long.
const BATCH: i64 = 500;
/// How long what has expired is still kept, so that no clock that runs late finds it gone too soon.
const EXPIRED_KEPT: Duration = Duration::from_hours(24);
/// How long a mail that was given up, and a counter of wrong passwords, is kept.
const COLD_KEPT: Duration = Duration::from_hours(30 * 24);
/// How long the audit trail is kept.
const EVENTS_KEPT: Duration = Duration::from_hours(90 * 24);

/// The tables, in the order in which they are swept.
#[derive(Debug, Clone, Copy)]
enum Sweep {
    Sessions,
    OneTimeTokens,
    OauthFlows,
    Mails,
    PasswordFailures,
    RateWindows,
    Events,
    SigningKeys,
    Changes,
}

impl Domain {
    /// Removes what is over, everywhere, and says how many rows went. Where a table is busy the others are swept all the same.
    pub async fn sweep(&self) -> Result<usize> {
        use Sweep as S;
        let (mut removed, mut failed) = (0, None);
        for table in [
            S::Sessions,
            S::OneTimeTokens,
            S::OauthFlows,
            S::Mails,
            S::PasswordFailures,
            S::RateWindows,
            S::Events,
            S::SigningKeys,
            S::Changes,
        ] {
            loop {
                match self.sweep_batch(table).await {
                    Ok(batch) => {
                        removed += batch;
                        if batch == usize::try_from(BATCH).unwrap_or_default() {
                            continue;
                        }
                    }
                    Err(error) => failed = Some(error),
                }
                break;
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    async fn sweep_batch(&self, table: Sweep) -> Result<usize> {
        // A password that is off stays off until it is reset (S8).
        let off = i32::try_from(self.settings.throttle.account_max_failures).unwrap_or(i32::MAX);
        let swept = self.store.tx(async |tx| {
            tx.give_way().await?;
            let now = tx.now().await?;
            match table {
                Sweep::Sessions => sessions::sweep(tx, now - EXPIRED_KEPT, BATCH).await,
                Sweep::OneTimeTokens => one_time_tokens::sweep(tx, now - EXPIRED_KEPT, BATCH).await,
                Sweep::OauthFlows => oauth_flows::sweep(tx, now, BATCH).await,
                Sweep::Mails => mails::sweep(tx, now - COLD_KEPT, BATCH).await,
                Sweep::PasswordFailures => password_failures::sweep(tx, off, now - COLD_KEPT, BATCH).await,
                Sweep::RateWindows => rate_windows::sweep(tx, now, BATCH).await,
                Sweep::Events => events::sweep(tx, now - EVENTS_KEPT, BATCH).await,
                Sweep::SigningKeys => signing_keys::sweep(tx, now, BATCH).await,
                Sweep::Changes => changes::sweep(tx, now, BATCH).await,
            }
        });
        Ok(swept.await?)
    }
}
