//! `countersign migrate`

use countersign::{app, config::Config, types::Clock};

use super::{Failure, print};
use crate::Exit;

/// Applies what is pending; with `check` only says what is.
pub(crate) async fn run(config: &Config, check: bool) -> Result<Exit, Failure> {
    let store = app::connect(config, Clock::System).await?;
    let (verb, names) = if check {
        ("pending", app::pending_migrations(config, &store).await?)
    } else {
        ("applied", app::migrate(config, &store).await?)
    };
    if names.is_empty() {
        return print("the schema is up to date");
    }
    print(&names.iter().map(|name| format!("{verb} {name}")).collect::<Vec<_>>().join("\n"))?;
    Ok(if check { Exit::No } else { Exit::Done })
}
