//! Identity providers: where a person is sent to sign in, and who they are by the code that they come back with.
//!
//! Owns the two protocols, OAuth 2.0 as GitHub speaks it and OpenID Connect, and every call to the outside (S50). Knows no
//! accounts and no database: whether the person may sign in, and to which account, is `domain`'s. Nothing outside this room
//! knows `oauth2`, `openidconnect` or an HTTP client.

mod discovery;
mod exchange;
mod github;
mod http;
mod oidc;
mod user_info;

use std::time::Duration;

use secrecy::SecretString;
use tokio::{sync::Semaphore, time::timeout};

use self::{github::Github, oidc::Oidc};

/// How long finding out who came may take in all.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How many may be found out about at once.
const AT_ONCE: usize = 64;
/// The longest subject, in bytes (OpenID Connect Core, section 2).
const MAX_SUBJECT_LEN: usize = 255;

/// What the operator says of a provider.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it speaks.
    pub kind: Kind,
    /// By what name it knows us.
    pub client_id: String,
    /// By what secret.
    pub client_secret: SecretString,
    /// What is asked for; empty for what is needed.
    pub scopes: Vec<String>,
    /// Whether it may be in a private network, and without TLS.
    pub allow_private_hosts: bool,
}

/// What a provider speaks, and where.
#[derive(Debug, Clone)]
pub enum Kind {
    /// OAuth 2.0, with GitHub's two calls for who somebody is.
    Github {
        /// Where people are sent.
        authorization_url: String,
        /// Where codes are exchanged.
        token_url: String,
        /// `{api_url}/user` and `{api_url}/user/emails`.
        api_url: String,
    },
    /// OpenID Connect, by discovery.
    Oidc {
        /// The issuer, exactly.
        issuer: String,
        /// Whether it takes PKCE and gives the nonce back. LinkedIn does neither (S43).
        pkce_and_nonce: bool,
    },
}

/// What is kept of a sign-in that was started here, and is sent along (S43).
#[derive(Debug, Clone, Default)]
pub struct Proofs {
    /// PKCE's code verifier (RFC 7636).
    pub code_verifier: Option<SecretString>,
    /// What the ID token has to repeat.
    pub nonce: Option<SecretString>,
}

/// Who somebody is, as their provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The provider's name of itself; with the subject, whose identity it is (S45).
    pub issuer: String,
    /// Never changes, and is never given to somebody else.
    pub subject: String,
    /// The address, only if the provider says that it is verified (S46, S47).
    pub verified_email: Option<String>,
    /// The display name; may be empty.
    pub name: String,
}

/// Why it is not known who came. The text is for the log: it holds no code, token or secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider does not answer, or not as its protocol has it.
    #[error("the provider is not available: {0}")]
    Unavailable(String),
    /// It is being asked so often that no more is sent there.
    #[error("too many are signing in by the provider at once")]
    Busy,
    /// The provider refused the code, or what it says of the person does not hold.
    #[error("the provider's answer is not acceptable: {0}")]
    Refused(String),
}

/// A provider's result.
pub type Result<T> = std::result::Result<T, Error>;

/// One provider.
pub struct Provider {
    way: Way,
    turns: Semaphore,
}

enum Way {
    Github(Box<Github>),
    Oidc(Box<Oidc>),
}

impl Provider {
    /// Readies what a call needs; makes none yet: a provider that is away does not keep the service from starting.
    pub fn new(settings: Settings) -> std::result::Result<Self, String> {
        let http = http::Http::new(settings.allow_private_hosts)?;
        let way = match settings.kind.clone() {
            Kind::Github { authorization_url, token_url, api_url } => {
                Way::Github(Box::new(Github::new(http, &settings, &authorization_url, &token_url, &api_url)?))
            }
            Kind::Oidc { issuer, pkce_and_nonce } => {
                Way::Oidc(Box::new(Oidc::new(http, settings, issuer, pkce_and_nonce)?))
            }
        };
        Ok(Self { way, turns: Semaphore::new(AT_ONCE) })
    }

    /// Its name of itself, which its identities are kept under (S45).
    pub fn issuer(&self) -> &str {
        match &self.way {
            Way::Github(github) => github.issuer(),
            Way::Oidc(oidc) => oidc.issuer(),
        }
    }

    /// Whether an answer that carries this `iss` is this provider's (RFC 9207, section 2.4).
    pub fn is_named(&self, iss: &str) -> bool {
        match &self.way {
            Way::Github(github) => github.is_named(iss),
            Way::Oidc(oidc) => oidc.issuer() == iss,
        }
    }

    /// New proofs, of the kinds that this provider takes.
    pub fn new_proofs(&self) -> Proofs {
        match &self.way {
            Way::Github(_) => Proofs { code_verifier: Some(new_verifier()), nonce: None },
            Way::Oidc(oidc) => oidc.new_proofs(),
        }
    }

    /// Where to send a person who wants to sign in.
    pub async fn authorization_url(
        &self,
        redirect_uri: &str,
        state: &SecretString,
        proofs: &Proofs,
    ) -> Result<String> {
        let url = async {
            match &self.way {
                Way::Github(github) => github.authorization_url(redirect_uri, state, proofs),
                Way::Oidc(oidc) => oidc.authorization_url(redirect_uri, state, proofs).await,
            }
        };
        self.in_turn(url).await
    }

    /// Who came back with this code.
    pub async fn identify(
        &self,
        code: &SecretString,
        redirect_uri: &str,
        proofs: &Proofs,
    ) -> Result<Profile> {
        let profile = async {
            match &self.way {
                Way::Github(github) => github.identify(code, redirect_uri, proofs).await,
                Way::Oidc(oidc) => oidc.identify(code, redirect_uri, proofs).await,
            }
        };
        self.in_turn(profile).await?.checked()
    }

    async fn in_turn<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let _turn = self.turns.try_acquire().map_err(|_| Error::Busy)?;
        // Boxed: what a provider takes is large, and is waited for on the way of every caller.
        timeout(TIME_LIMIT, Box::pin(work))
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable(format!("no answer within {TIME_LIMIT:?}"))))
    }
}

impl Profile {
    /// A subject is text that can be kept.
    fn checked(self) -> Result<Self> {
        let fits = (1..=MAX_SUBJECT_LEN).contains(&self.subject.len());
        if fits && !self.subject.contains(char::is_control) {
            Ok(self)
        } else {
            Err(Error::Refused("the subject is not one".to_owned()))
        }
    }
}

/// 256 random bits, as RFC 7636, section 4.1, has them.
fn new_verifier() -> SecretString {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(crate::types::random::bytes::<32>()).into()
}
