//! Password hashes: argon2id, as PHC strings (S5, S6, S15); and for as long as it takes until their owners sign in, those of other
//! systems.
//!
//! Owns how a hash is made, which stored ones are believed, and that an unknown account costs what a known one does.
//! Knows nothing of who may sign in, nor of what a good password is: `domain` calls it, never while it holds a
//! database connection. The threads are `hash_pool`'s. Password bytes are taken as given: `types::Password` has
//! normalised them.

mod bcrypt;
mod stored;

use std::{
    io,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Block, Version,
    password_hash::phc::{Output, Salt},
};
use secrecy::{ExposeSecret, SecretString};

pub use super::hash_pool::{Caller, HashStats};
pub use stored::check_foreign;

use stored::{Scheme, Stored};

use super::hash_pool::{HashPool, Memory, PoolError, Size};
use crate::types::random;

/// The allow-list (S6): what a stored hash may cost and hold, lest a row decide how long the service works for it.
/// It reaches below S5 to the weakest that is in common use (OWASP's 7 MiB with 5 passes), so that a hash that was made
/// elsewhere or earlier still verifies and is then replaced.
const MEMORY_KIB: RangeInclusive<u32> = 7168..=1_048_576;
const ITERATIONS: RangeInclusive<u32> = 1..=10;
const PARALLELISM: RangeInclusive<u32> = 1..=16;
/// In bytes. The PHC parser stops at 48.
const SALT_BYTES: RangeInclusive<usize> = 8..=48;
/// In bytes.
const OUTPUT_BYTES: RangeInclusive<usize> = 16..=64;

/// What a new hash has (S5).
const NEW_SALT_BYTES: usize = 16;
const NEW_OUTPUT_BYTES: usize = 32;

/// Memory beside what a thread keeps is reserved in pieces of at least this many KiB. Allocators give a piece of this size back
/// to the system when it is freed, and keep smaller ones (glibc up to 32 MiB, of each thread). What of it is not used costs nothing.
const GIVEN_BACK_KIB: u32 = 65_536;

/// What a new hash costs. S5's floor is configuration's to keep; here anything on the allow-list will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Memory, in KiB; each thread keeps this much.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes. They are computed one after the other on the hash's one thread.
    pub parallelism: u32,
}

/// What a password is to a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another password, or there was no hash.
    NoMatch,
    /// The password.
    Match,
    /// The password, but its hash costs less than a new one does: hash it anew at this sign-in (S6).
    MatchButWeaker,
}

/// Why there is no hash or no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many hashes run and wait, at all or for the caller's deadline (S61). This one was not begun.
    #[error("too many passwords are being hashed; try again in {retry_after:?}")]
    Overloaded {
        /// When it is worth trying again; in whole seconds, at least one.
        retry_after: Duration,
    },
    /// The stored hash is not on the allow-list (S6), or is none at all. Worth a log line: nobody can sign in with it.
    #[error("the stored password hash is of a kind that is not accepted")]
    Unsupported,
    /// No memory, or a fault in here.
    #[error("hashing the password failed")]
    Failed,
}

/// Why the hasher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A hash with these parameters would not be accepted afterwards.
    #[error("argon2 parameters out of bounds: {0:?}")]
    Params(Params),
    /// The operating system gave no thread.
    #[error("cannot start a hashing thread: {0}")]
    Thread(#[from] io::Error),
}

/// Makes and checks password hashes on threads of its own, which end with the last clone.
#[derive(Clone)]
pub struct PasswordHasher(Arc<Inner>);

struct Inner {
    pool: HashPool,
    params: Params,
    dummy_runs: AtomicU64,
}

impl PasswordHasher {
    /// Starts `threads` threads; beside the hashes that run, `max_queue` may wait.
    pub fn start(params: Params, threads: usize, max_queue: usize) -> Result<Self, StartError> {
        params.to_argon2(NEW_OUTPUT_BYTES).ok_or(StartError::Params(params))?;
        let pool = HashPool::start(threads, max_queue)?;
        Ok(Self(Arc::new(Inner { pool, params, dummy_runs: AtomicU64::new(0) })))
    }

    /// Hashes a new password, with a salt of its own, into a PHC string; by the `deadline`, if there is one, or not at all.
    pub async fn hash(&self, password: SecretString, deadline: Option<Instant>) -> Result<String, HashError> {
        let salt = new_salt();
        let caller = Caller { deadline, presence: None };
        let output = self.0.derive(password, self.0.own(), salt, NEW_OUTPUT_BYTES, caller).await?;
        let Params { memory_kib, iterations, parallelism } = self.0.params;
        Ok(format!("$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${output}"))
    }

