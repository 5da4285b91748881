//! Hashes as they stand in the database: which are believed, and at what cost (S6).

use argon2::{
    Algorithm, Version,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use secrecy::SecretString;

use super::{NEW_OUTPUT_BYTES, NEW_SALT_BYTES, OUTPUT_BYTES, Params, SALT_BYTES, bcrypt};
use crate::{crypto::hash_pool::Memory, types::Invalid};

/// What an imported argon2 hash may cost. It is less than the allow-list's bounds, which are for what the operator configures: memory in KiB,
/// which the process needs beside its own hashes' (anybody can make it compute one, with any password); and memory times passes, which is
/// what takes the time.
const MAX_FOREIGN_MEMORY_KIB: u32 = 65_536;
const MAX_FOREIGN_WORK_KIB: u64 = 262_144;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Argon2(Algorithm, Params),
    Bcrypt { cost: u32 },
}

impl Scheme {
    /// What a hash by it takes of memory; bcrypt's 4 are not worth counting.
    pub(super) fn memory_kib(self) -> u32 {
        match self {
            Self::Argon2(_, params) => params.memory_kib,
            Self::Bcrypt { .. } => 0,
        }
    }

    /// Whether a hash by it can be of this password.
    pub(super) fn can_hold(self, password: &SecretString) -> bool {
        match self {
            Self::Argon2(..) => true,
            Self::Bcrypt { .. } => bcrypt::can_hold(password),
        }
    }

    pub(super) fn derive(
        self,
        password: &SecretString,
        salt: &Salt,
        len: usize,
        memory: &mut Memory,
    ) -> Option<Output> {
        match self {
            Self::Argon2(algorithm, params) => params.derive(algorithm, password, salt, len, memory),
            Self::Bcrypt { cost } => bcrypt::derive(password, cost, salt),
        }
    }
}

/// A hash that is on the allow-list.
pub(super) struct Stored {
    pub(super) scheme: Scheme,
    pub(super) salt: Salt,
    pub(super) output: Output,
}

impl Stored {
    /// Reads a PHC string or bcrypt's; `None` for anything that is not on the allow-list.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with("$2") {
            let (cost, salt, output) = bcrypt::parse(text)?;
            return Some(Self { scheme: Scheme::Bcrypt { cost }, salt, output });
        }
        Self::parse_phc(text)
    }

    /// `m`, `t` and `p` must be there and nothing else: the parser would otherwise fill in defaults of its own.
    fn parse_phc(phc: &str) -> Option<Self> {
        let phc = PasswordHash::new(phc).ok()?;
        let algorithm = Algorithm::try_from(phc.algorithm.as_str()).ok()?;
        // argon2d is not for passwords (RFC 9106, 1): its time tells of them.
        if !matches!(algorithm, Algorithm::Argon2i | Algorithm::Argon2id)
            || phc.version != Some(Version::V0x13.into())
            || phc.params.iter().count() != 3
        {
            return None;
        }
        let params = Params {
            memory_kib: phc.params.get_decimal("m")?,
            iterations: phc.params.get_decimal("t")?,
            parallelism: phc.params.get_decimal("p")?,
        };
        let (salt, output) = (phc.salt?, phc.hash?);
        params.to_argon2(output.len())?;
        (SALT_BYTES.contains(&salt.len()) && OUTPUT_BYTES.contains(&output.len())).then_some(Self {
            scheme: Scheme::Argon2(algorithm, params),
            salt,
            output,
        })
    }

    /// Weaker in any one respect. That a hash with less memory may make up for it with more passes is not weighed: one
    /// more hash settles it. Lanes do not count, as they change the attacker's cost hardly at all.
    pub(super) fn is_weaker_than(&self, today: Params) -> bool {
        let Scheme::Argon2(Algorithm::Argon2id, params) = self.scheme else { return true };
        params.memory_kib < today.memory_kib
            || params.iterations < today.iterations
            || self.salt.len() < NEW_SALT_BYTES
            || self.output.len() < NEW_OUTPUT_BYTES
    }
}

/// Whether a hash of another system's verifies here, at a cost that can be borne.
///
/// # Errors
/// Why not. The text does not repeat the hash.
pub fn check_foreign(text: &str) -> Result<(), Invalid> {
    match Stored::parse(text).map(|stored| stored.scheme) {
        Some(Scheme::Argon2(_, params)) => check_cost(params),
        Some(Scheme::Bcrypt { .. }) => Ok(()),
        None if text.starts_with("$2") => Err(Invalid::new(
            "not a bcrypt hash that is accepted: `$2a$`, `$2b$` or `$2y$`, a cost of 4 to 14, and 60 characters",
        )),
        None if text.starts_with("$argon2") => Err(Invalid::new(
            "not an argon2 hash that is accepted: argon2id or argon2i, v=19, m from 7168, t of 1 to 10, p of 1 to 16, \
             a salt of 8 to 48 bytes and a hash of 16 to 64",
        )),
        None => Err(Invalid::new("neither an argon2 PHC string nor a bcrypt hash")),
    }
}

fn check_cost(Params { memory_kib, iterations, .. }: Params) -> Result<(), Invalid> {
    let work = u64::from(memory_kib) * u64::from(iterations);
    let problem = if memory_kib > MAX_FOREIGN_MEMORY_KIB {
        format!("argon2 with m={memory_kib}, and at most {MAX_FOREIGN_MEMORY_KIB} KiB of memory are accepted")
    } else if work > MAX_FOREIGN_WORK_KIB {
        format!(
            "argon2 with m={memory_kib} and t={iterations}, which make {work}, and at most {MAX_FOREIGN_WORK_KIB} KiB over all passes \
             are accepted"
        )
    } else {
        return Ok(());
    };
    Err(Invalid::new(format!(
        "{problem}: import the account without its hash, and its owner resets the password"
    )))
}
