//! How long after a logout was acknowledged by one replica the others refuse the token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    Result,
    client::{Client, ask, connect, outcome},
    pb::{CredentialStatus, LoginRequest, LogoutRequest},
    tally::quantiles,
};

/// Between two questions to a replica that has not refused yet.
const PAUSE: Duration = Duration::from_millis(1);
/// Who has not refused by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is common to all who sign out.
struct Setting {
    replicas: Vec<Client>,
    accounts: Vec<String>,
    password: String,
    count: usize,
    next: AtomicUsize,
}

/// Signs out `count` times, on each replica in turn.
pub async fn run(
    addresses: &[String],
    accounts: Vec<String>,
    password: String,
    count: usize,
    at_once: usize,
) -> Result<Value> {
    let mut replicas = Vec::new();
    for address in addresses {
        replicas.push(connect(address).await?);
    }
    let setting = Arc::new(Setting { replicas, accounts, password, count, next: AtomicUsize::new(0) });
    let mut people = JoinSet::new();
    for _ in 0..at_once {
        people.spawn(sign_out_all(setting.clone()));
    }
    let mut delays = Vec::new();
    while let Some(seen) = people.join_next().await {
        delays.extend(seen??);
    }
    Ok(json!({ "logouts": count, "delays": delays.len(), "ms": quantiles(delays) }))
}

async fn sign_out_all(setting: Arc<Setting>) -> Result<Vec<Duration>> {
    let mut delays = Vec::new();
    loop {
        let n = setting.next.fetch_add(1, Ordering::Relaxed);
        if n >= setting.count {
            return Ok(delays);
        }
        delays.extend(sign_out(&setting, n).await?);
    }
}

/// One sign-in and sign-out: how long each of the other replicas went on.
async fn sign_out(setting: &Setting, n: usize) -> Result<Vec<Duration>> {
    let here = n % setting.replicas.len();
    let mut home = setting.replicas[here].clone();
    let others =
        || setting.replicas.iter().enumerate().filter(|(at, _)| *at != here).map(|(_, other)| other.clone());
    let email = setting.accounts[n % setting.accounts.len()].clone();
    let tokens = home.login(LoginRequest { email, password: setting.password.clone() }).await?.into_inner();
    // They know it, and would answer from what they know.
    for mut other in others() {
        let answer = ask(&mut other, tokens.access_token.clone()).await;
        if outcome(&answer) != CredentialStatus::Valid.as_str_name() {
            return Err(format!("a new token is {}", outcome(&answer)).into());
        }
    }
    home.logout(LogoutRequest { refresh_token: Some(tokens.refresh_token) }).await?;
    let acknowledged = Instant::now();
    let mut asking = JoinSet::new();
    for other in others() {
        asking.spawn(until_refused(other, tokens.access_token.clone(), acknowledged));
    }
    let at_home = ask(&mut home, tokens.access_token.clone()).await;
    if outcome(&at_home) != CredentialStatus::Revoked.as_str_name() {
        return Err(format!("where it was revoked, a token is {}", outcome(&at_home)).into());
    }
    asking.join_all().await.into_iter().collect()
}

/// From the acknowledgement to the first answer that refuses.
async fn until_refused(mut client: Client, token: String, acknowledged: Instant) -> Result<Duration> {
    loop {
        let answer = ask(&mut client, token.clone()).await;
        let elapsed = acknowledged.elapsed();
        match outcome(&answer) {
            name if name == CredentialStatus::Revoked.as_str_name() => return Ok(elapsed),
            name if name != CredentialStatus::Valid.as_str_name() => {
                return Err(format!("a revoked token is {name}").into());
            }
            _ if elapsed > PATIENCE => return Err("a revoked token is never refused".into()),
            _ => sleep(PAUSE).await,
        }
    }
}