    /// Compares a password with a stored PHC string. Without one (no such account, or it has no password) the
    /// password is hashed all the same, to no avail: both cost the same, and the answer is always
    /// [`Verdict::NoMatch`] (S15). That is the whole dummy: there is nothing to prepare, hence nothing to be late. Once the
    /// `caller` has left, a comparison that has not begun is not made: [`HashError::Failed`].
    ///
    /// A hash that was imported costs what its own parameters say. Until its owner first signs in, the time of a try may tell that
    /// there is an account; see docs/administration.md.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Option<&str>,
        caller: Caller,
    ) -> Result<Verdict, HashError> {
        let stored = stored.map(|text| Stored::parse(text).ok_or(HashError::Unsupported)).transpose();
        let (scheme, salt, output_len) = if let Ok(Some(stored)) = &stored {
            (stored.scheme, stored.salt, stored.output.len())
        } else {
            // An unacceptable hash costs as much, too: it must not tell that its account exists.
            self.0.dummy_runs.fetch_add(1, Ordering::Relaxed);
            (self.0.own(), new_salt(), NEW_OUTPUT_BYTES)
        };
        let can_hold = scheme.can_hold(&password);
        let output = self.0.derive(password, scheme, salt, output_len, caller).await?;
        Ok(match stored? {
            // `Output` compares in constant time.
            Some(stored) if stored.output == output && can_hold => {
                if stored.is_weaker_than(self.0.params) {
                    Verdict::MatchButWeaker
                } else {
                    Verdict::Match
                }
            }
            Some(_) | None => Verdict::NoMatch,
        })
    }

    /// How the threads are doing.
    pub fn stats(&self) -> HashStats {
        self.0.pool.stats()
    }

    /// How often a password was hashed in vain, for want of a stored hash.
    pub fn dummy_runs(&self) -> u64 {
        self.0.dummy_runs.load(Ordering::Relaxed)
    }
}

fn new_salt() -> Salt {
    Salt::new(&random::bytes::<NEW_SALT_BYTES>()).expect("16 bytes are a salt")
}

impl Inner {
    /// How new passwords are hashed.
    fn own(&self) -> Scheme {
        Scheme::Argon2(Algorithm::Argon2id, self.params)
    }

    async fn derive(
        &self,
        password: SecretString,
        scheme: Scheme,
        salt: Salt,
        output_len: usize,
        caller: Caller,
    ) -> Result<Output, HashError> {
        let (own, needed) = (self.params.memory_kib, scheme.memory_kib());
        // However many of the large ones are tried at once: they shall not take more memory than the process was given.
        let (size, reserved) =
            if needed > own { (Size::Large, needed.max(GIVEN_BACK_KIB)) } else { (Size::Usual, own) };
        let work = move |kept: &mut Memory| {
            let mut large = Memory::new();
            let memory = if size == Size::Large { &mut large } else { kept };
            // All at once: to make it larger later would take both for a moment.
            memory.try_reserve_exact((reserved as usize).saturating_sub(memory.len())).ok()?;
            scheme.derive(&password, &salt, output_len, memory)
        };
        self.pool.run(caller, size, work).await.map_err(|error| match error {
            PoolError::Full { retry_after } => HashError::Overloaded { retry_after },
            PoolError::Failed => HashError::Failed,
        })
    }
}

impl Params {
    /// `None` when they are not on the allow-list.
    fn to_argon2(self, output_len: usize) -> Option<argon2::Params> {
        let Self { memory_kib, iterations, parallelism } = self;
        if !MEMORY_KIB.contains(&memory_kib)
            || !ITERATIONS.contains(&iterations)
            || !PARALLELISM.contains(&parallelism)
        {
            return None;
        }
        argon2::Params::new(memory_kib, iterations, parallelism, Some(output_len)).ok()
    }

    fn derive(
        self,
        algorithm: Algorithm,
        password: &SecretString,
        salt: &Salt,
        len: usize,
        memory: &mut Memory,
    ) -> Option<Output> {
        let params = self.to_argon2(len)?;
        let blocks = params.block_count();
        memory.resize(blocks.max(memory.len()), Block::new());
        let argon2 = Argon2::new(algorithm, Version::V0x13, params);
        let mut buffer = [0; Output::MAX_LENGTH];
        let bytes = buffer.get_mut(..len)?;
        let password = password.expose_secret().as_bytes();
        argon2.hash_password_into_with_memory(password, salt, bytes, memory).ok()?;
        Output::new(bytes).ok()
    }
}

#[cfg(test)]
mod tests;
