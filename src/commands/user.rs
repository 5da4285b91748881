//! `countersign user …`

mod import;
mod show;

pub(crate) use import::run as import;
pub(crate) use show::{list, show};

use std::io::{self, BufRead, IsTerminal, Write as _};

use countersign::{
    config::Config,
    domain::{
        self, Administrator, Domain, Error, NewAccount,
        admin::{Revoked, What},
    },
    store::users::User,
    types::{DisplayName, Email, Invalid, Password, Scopes, UserId},
};
use secrecy::zeroize::Zeroizing;

use super::{Failure, domain, print};
use crate::Exit;

/// Makes an account and prints its id.
pub(crate) async fn create(config: &Config, email: &str, name: &str) -> Result<Exit, Failure> {
    let usage = |flag: &'static str| move |invalid: Invalid| Failure::Usage(format!("{flag}: {invalid}"));
    let email = Email::parse(email).map_err(usage("--email"))?;
    let name = DisplayName::parse(name).map_err(usage("--name"))?;
    let password = Password::parse(&read_password()?).map_err(usage("password"))?;

    match domain(config).await?.create_user(NewAccount { email, password, name }).await {
        Ok(user) => print(&user.id.to_string()),
        Err(error @ (Error::InvalidField { .. } | Error::PasswordTooCommon { .. })) => {
            Err(Failure::Usage(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shuts an account, or opens it again, and prints its id.
pub(crate) async fn set_disabled(config: &Config, user: &str, disabled: bool) -> Result<Exit, Failure> {
    let whom = Whom::parse(user)?;
    let domain = domain(config).await?;
    let done = async {
        let id = whom.find(&domain).await?.id;
        if disabled {
            domain.disable_user(id, &Administrator::operator()).await
        } else {
            domain.enable_user(id, &Administrator::operator()).await
        }
    };
    done.await.map_err(refused).and_then(|user| print(&user.id.to_string()))
}

/// Gives an account scopes, or takes them, and prints those that it has then.
pub(crate) async fn set_scopes(
    config: &Config,
    user: &str,
    scopes: &[String],
    grant: bool,
) -> Result<Exit, Failure> {
    let whom = Whom::parse(user)?;
    let scopes = Scopes::parse(scopes).map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let domain = domain(config).await?;
    let by_address = matches!(whom, Whom::Address(_));
    let (found, by) = (whom.find(&domain).await.map_err(refused)?, Administrator::operator());
    let done = if grant {
        domain.grant_scopes(found.id, &scopes, &by).await
    } else {
        domain.revoke_scopes(found.id, &scopes, &by).await
    };
    let user = done.map_err(refused)?;
    // Anybody can register an address that is not theirs.
    if grant && by_address && user.email_verified_time.is_none() && scopes.has_own() {
        let (id, scopes) = (user.id, scopes.to_list());
        writeln!(
            io::stderr(),
            "warning: nobody has proven that this address belongs to whoever registered it as {id}. If that may be a stranger: \
             countersign user revoke-scope {id} {scopes}"
        )?;
    }
    print(&user.scopes.to_list())
}

/// Ends an account's sessions and keys, and prints how many lived.
pub(crate) async fn revoke_credentials(config: &Config, user: &str, what: What) -> Result<Exit, Failure> {
    let whom = Whom::parse(user)?;
    let domain = domain(config).await?;
    let done = async {
        let id = whom.find(&domain).await?.id;
        domain.revoke_credentials(id, what, &Administrator::operator()).await
    };
    let Revoked { sessions, keys } = done.await.map_err(refused)?;
    print(&format!("sessions {sessions}, keys {keys}"))
}

fn refused(error: Error) -> Failure {
    match error {
        Error::NotFound(_) => Failure::Refused("there is no such user".to_owned()),
        error => error.into(),
    }
}

/// Whom an argument means.
enum Whom {
    Id(UserId),
    Address(Email),
}

impl Whom {
    async fn find(self, domain: &Domain) -> domain::Result<User> {
        match self {
            Self::Id(id) => domain.find_user(id).await,
            Self::Address(email) => domain.find_user_by_email(&email).await,
        }
    }

    fn parse(user: &str) -> Result<Self, Failure> {
        let address = || Email::parse(user).map(Self::Address);
        user.parse().map(Self::Id).or_else(|_| address()).map_err(|_| {
            Failure::Usage(format!("{user:?} is neither a user's id (usr_…) nor an e-mail address"))
        })
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
