//! How much may fail.

use std::time::Duration;

/// How failures and mails are held back: `throttle.*` of the configuration. What follows from it is `domain::throttle`'s.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// Wrong passwords in a row that make nobody wait (S8).
    pub account_free_failures: u32,
    /// The longest that one has to wait after another.
    pub account_max_delay: Duration,
    /// After so many the password is off until it is reset.
    pub account_max_failures: u32,
    /// Failures a minute of one network address (S12); 0 for any number.
    pub address_failures_per_minute: usize,
    /// Mails an hour to one recipient, of each kind (S13).
    pub mails_per_hour: usize,
}
