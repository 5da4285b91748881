//! The one source of randomness: the operating system's.

/// `N` random bytes.
///
/// # Panics
/// When the operating system has no randomness to give. Nothing can be done safely without it.
#[expect(clippy::disallowed_methods, reason = "this is where randomness comes from")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
