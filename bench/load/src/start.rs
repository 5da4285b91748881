//! How long a program takes from its start until it says that it serves.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::Result;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);
/// A start that takes so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The milliseconds of each of `times` starts. The program is told to stop, and waited for, in between.
pub async fn run(address: &str, times: usize, command: &[String]) -> Result<Value> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let (program, arguments) = command.split_first().ok_or("no program")?;
        let begin = Instant::now();
        let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn()?;
        let served = serves(address, &mut child, begin).await;
        let elapsed = begin.elapsed();
        stop(&mut child)?;
        served?;
        took.push(elapsed.as_secs_f64() * 1000.0);
    }
    Ok(json!({ "ms": took }))
}

async fn serves(address: &str, child: &mut Child, begin: Instant) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    while begin.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the program ended: {status}").into());
        }
        if let Ok(channel) = endpoint.connect().await {
            let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
            if answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving) {
                return Ok(());
            }
        }
        sleep(PAUSE).await;
    }
    Err("the program does not serve".into())
}

fn stop(child: &mut Child) -> Result<()> {
    // One that has ended already cannot be told anything.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    child.wait()?;
    Ok(())
}
