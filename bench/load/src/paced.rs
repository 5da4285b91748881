//! `ValidateCredential` at a fixed rate. A call's time counts from when it was due, so that one that waits behind others that are
//! late is late itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    Result,
    client::{ask, connect_all, outcome},
    tally::Tally,
};

/// Asks `rate` times a second for `span`.
pub async fn run(
    address: &str,
    credentials: Vec<String>,
    rate: u32,
    span: Duration,
    connections: usize,
) -> Result<Value> {
    let clients = connect_all(address, connections).await?;
    let (done, mut answers) = mpsc::unbounded_channel();
    let runtime = Handle::current();
    let begin = Instant::now();
    // A thread, since tokio's timer counts in milliseconds.
    let pacer = thread::spawn(move || {
        let questions = clients.iter().cycle().zip(credentials.iter().cycle());
        for ((client, credential), n) in questions.zip(0..) {
            let due = Duration::from_secs(1) * n / rate;
            if due >= span {
                break;
            }
            let due = begin + due;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (mut client, credential, done) = (client.clone(), credential.clone(), done.clone());
            runtime.spawn(async move {
                let answer = ask(&mut client, credential).await;
                // The receiver outlives every sender.
                let _ = done.send((outcome(&answer), due.elapsed()));
            });
        }
    });
    let mut tally = Tally::default();
    while let Some((outcome, time)) = answers.recv().await {
        tally.add(outcome, time);
    }
    pacer.join().map_err(|_| "the pacing thread panicked")?;
    Ok(tally.report(begin.elapsed()))
}
