//! Who is at the other end, and until when, as far as the transport can tell.

use std::{net::IpAddr, time::Instant};

use serde::{Deserialize, Serialize};

/// The longest user agent that is kept, in bytes.
const MAX_USER_AGENT: usize = 512;

/// Where a call comes from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Client {
    /// The address, from the socket or from a trusted proxy (S12).
    pub address: Option<IpAddr>,
    /// The address that failures count against; absent where it may be everybody's (S12).
    pub throttled_address: Option<IpAddr>,
    /// When it waits no longer for an answer (S61). It means nothing to whoever reads this back from the database.
    #[serde(skip)]
    pub deadline: Option<Instant>,
    user_agent: String,
}

impl Client {
    /// A client with this `user-agent` header, which is cut to 512 bytes. It waits for as long as it takes.
    pub fn new(address: Option<IpAddr>, throttled_address: Option<IpAddr>, user_agent: &str) -> Self {
        let kept = &user_agent[..user_agent.floor_char_boundary(MAX_USER_AGENT)];
        Self { address, throttled_address, deadline: None, user_agent: kept.to_owned() }
    }

    /// The address as text; empty where it is not known.
    pub fn ip_address(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }

    /// The `user-agent` header, whole characters of it.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }
}
