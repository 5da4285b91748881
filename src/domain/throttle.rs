//! How failures and mails are held back (S8–S13). All counters are in the database, so they hold across replicas and
//! restarts.

use std::{net::IpAddr, sync::Once, time::Duration};

use super::{Client, Domain, Error, Result, audit::Deed, rate_window::RateWindow};
use crate::{
    crypto::sha256,
    store::password_failures::PasswordFailures,
    types::{Digest, Throttle, Time},
};

/// The first wait after too many wrong passwords (S8).
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// So many sign-ins by providers may an address start where it may fail once: people share addresses, and few complete none.
const STARTS_PER_FAILURE: usize = 10;

/// Mails that are counted (S13). Notices are not, but for those to an address that nobody has proven: whoever registered a
/// stranger's must not be able to flood it.
#[derive(Debug, Clone, Copy)]
pub(super) enum CountedMail {
    VerifyEmail,
    ResetPassword,
    ChangeEmail,
    UnprovenNotice,
}

impl CountedMail {
    /// A part of the key that it is counted under.
    const fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::ChangeEmail => "change_email",
            Self::UnprovenNotice => "unproven_notice",
        }
    }
}

impl Throttle {
    /// How long the next try of a password has to wait (S8). It depends on the failures alone, never on whether there is
    /// such an account (S9).
    pub(super) fn wait(&self, counted: PasswordFailures, now: Time) -> Option<Duration> {
        let failures = u32::try_from(counted.failures).unwrap_or_default();
        if failures >= self.account_max_failures {
            return Some(self.account_max_delay);
        }
        let doublings = failures.checked_sub(self.account_free_failures + 1)?;
        let delay = FIRST_DELAY.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let end = counted.last_failure_time + delay.min(self.account_max_delay);
        (now < end).then(|| end.since(now))
    }

    /// The failures of a client's address (S12), where they are counted.
    pub(super) fn of_address(&self, client: &Client) -> Option<RateWindow> {
        static WARNED: Once = Once::new();
        if self.address_failures_per_minute == 0 {
            return None;
        }
        if let (Some(address), None) = (client.address, client.throttled_address) {
            WARNED.call_once(|| {
                tracing::warn!(
                    %address,
                    "failures from here are not counted by address: it is private, and may be a proxy's. A proxy has to be named \
                     in server.trusted_proxies, and to say for whom it asks in x-forwarded-for"
                );
            });
        }
        Some(RateWindow {
            key: sha256(&format!("address:{}", network(client.throttled_address?))),
            limit: self.address_failures_per_minute,
            span: Duration::from_mins(1),
        })
    }

    /// The sign-ins by providers that failed from a client's address: apart from those by password, since a provider that is
    /// at fault must not keep people from the other door.
    pub(super) fn of_completions(&self, client: &Client) -> Option<RateWindow> {
        let failures = self.of_address(client)?;
        let key = sha256(&format!("oauth_complete:{}", network(client.throttled_address?)));
        Some(RateWindow { key, ..failures })
    }

    /// The sign-ins by providers that were started from a client's address: each leaves a row.
    pub(super) fn of_starts(&self, client: &Client) -> Option<RateWindow> {
        let failures = self.of_address(client)?;
        let key = sha256(&format!("oauth_start:{}", network(client.throttled_address?)));
        Some(RateWindow { key, limit: failures.limit * STARTS_PER_FAILURE, ..failures })
    }

    /// How often mails of a kind were asked for to an address, as it is compared, whether or not it has an account (S13). It
    /// is not counted as a mail: else a stranger could use up those of an account that is yet to be made.
    pub(super) fn of_asks(&self, kind: CountedMail, email: &str) -> RateWindow {
        RateWindow { key: sha256(&format!("ask:{}:{email}", kind.name())), ..self.of_mails(kind, email) }
    }

    /// The mails of a kind to an address, as it is compared (S13).
    pub(super) fn of_mails(&self, kind: CountedMail, email: &str) -> RateWindow {
        RateWindow {
            key: sha256(&format!("mail:{}:{email}", kind.name())),
            limit: self.mails_per_hour,
            span: Duration::from_hours(1),
        }
    }
}

impl Domain {
    /// Does what may tell that an address has an account, unless the client's address was told so too often (S12). Calls of one
    /// address take turns, so that many at once do not get further than one after the other. `refused` is what is logged then.
    pub(super) async fn limit_probing<T>(
        &self,
        refused: Deed,
        client: &Client,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(window) = self.settings.throttle.of_address(client) else { return work.await };
        let _turn = self.address_turns.take(window.key).await;
        let mut conn = self.store.conn().await?;
        if let Some(retry_after) = window.wait(&mut conn).await? {
            refused.log(client);
            return Err(Error::TooManyAttempts { retry_after });
        }
        drop(conn);
        let done = work.await;
        if let Err(Error::EmailAlreadyRegistered) = done {
            let counted = self.store.tx(async |tx| {
                let now = tx.now().await?;
                window.count(tx, now).await
            });
            counted.await?;
        }
        done
    }
}

/// What the failures of an e-mail address, as it is compared, are counted under (S9).
pub(super) fn account(email: &str) -> Digest {
    sha256(&format!("account:{email}"))
}

/// Who has one IPv6 address has its /64 network (S12).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn throttle() -> Throttle {
        Throttle {
            account_free_failures: 4,
            account_max_delay: Duration::from_mins(15),
            account_max_failures: 100,
            address_failures_per_minute: 30,
            mails_per_hour: 3,
        }
    }

    fn wait(failures: i32, seconds_ago: i64) -> Option<u64> {
        let now = Time::from_micros(NOW);
        let last_failure_time = Time::from_micros(NOW - seconds_ago * 1_000_000);
        throttle().wait(PasswordFailures { failures, last_failure_time }, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_doubles_from_the_fifth_failure_to_fifteen_minutes() {
        // S8
        for (failures, seconds) in
            [(5, 1), (6, 2), (7, 4), (8, 8), (14, 512), (15, 900), (16, 900), (50, 900), (99, 900)]
        {
            assert_eq!(wait(failures, 0), Some(seconds), "{failures}");
            assert_eq!(wait(failures, i64::try_from(seconds).unwrap()), None, "{failures}");
        }
        for failures in 1..=4 {
            assert_eq!(wait(failures, 0), None, "{failures}");
        }
    }

    #[test]
    fn after_a_hundred_failures_no_wait_is_long_enough() {
        // S8
        for failures in [100, 101, i32::MAX] {
            assert_eq!(wait(failures, 10_000_000), Some(900), "{failures}");
        }
    }

    #[test]
    fn ipv6_counts_by_its_network() {
        // S12
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
    }
}
