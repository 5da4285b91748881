//! The rules: one file a use case.
//!
//! Owns what the service does and refuses, and opens and closes the transactions. Knows no transport and no SQL. `api`
//! calls it with values that are already parsed; `worker` enters here, too.

pub mod access;
pub mod admin;
mod asked;
mod audit;
mod change_email;
mod change_password;
mod client;
mod delete_me;
pub mod error;
mod feed;
mod key_records;
mod keyring;
pub mod keys;
mod login;
mod logout;
pub mod oauth;
mod one_time_tokens;
mod outbox;
mod password;
mod password_policy;
mod profile;
mod rate_limit;
mod rate_window;
mod refresh;
mod register;
mod reset_password;
mod revocations;
mod rewrap;
pub mod sessions;
pub mod signing_keys;
pub mod stats;
mod sweep;
mod throttle;
mod tokens;
mod turns;
mod usage;
pub mod validate;
mod verified_tokens;
mod verify_email;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::sync::{Mutex, Notify};

pub use admin::Administrator;
pub use client::Client;
pub use error::{Error, Result};
pub use keyring::{LoadError, VerificationKey};
pub use one_time_tokens::Links;
pub use register::{NewAccount, Registered};
pub use revocations::News;
pub use rewrap::SealedValues;
pub use tokens::{Issued, MAX_ACCESS_TTL};
pub use watch::Resume;

use feed::{Looking, Reader};
use key_records::KeyRecords;
use password::TRIES_AT_ONCE;
use revocations::Revocations;
use turns::Turns;
use verified_tokens::VerifiedTokens;

use crate::{
    crypto::{KeyRing, MasterKey, password::PasswordHasher, tokens::Parties},
    mail::Mailer,
    provider::Provider,
    store::Store,
    types::{Clock, Scopes, Throttle, TokenFormat},
};

/// What the use cases work with.
pub struct Domain {
    store: Store,
    clock: Clock,
    passwords: PasswordHasher,
    master_key: MasterKey,
    keys: RwLock<KeyRing>,
    settings: Settings,
    usage: usage::Usage,
    rate_limits: rate_limit::RateLimits,
    revocations: Arc<Revocations>,
    looking: Arc<Looking>,
    reader: Mutex<Reader>,
    verified_tokens: VerifiedTokens,
    key_records: KeyRecords,
    account_turns: Turns,
    address_turns: Turns,
    provider_turns: Turns,
    /// Absent where no mail is sent: by a command, which leaves what it writes to the service.
    mailer: Option<Mailer>,
    providers: BTreeMap<String, Provider>,
    mail_due: Arc<Notify>,
    mail_tally: Arc<stats::MailTally>,
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who issues tokens, and for whom.
    pub parties: Parties,
    /// How access tokens are written.
    pub token_format: TokenFormat,
    /// How long an access token lives.
    pub access_ttl: Duration,
    /// How long a signing key signs until the next takes over; absent where that is left to the operator.
    pub rotate_every: Option<Duration>,
    /// How long a session lives at most.
    pub refresh_ttl: Duration,
    /// How long it lives unused.
    pub refresh_idle: Duration,
    /// How long a refresh token may be sent again without ending its session (S17).
    pub refresh_reuse_grace: Duration,
    /// The shortest new password, in code points (S1).
    pub min_password_length: usize,
    /// Whether anybody may register.
    pub registration_open: bool,
    /// What a new account may do.
    pub default_scopes: Scopes,
    /// Whether somebody may sign in only once their address is proven.
    pub require_verified_email: bool,
    /// How old the knowledge of revocations may grow while the database is away.
    pub max_staleness: Duration,
    /// Tokens, and keys, that are held in memory at most (S62).
    pub cache_entries: usize,
    /// How failures and mails are held back.
    pub throttle: Throttle,
    /// Where the links of mails lead.
    pub links: Links,
    /// Where sign-ins by providers may lead back to (S49).
    pub redirect_uris: Vec<String>,
    /// Whether they must have been started here.
    pub require_state: bool,
}

impl Domain {
    /// Readies the use cases: reads the signing keys, or makes the first.
    ///
    /// # Errors
    /// When the database does not answer, or the master key does not open the signing keys.
    pub async fn start(
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        master_key: MasterKey,
        mailer: Option<Mailer>,
        providers: BTreeMap<String, Provider>,
        settings: Settings,
    ) -> Result<Self, keyring::LoadError> {
        let keys = keyring::load(&store, &master_key).await?;
        let rate_limits = rate_limit::RateLimits::new(clock.clone());
        Ok(Self {
            store,
            clock,
            passwords,
            master_key,
            keys: RwLock::new(keys),
            usage: usage::Usage::default(),
            rate_limits,
            revocations: Arc::default(),
            looking: Arc::default(),
            reader: Mutex::default(),
            verified_tokens: VerifiedTokens::new(settings.cache_entries),
            key_records: KeyRecords::new(settings.cache_entries),
            account_turns: Turns::new(TRIES_AT_ONCE),
            address_turns: Turns::new(TRIES_AT_ONCE),
            provider_turns: Turns::new(oauth::SIGN_INS_AT_ONCE),
            mailer,
            providers,
            mail_due: Arc::default(),
            mail_tally: Arc::default(),
            settings,
        })
    }

    /// How often a password was hashed for want of one to compare it with (S15).
    pub fn dummy_hashes(&self) -> u64 {
        self.passwords.dummy_runs()
    }
}
