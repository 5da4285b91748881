//! `ValidateCredential` as fast as it goes, each credential once.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use prost::Message;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result,
    client::{Client, ask, connect_all, outcome},
    pb::ValidateCredentialResponse,
    tally::Tally,
};

/// What one of those who ask has seen.
#[derive(Default)]
struct Seen {
    tally: Tally,
    /// The sizes of answers, in bytes: least and most.
    sizes: Option<(usize, usize)>,
    last: Option<ValidateCredentialResponse>,
}

/// `connections` × `at_once` ask until all credentials were asked about.
pub async fn run(
    address: &str,
    credentials: Vec<String>,
    connections: usize,
    at_once: usize,
    save: Option<&Path>,
) -> Result<Value> {
    let clients = connect_all(address, connections).await?;
    let (credentials, next) = (Arc::new(credentials), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let mut asking = JoinSet::new();
    for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, at_once)) {
        asking.spawn(ask_all(client.clone(), credentials.clone(), next.clone()));
    }
    let all = asking.join_all().await.into_iter().fold(Seen::default(), merge);
    let mut report = all.tally.report(begin.elapsed());
    report["bytes"] = json!(all.sizes);
    if let (Some(path), Some(answer)) = (save, all.last) {
        fs::write(path, answer.encode_to_vec())?;
    }
    Ok(report)
}

async fn ask_all(mut client: Client, credentials: Arc<Vec<String>>, next: Arc<AtomicUsize>) -> Seen {
    let mut seen = Seen::default();
    while let Some(credential) = credentials.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begin = Instant::now();
        let answer = ask(&mut client, credential.clone()).await;
        seen.tally.add(outcome(&answer), begin.elapsed());
        if let Ok(answer) = answer {
            let size = answer.encoded_len();
            seen.sizes = wider(seen.sizes, Some((size, size)));
            seen.last = Some(answer);
        }
    }
    seen
}

fn merge(one: Seen, other: Seen) -> Seen {
    Seen {
        tally: one.tally.merge(other.tally),
        sizes: wider(one.sizes, other.sizes),
        last: one.last.or(other.last),
    }
}

fn wider(one: Option<(usize, usize)>, other: Option<(usize, usize)>) -> Option<(usize, usize)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}
