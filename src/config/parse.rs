//! What values may be. Each function takes the text of one value and says what is wrong in words that follow it: "is not
//! an address …"; none repeats the value, which may be secret.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ipnet::IpNet;
use secrecy::{SecretBox, SecretString, zeroize::Zeroizing};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::types::{Scope, Scopes, scopes::ADMIN};

type Parsed<T> = Result<T, String>;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| "is not an address like 127.0.0.1:50051".to_owned())
}

/// The value, or nothing where `off` stands for it.
pub(super) fn off_or<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| match text {
        "off" => Ok(None),
        text => parse(text).map(Some).map_err(|problem| format!("{problem}, or off")),
    }
}

/// Where an OpenTelemetry collector listens. Without a user and a password: `countersign config` shows it.
pub(super) fn collector(text: &str) -> Parsed<String> {
    base_url(text).map_err(|_| "is not a URL like http://localhost:4317".to_owned())
}

/// A part of a whole.
pub(super) fn ratio(text: &str) -> Parsed<f64> {
    let within = |ratio: &f64| (0.0..=1.0).contains(ratio);
    text.parse().ok().filter(within).ok_or_else(|| "is not a number from 0 to 1".to_owned())
}

pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| single())
        .map_err(|_| "is not a network like 10.0.0.0/8 or an address".to_owned())
}

/// One of the words, with what it stands for.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let names = || words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
        let word = words.iter().find(|(name, _)| *name == text);
        word.map(|(_, value)| *value).ok_or_else(|| format!("is not {}", names()))
    }
}

/// A whole number in the range, written plainly.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let plain = |number: &T| range.contains(number) && number.to_string() == text;
        text.parse()
            .ok()
            .filter(plain)
            .ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A duration within bounds, which are written as a duration is.
pub(super) fn duration(least: &'static str, most: &'static str) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let parse = |text| humantime::parse_duration(text).ok();
        let within = |value: &Duration| parse(least) <= Some(*value) && Some(*value) <= parse(most);
        parse(text)
            .filter(within)
            .ok_or_else(|| format!("is not a duration like 15m or 30d, from {least} to {most}"))
    }
}

/// A URL that paths are put behind, hence no slash at the end.
pub(super) fn base_url(text: &str) -> Parsed<String> {
    let (origin, path) = split_web_url(text).ok_or("is not a URL like https://auth.example.com")?;
    if path.contains(['?', '#']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("is not a URL of scheme, host and path alone".to_owned());
    }
    if path.ends_with('/') {
        return Err("ends in a slash: leave it out".to_owned());
    }
    Ok(format!("{origin}{path}"))
}

/// An origin exactly as browsers send it (RFC 6454 section 6.2): lower case, no path, no default port. Any other
/// spelling would never match.
pub(super) fn origin(text: &str) -> Parsed<String> {
    const EXPECTED: &str = "is not an origin like https://app.example.com or http://localhost:3000";
    if text == "*" {
        return Err("is not allowed: name each origin, like https://app.example.com".to_owned());
    }
    let (origin, path) = split_web_url(text).ok_or(EXPECTED)?;
    if !path.is_empty() {
        return Err(format!("{EXPECTED}: leave out what follows the host"));
    }
    if origin.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("must be in lower case, as browsers send it".to_owned());
    }
    let default_port = if origin.starts_with("https:") { ":443" } else { ":80" };
    if origin.ends_with(default_port) {
        return Err(format!("must not name the default port {default_port}, as browsers do not send it"));
    }
    Ok(origin.to_owned())
}

/// Splits an http or https URL after host and port; `None` when it is not one. User names are not accepted.
fn split_web_url(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let start = text.len() - rest.len();
    let end = rest.find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let authority = &text[start..end];
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let named = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let host_holds = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => named(host),
    };
    let port_holds = port.is_none_or(|port| number(1..=u16::MAX)(port).is_ok());
    (host_holds && port_holds).then(|| text.split_at(end))
}

/// The link of a mail, with a place for the token. Any scheme will do: it may open an application.
pub(super) fn link(text: &str) -> Parsed<String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let plain = !rest.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !(is_scheme(scheme) && plain && text.matches("{token}").count() == 1) {
        return Err(
            "is not a URL with {token} in it once, like https://app.example.com/verify?token={token}".into(),
        );
    }
    Ok(text.to_owned())
}

/// Whether this is the scheme of a URI.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Whether these are characters of a URI (RFC 3986 section 2). Any other would be sent in another spelling.
fn is_uri_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c))
}

/// Where a sign-in may lead back to, kept as it is written since it is matched exactly (S49). Any scheme will do:
/// applications have their own. It is followed by a slash (RFC 8252 section 7.1), or `localhost:3000/callback` would be a
/// URI of the scheme `localhost`.
pub(super) fn redirect_uri(text: &str) -> Parsed<String> {
    match text.chars().find(|c| matches!(c, '*' | '#' | ',')) {
        Some('*') => return Err("holds a wildcard, but is matched exactly: name each URI".to_owned()),
        Some('#') => return Err("holds a fragment: leave out the # and what follows".to_owned()),
        Some(_) => return Err("holds a comma, which separates URIs here".to_owned()),
        None => {}
    }
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let web = ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
    let absolute = is_scheme(scheme) && rest.starts_with('/') && is_uri_text(text);
    if !absolute || (web && split_web_url(text).is_none()) {
        return Err("is not a URI like https://app.example.com/callback or com.example.app:/callback".into());
    }
    Ok(text.to_owned())
}

