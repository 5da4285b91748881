//! A mail server's URL: lettre's form, read more strictly, because what lettre overlooks in it (`?TLS=required`) would send
//! passwords in the clear.

use std::net::IpAddr;

use lettre::transport::smtp::{authentication::Credentials, extension::ClientId};
use percent_encoding::percent_decode_str;
use rustls_pki_types::ServerName;
use url::{Host, Url};

use crate::types::Invalid;

/// When a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Never.
    Never,
    /// If the server offers STARTTLS. Whoever stands between can see to it that it does not.
    Opportunistic,
    /// By STARTTLS, or there is no connection.
    StartTls,
    /// From the first byte on (RFC 8314).
    Implicit,
}

/// Scheme, `tls` parameter, what they mean, and the port without one in the URL.
const FORMS: [(&str, Option<&str>, Encryption, u16); 4] = [
    ("smtps", None, Encryption::Implicit, 465),
    ("smtp", Some("required"), Encryption::StartTls, 587),
    ("smtp", Some("opportunistic"), Encryption::Opportunistic, 587),
    ("smtp", None, Encryption::Never, 25),
];

/// Where mails go, how, and as whom.
pub(super) struct SmtpUrl {
    /// A name, or an IP address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) credentials: Option<Credentials>,
    /// How we introduce ourselves, unless by the machine's name.
    pub(super) hello: Option<ClientId>,
}

impl SmtpUrl {
    /// Takes a URL. No refusal quotes it: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let url = Url::parse(text).map_err(|error| Invalid::new(format!("not a URL: {error}")))?;
        let (encryption, default_port) = encryption(&url)?;
        let host = match url.host() {
            Some(Host::Domain(name)) if ServerName::try_from(name).is_ok() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(Invalid::new("the host must be a name in ASCII or an IP address")),
        };
        Ok(Self {
            host,
            port: url.port().unwrap_or(default_port),
            encryption,
            credentials: credentials(&url)?,
            hello: hello(&url)?,
        })
    }

    /// Whether others can read along on the way.
    pub(super) fn is_open(&self) -> bool {
        let local = self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        !local && matches!(self.encryption, Encryption::Never | Encryption::Opportunistic)
    }
}

fn encryption(url: &Url) -> Result<(Encryption, u16), Invalid> {
    let parameters: Vec<_> = url.query_pairs().collect();
    let tls = match &parameters[..] {
        [] => None,
        [(name, value)] if name == "tls" => Some(value.as_ref()),
        _ => return Err(Invalid::new("no parameter but one `tls`")),
    };
    let known = FORMS.iter().find(|(scheme, value, ..)| *scheme == url.scheme() && *value == tls);
    let &(_, _, encryption, port) = known.ok_or_else(|| {
        Invalid::new("must be smtps://…, smtp://…?tls=required, smtp://…?tls=opportunistic or smtp://…")
    })?;
    Ok((encryption, port))
}

fn credentials(url: &Url) -> Result<Option<Credentials>, Invalid> {
    let decoded = |text| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| Invalid::new("user and password must be UTF-8"))
    };
    match (decoded(url.username())?, decoded(url.password().unwrap_or_default())?) {
        (user, password) if user.is_empty() && password.is_empty() => Ok(None),
        (user, password) if user.is_empty() || password.is_empty() => {
            Err(Invalid::new("user and password must be given both or not at all"))
        }
        (user, password) => Ok(Some(Credentials::new(user, password))),
    }
}

/// The path. That it looks like a host's name also finds the rest of a password in it which had a `/`.
fn hello(url: &Url) -> Result<Option<ClientId>, Invalid> {
    let name = url.path().trim_matches('/');
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if !is_name || url.fragment().is_some() {
        return Err(Invalid::new(
            "only the name for EHLO may follow the host; in user and password `/`, `?`, `#`, `@`, `:` and `%` are \
             written as %2F, %3F, %23, %40, %3A and %25",
        ));
    }
    Ok((!name.is_empty()).then(|| ClientId::Domain(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{Encryption::*, *};

    #[test]
    fn what_a_url_says() {
        let cases = [
            ("smtps://mail.example.com", "mail.example.com", 465, Implicit, None, None),
            ("smtp://mail.example.com?tls=required", "mail.example.com", 587, StartTls, None, None),
            (
                "smtp://mail.example.com/?tls=opportunistic",
                "mail.example.com",
                587,
                Opportunistic,
                None,
                None,
            ),
            ("smtp://mail_relay", "mail_relay", 25, Never, None, None),
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, Never, None, None),
            ("smtp://[::1]:2525", "::1", 2525, Never, None, None),
            (
                "smtps://a:b@m.example:4650/us.example",
                "m.example",
                4650,
                Implicit,
                Some(("a", "b")),
                Some("us.example"),
            ),
            (
                "smtp://a%40x.example:p%2F%3F%23%40%3A%25@m.example?tls=required",
                "m.example",
                587,
                StartTls,
                Some(("a@x.example", "p/?#@:%")),
                None,
            ),
        ];
        for (text, host, port, encryption, credentials, hello) in cases {
            let url = SmtpUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.encryption), (host, port, encryption), "{text}");
            assert!(url.credentials == credentials.map(Credentials::from), "{text}");
            assert_eq!(url.hello, hello.map(|name| ClientId::Domain(name.to_owned())), "{text}");
        }
    }

    // S57: nor is a password sent in the clear by a slip of the pen.
    #[test]
    fn what_is_refused_is_not_quoted() {
        for text in [
            "",
            "canary",
            "canary.example.com:587",
            "canary://mail.example.com",
            "https://canary@mail.example.com",
            "smtp://",
            "smtp:///canary",
            "smtp://canary@mail.example.com",
            "smtp://:canary@mail.example.com",
            "smtp://a:canary@bücher.example",
            "smtp://a:%ff@canary.example",
            "smtp://a:canary@m.example?tls=require",
            "smtp://a:canary@m.example?TLS=required",
            "smtp://a:canary@m.example?tls=required&tls=required",
            "smtps://a:canary@m.example?tls=opportunistic",
            "smtp://a:canary@m.example?x=canary",
            "smtp://a:canary@m.example?tls=required#canary",
            // Passwords with a / ? # in them.
            "smtp://a:1/canary@m.example",
            "smtp://a:1?canary@m.example",
            "smtp://a:1#canary@m.example",
        ] {
            let Err(Invalid(problem)) = SmtpUrl::parse(text).map(drop) else { panic!("{text}") };
            assert!(!problem.contains("canary") && !problem.is_empty(), "{text}: {problem}");
        }
    }

    #[test]
    fn where_others_can_read_along() {
        for (text, open) in [
            ("smtp://mail.example.com", true),
            ("smtp://a:b@mail.example.com?tls=opportunistic", true),
            ("smtp://10.0.0.1", true),
            ("smtp://mail.example.com?tls=required", false),
            ("smtps://mail.example.com", false),
            ("smtp://a:b@localhost", false),
            ("smtp://127.0.0.2", false),
            ("smtp://[::1]", false),
        ] {
            assert_eq!(SmtpUrl::parse(text).unwrap().is_open(), open, "{text}");
        }
    }
}
