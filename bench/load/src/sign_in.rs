//! Sign-ins, so many at once, each to another account.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    Result,
    client::{code, connect_all},
    pb::LoginRequest,
    tally::Tally,
};

/// Sign-ins on one connection.
const PER_CONNECTION: usize = 8;

/// Counts what is answered within `span`.
pub async fn run(
    address: &str,
    accounts: Vec<String>,
    password: &str,
    at_once: usize,
    span: Duration,
) -> Result<Value> {
    let clients = connect_all(address, at_once.div_ceil(PER_CONNECTION)).await?;
    let (accounts, next) = (Arc::new(accounts), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let mut people = JoinSet::new();
    for n in 0..at_once {
        let mut client = clients[n % clients.len()].clone();
        let (accounts, next, password) = (accounts.clone(), next.clone(), password.to_owned());
        people.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let email = accounts[next.fetch_add(1, Ordering::Relaxed) % accounts.len()].clone();
                let sent = Instant::now();
                let answer = client.login(LoginRequest { email, password: password.clone() }).await;
                if begin.elapsed() > span {
                    return tally;
                }
                tally.add(
                    answer.map_or_else(|status| code(status.code()), |_| code(Code::Ok)),
                    sent.elapsed(),
                );
            }
        });
    }
    Ok(people.join_all().await.into_iter().fold(Tally::default(), Tally::merge).report(span))
}
