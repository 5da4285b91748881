//! The last times that something happened which may happen only so often in a span, on all replicas together.

use diesel::{prelude::*, upsert::excluded};
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::rate_windows, sweep};
use crate::types::{Digest, Time};

/// The times of a key, oldest first; empty where there are none.
pub async fn find(conn: &mut Conn, key: Digest) -> Result<Vec<Time>> {
    let query = rate_windows::table.find(key).select(rate_windows::times);
    let found: Option<String> = run!(conn, c => Ok(query.first(c).await.optional()?))?;
    Ok(found.map(|text| parse(&text)).unwrap_or_default())
}

/// The times of a key, kept from any other transaction's writing until this one ends, also where there are none yet.
pub async fn lock(tx: &mut Tx, key: Digest, now: Time) -> Result<Vec<Time>> {
    let row = (rate_windows::key.eq(key), rate_windows::times.eq(""), rate_windows::expire_time.eq(now));
    let query = diesel::insert_into(rate_windows::table)
        .values(row)
        .on_conflict(rate_windows::key)
        .do_update()
        .set(rate_windows::key.eq(excluded(rate_windows::key)));
    let text: String = run!(tx, c => Ok(query.returning(rate_windows::times).get_result(c).await?))?;
    Ok(parse(&text))
}

/// Replaces the times of a key that is locked.
pub async fn set(tx: &mut Tx, key: Digest, times: &[Time], expire_time: Time) -> Result<usize> {
    let text: Vec<_> = times.iter().map(|time| time.micros().to_string()).collect();
    let query = diesel::update(rate_windows::table.find(key))
        .set((rate_windows::times.eq(text.join(" ")), rate_windows::expire_time.eq(expire_time)));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Removes up to `limit` keys whose times are all out of their span at `now`.
pub async fn sweep(tx: &mut Tx, now: Time, limit: i64) -> Result<usize> {
    sweep!(tx, rate_windows, key, expire_time, now, limit)
}

fn parse(text: &str) -> Vec<Time> {
    text.split_whitespace().filter_map(|micros| micros.parse().ok()).map(Time::from_micros).collect()
}
