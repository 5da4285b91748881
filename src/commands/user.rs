//! `countersign user …`

use std::io::{self, BufRead, IsTerminal};

use countersign::{
    app,
    config::Config,
    domain::{Error, NewAccount},
    types::{Clock, DisplayName, Email, Invalid, Password},
};
use secrecy::zeroize::Zeroizing;

use super::{Failure, print};
use crate::Exit;

/// Makes an account and prints its id.
pub(crate) async fn create(config: &Config, email: &str, name: &str) -> Result<Exit, Failure> {
    let usage = |flag: &'static str| move |invalid: Invalid| Failure::Usage(format!("{flag}: {invalid}"));
    let email = Email::parse(email).map_err(usage("--email"))?;
    let name = DisplayName::parse(name).map_err(usage("--name"))?;
    let password = Password::parse(&read_password()?).map_err(usage("password"))?;

    let store = app::connect(config, Clock::System).await?;
    app::ready_schema(config, &store).await?;
    let domain = app::domain(config, store, Clock::System).await?;
    match domain.create_user(NewAccount { email, password, name }).await {
        Ok(user) => print(&user.id.to_string()),
        Err(error @ (Error::InvalidField { .. } | Error::PasswordTooCommon { .. })) => {
            Err(Failure::Usage(error.to_string()))
        }
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

/// From a terminal without an echo, else the first line.
fn read_password() -> io::Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Password: ").map(Zeroizing::new);
    }
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
