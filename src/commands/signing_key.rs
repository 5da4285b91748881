//! `countersign signing-key …`

use countersign::{
    config::Config,
    domain::{
        Error,
        signing_keys::{Begin, KeyInfo},
    },
    types::Time,
};
use serde_json::json;

use super::{Failure, domain, print};
use crate::Exit;

/// Prints the keys, for people or for scripts.
pub(crate) async fn list(config: &Config, json: bool) -> Result<Exit, Failure> {
    let keys = domain(config).await?.signing_keys().await?;
    if json {
        let keys: Vec<_> = keys.iter().map(as_json).collect();
        return print(&format!("{:#}", json!(keys)));
    }
    let header = ["KID", "STATE", "MADE", "SIGNS FROM", "ENDS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(keys.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    print(&rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Makes the next key, and says when it signs and what that costs.
pub(crate) async fn rotate(config: &Config, now: bool) -> Result<Exit, Failure> {
    let begin = if now { Begin::Now } else { Begin::Published };
    let next = domain(config).await?.rotate_signing_key(begin).await?;
    let what = if next.made { "made" } else { "made before" };
    let mut lines = vec![format!("{} ({what}) signs from {} on", next.kid, seconds(next.not_before_time))];
    if next.published < next.lead {
        lines.push(format!(
            "It is published for {} by then, and not for {}: services that verify tokens themselves may refuse its tokens \
             until they have read the list of keys again.",
            humantime::format_duration(whole(next.published)),
            humantime::format_duration(whole(next.lead)),
        ));
    }
    print(&lines.join("\n"))
}

/// Ends a key, and says what takes over.
pub(crate) async fn retire(config: &Config, kid: &str) -> Result<Exit, Failure> {
    let retired = domain(config).await?.retire_signing_key(kid).await.map_err(|error| match error {
        Error::NotFound(_) => Failure::Refused(format!(
            "there is no signing key {kid:?}: `countersign signing-key list` prints those that there are"
        )),
        error => error.into(),
    })?;
    let mut lines = vec![format!("{kid} is retired: every token that it has signed is refused")];
    if let Some((successor, made)) = retired.successor {
        let what = if made { "was made, and" } else { "was next, and" };
        lines.push(format!(
            "{successor} {what} signs from now on. Services that verify tokens themselves refuse its tokens until they have \
             read the list of keys again."
        ));
    }
    print(&lines.join("\n"))
}

fn row(key: &KeyInfo) -> [String; 5] {
    [
        key.kid.clone(),
        key.state.as_str().to_owned(),
        seconds(key.create_time),
        seconds(key.not_before_time),
        key.not_after_time.map_or_else(|| "-".to_owned(), seconds),
    ]
}

fn as_json(key: &KeyInfo) -> serde_json::Value {
    json!({
        "kid": key.kid,
        "state": key.state.as_str(),
        "create_time": key.create_time.to_string(),
        "not_before_time": key.not_before_time.to_string(),
        "not_after_time": key.not_after_time.map(|time| time.to_string()),
    })
}

/// Without the fraction of the second.
fn seconds(time: Time) -> String {
    Time::from_micros(time.seconds() * 1_000_000).to_string()
}

fn whole(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(duration.as_secs())
}
