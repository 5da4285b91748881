//! What cryptography costs by itself, with the crates that the service uses.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use pasetors::{
    keys::{AsymmetricKeyPair, Generate},
    token::{Public, UntrustedToken},
    version4::{PublicToken, V4},
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::Result;

/// Signs what `token` says with a key of its own, and checks that `times` times.
pub fn verify(token: &str, times: u32) -> Result<Value> {
    let broken = |_| "the token cannot be read or signed";
    let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(broken)?;
    let pair = AsymmetricKeyPair::<V4>::generate().map_err(broken)?;
    let footer = Some(untrusted.untrusted_footer()).filter(|footer| !footer.is_empty());
    let token =
        PublicToken::sign(&pair.secret, untrusted.untrusted_payload(), footer, None).map_err(broken)?;
    let begin = cpu_time()?;
    for _ in 0..times {
        let untrusted = UntrustedToken::<Public, V4>::try_from(black_box(&token)).map_err(broken)?;
        black_box(PublicToken::verify(&pair.public, &untrusted, None, None)).map_err(broken)?;
    }
    let took = cpu_time()?.saturating_sub(begin);
    Ok(json!({ "cpu_us": took.as_secs_f64() * 1e6 / f64::from(times) }))
}

/// The CPU time of this thread.
fn cpu_time() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

/// Hashes on `threads` threads at once, each with one block of memory.
pub fn argon2(threads: usize, span: Duration) -> Result<Value> {
    let threads: Vec<_> = (0..threads).map(|_| thread::spawn(move || hash(span))).collect();
    let mut per_second = 0.0;
    for thread in threads {
        per_second += thread.join().map_err(|_| "a hashing thread panicked")??;
    }
    Ok(json!({ "per_second": per_second }))
}

/// How many a second one thread does within at least `span`.
fn hash(span: Duration) -> Result<f64> {
    let failed = |_| "argon2 failed";
    let params = Params::new(19_456, 2, 1, Some(32)).map_err(failed)?;
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (begin, mut count, mut out) = (Instant::now(), 0_u32, [0; 32]);
    while begin.elapsed() < span {
        argon2
            .hash_password_into_with_memory(b"slow copper lantern", &[7; 16], &mut out, &mut memory)
            .map_err(failed)?;
        black_box(&out);
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}
