//! Sealing anew what is sealed under a master key before the present one (S58), so that the old key can be thrown away.
//!
//! Replicas with the old key as their present one may run beside, and seal under it: what they seal is found the next time.

use super::{Domain, Error, Result, oauth, outbox, refresh};
use crate::{
    crypto::{keyring, seal::SealedUnder},
    store::{mails, oauth_flows, refresh_tokens, signing_keys},
};

/// Values sealed anew in one transaction: few, so that nobody waits for it for long.
const BATCH: i64 = 200;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealedValues {
    /// Values that are sealed under the present key.
    pub current: usize,
    /// Values that are sealed under one before.
    pub previous: usize,
    /// Values that no key opens which this process knows.
    pub unknown: usize,
}

/// Counts one table's values and, if `$write`, seals them anew, a batch a transaction. A value that changes meanwhile was sealed by whoever changed it.
macro_rules! rewrap {
    ($domain:ident, $write:ident, $found:ident, $table:ident, $purpose:expr) => {{
        let mut after = None;
        loop {
            let mut conn = $domain.store.conn().await?;
            let batch = $table::list_sealed(&mut conn, after, BATCH).await?;
            drop(conn);
            let Some((last, _)) = batch.last() else { break };
            after = Some(last.clone());
            let mut anew = Vec::new();
            for (id, sealed) in batch {
                match $domain.master_key.reseal(&$purpose(id.clone()), &sealed)? {
                    SealedUnder::Current => $found.current += 1,
                    SealedUnder::Unknown => $found.unknown += 1,
                    SealedUnder::Previous(again) => anew.push((id, sealed, again)),
                }
            }
            $found.previous += anew.len();
            if anew.is_empty() || !$write {
                continue;
            }
            let written = $domain.store.tx(async |tx| {
                tx.give_way().await?;
                let mut written = 0;
                for (id, from, to) in &anew {
                    written += usize::from($table::reseal(tx, id.clone(), from, to).await?);
                }
                Ok::<_, Error>(written)
            });
            let written = written.await?;
            tracing::info!(table = stringify!($table), written, "sealed anew under secrets.master_key");
        }
    }};
}

impl Domain {
    /// Whether there are keys before the present one.
    pub fn has_previous_master_keys(&self) -> bool {
        self.master_key.has_previous()
    }

    /// Seals everything anew that is sealed under a master key before the present one, and says what was found. It may be done
    /// again and again, and by several replicas at once.
    pub async fn rewrap(&self) -> Result<SealedValues> {
        self.go_through_sealed(true).await
    }

    /// Says what is sealed under which key.
    pub async fn sealed_values(&self) -> Result<SealedValues> {
        self.go_through_sealed(false).await
    }

    async fn go_through_sealed(&self, write: bool) -> Result<SealedValues> {
        let mut found = SealedValues::default();
        rewrap!(self, write, found, signing_keys, |kid: String| keyring::purpose(&kid));
        rewrap!(self, write, found, refresh_tokens, refresh::purpose);
        rewrap!(self, write, found, oauth_flows, oauth::flow::purpose);
        rewrap!(self, write, found, mails, outbox::purpose);
        Ok(found)
    }
}
