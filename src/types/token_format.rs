//! How access tokens are written.

/// The format of the access tokens that are issued. Both are accepted always, so that it may change under live ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFormat {
    /// PASETO v4.public.
    Paseto,
    /// A JWT (RFC 9068), for what knows nothing else.
    Jwt,
}
