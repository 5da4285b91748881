//! Many access tokens, soon: each exchange of a refresh token brings one, without a password to be hashed.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result,
    client::{Client, connect_all},
    pb::RefreshRequest,
};

const CONNECTIONS: usize = 4;

/// Writes `count` access tokens to `out`.
pub async fn run(address: &str, refresh_tokens: Vec<String>, count: usize, out: &Path) -> Result<Value> {
    let clients = connect_all(address, CONNECTIONS).await?;
    let made = Arc::new(AtomicUsize::new(0));
    let mut sessions = JoinSet::new();
    for (n, token) in refresh_tokens.into_iter().enumerate() {
        sessions.spawn(exchange(clients[n % CONNECTIONS].clone(), token, made.clone(), count));
    }
    let mut tokens = Vec::with_capacity(count);
    while let Some(session) = sessions.join_next().await {
        tokens.extend(session??);
    }
    fs::write(out, tokens.join("\n") + "\n")?;
    Ok(json!({ "tokens": tokens.len() }))
}

async fn exchange(
    mut client: Client,
    mut refresh_token: String,
    made: Arc<AtomicUsize>,
    count: usize,
) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    while made.fetch_add(1, Ordering::Relaxed) < count {
        let answer = client.refresh(RefreshRequest { refresh_token }).await?.into_inner();
        refresh_token = answer.refresh_token;
        tokens.push(answer.access_token);
    }
    Ok(tokens)
}