/// The secret that a provider gave this service.
pub(super) fn secret(text: &str) -> Parsed<SecretString> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("is empty or of several lines".to_owned());
    }
    Ok(text.into())
}

/// A scope that a provider knows (RFC 6749 section 3.3), without the comma, which separates scopes here.
pub(super) fn foreign_scope(text: &str) -> Parsed<String> {
    let token = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ',');
    let holds = !text.is_empty() && text.chars().all(token);
    holds.then(|| text.to_owned()).ok_or_else(|| "is not a scope, without spaces and commas".to_owned())
}

/// Where a provider is called.
pub(super) fn endpoint(text: &str) -> Parsed<String> {
    let holds = split_web_url(text).is_some() && is_uri_text(text) && !text.contains('#');
    holds
        .then(|| text.to_owned())
        .ok_or_else(|| "is not a URL like https://login.example.com/token".to_owned())
}

/// The issuer of ID tokens, kept as it is written since it is compared exactly (S48).
pub(super) fn issuer(text: &str) -> Parsed<String> {
    let url = endpoint(text).ok().filter(|url| !url.contains('?'));
    url.ok_or_else(|| {
        "is not a URL of scheme, host and path alone, like https://accounts.example.com".to_owned()
    })
}

/// A path of the file system.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("is not a path".to_owned()) } else { Ok(text.into()) }
}

/// A mail's sender: what lettre makes of it is told at start.
pub(super) fn sender(text: &str) -> Parsed<String> {
    if !text.contains('@') || text.chars().any(char::is_control) {
        return Err("is not a sender like Example <noreply@example.com>".to_owned());
    }
    Ok(text.to_owned())
}

/// A mail server's URL, looked at only as far as to know that it is one.
pub(super) fn smtp_url(text: &str) -> Parsed<SecretString> {
    if text.starts_with("smtp://") || text.starts_with("smtps://") {
        return Ok(text.into());
    }
    Err("is not a URL like smtp://user:password@mail.example.com:587?tls=required".to_owned())
}

/// A database URL, looked at only as far as to know which database it means: the store reads the rest.
pub(super) fn database_url(text: &str) -> Parsed<SecretString> {
    let sqlite = text.strip_prefix("sqlite:").is_some_and(|path| !path.trim_start_matches('/').is_empty());
    if sqlite || is_postgres(text) {
        return Ok(text.into());
    }
    Err("is not a URL like sqlite://countersign.db or postgres://user:password@host/database".to_owned())
}

/// Whether the URL is one of PostgreSQL.
pub(super) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// 32 bytes in base64. One byte over and over, zero first of all, is somebody's placeholder (S59).
pub(super) fn master_key(text: &str) -> Parsed<SecretBox<[u8; 32]>> {
    let bytes = BASE64.decode(text).map(Zeroizing::new).ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    let key = key.ok_or("is not 32 bytes in base64, as `openssl rand -base64 32` makes them")?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(
            "is one byte over and over, which is no secret: make one with `openssl rand -base64 32`".into()
        );
    }
    Ok(SecretBox::new(Box::new(key)))
}

/// A name that somebody gave: an audience, a client.
pub(super) fn name(text: &str) -> Parsed<String> {
    let holds = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    holds.then(|| text.to_owned()).ok_or_else(|| "is not a name of 1 to 255 bytes".to_owned())
}

/// One scope token, without the comma, which separates scopes here.
pub(super) fn scope(text: &str) -> Parsed<Scope> {
    if text.contains(',') {
        return Err("holds a comma, which separates scopes here".to_owned());
    }
    Scope::parse(text).map_err(|invalid| format!("is not a scope: {invalid}"))
}

/// A scope that whoever registers is to have.
pub(super) fn default_scope(text: &str) -> Parsed<Scope> {
    let scope = scope(text)?;
    if scope.as_str() == ADMIN {
        return Err("would let everybody who registers administer: give it to single accounts with \
                    `countersign user grant`"
            .to_owned());
    }
    Ok(scope)
}

/// All scopes together.
pub(super) fn scopes(scopes: &[Scope]) -> Parsed<Scopes> {
    Scopes::parse(scopes.iter().map(Scope::as_str)).map_err(|invalid| format!("are too many: {invalid}"))
}

/// Directives of a log filter. A word alone must be a level: the filter itself would take a misspelt one for the name of a
/// module, and log nothing else.
pub(super) fn log_filter(text: &str) -> Parsed<String> {
    let plain = |part: &str| !part.contains(['=', '[', '{', '}', ']']);
    let misspelt = |part: &str| plain(part) && (part.is_empty() || part.parse::<LevelFilter>().is_err());
    if text.split(',').any(|part| misspelt(part.trim())) || EnvFilter::try_new(text).is_err() {
        return Err("is not a log filter like info or info,countersign=debug".to_owned());
    }
    Ok(text.to_owned())
}
