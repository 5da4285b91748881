//! `countersign master-key …`

use countersign::{config::Config, domain::SealedValues};

use super::{Failure, domain, print};
use crate::Exit;

/// Says what is sealed under which key, and by its exit whether the previous ones may go.
pub(crate) async fn check(config: &Config) -> Result<Exit, Failure> {
    let SealedValues { current, previous, unknown } = domain(config).await?.sealed_values().await?;
    print(&format!(
        "sealed under secrets.master_key: {current}\nunder secrets.previous_master_keys: {previous}\nunder another: {unknown}"
    ))?;
    Ok(if previous + unknown == 0 { Exit::Done } else { Exit::No })
}
