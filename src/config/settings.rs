//! What the configuration shows of itself, to `countersign config` and in faults: each value with its origin, nothing of
//! a secret (S57).

use super::keys::{self, Form};
use super::sources::Origin;

/// What a key is set to, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key (`server.listen`).
    pub key: String,
    /// The value, secrets masked, a list's items separated by commas; empty when a key has no value.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}

const MASK: &str = "********";

/// Query parameters of a database URL that may be shown. Any other is masked: drivers take a password there too.
const SHOWN_PARAMETERS: [&str; 10] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// The settings as a TOML document, with the origin of each as a comment.
pub(super) fn render(settings: &[Setting]) -> String {
    let pairs: Vec<(String, String)> = settings.iter().map(pair).collect();
    let width = |column: fn(&(String, String)) -> &String| {
        pairs.iter().map(|pair| column(pair).chars().count()).max().unwrap_or(0)
    };
    let (keys, values) = (width(|pair| &pair.0), width(|pair| &pair.1));
    let line = |((key, value), setting): (&(String, String), &Setting)| {
        format!("{key:keys$} = {value:values$}   # {}\n", setting.origin)
    };
    pairs.iter().zip(settings).map(line).collect()
}

/// Key and value of a line; one without a value is commented out.
fn pair(setting: &Setting) -> (String, String) {
    let form = keys::find(&setting.key).map_or(Form::Text, |key| key.form);
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let value = match form {
        Form::Integer | Form::Ratio | Form::Bool => setting.value.clone(),
        Form::List | Form::SecretList => {
            let items: Vec<String> =
                setting.value.split(',').filter(|item| !item.is_empty()).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        _ if setting.value.is_empty() => return (format!("# {}", setting.key), "(none)".to_owned()),
        _ => quoted(&setting.value),
    };
    (setting.key.clone(), value)
}

/// An offending value as a fault shows it: on one line, not too long, and not at all when it is secret (S57).
pub(super) fn quote(form: Form, value: &str) -> String {
    const LONGEST: usize = 80;
    if form.is_secret() {
        return "the value".to_owned();
    }
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// A value as a setting shows it.
pub(super) fn show(form: Form, value: &str) -> String {
    match form {
        Form::Secret | Form::SecretList => MASK.to_owned(),
        Form::Url => mask_url(value),
        _ => value.to_owned(),
    }
}

/// Masks what may be a password in a database URL, rather too much than too little: the credentials reach to the last `@`,
/// since a password may hold any other separator.
fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite") else {
        return if url.starts_with("sqlite:") { url.to_owned() } else { MASK.to_owned() };
    };
    let (credentials, address) = rest.rsplit_once('@').map_or((None, rest), |(c, a)| (Some(c), a));
    let credentials = credentials.map(|credentials| match credentials.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        None => format!("{credentials}@"),
    });
    let (place, query) = address.split_once('?').map_or((address, None), |(p, q)| (p, Some(q)));
    let query = query.map(|query| {
        let parameters: Vec<String> = query.split('&').map(mask_parameter).collect();
        format!("?{}", parameters.join("&"))
    });
    format!("{scheme}://{}{place}{}", credentials.unwrap_or_default(), query.unwrap_or_default())
}

fn mask_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if !SHOWN_PARAMETERS.contains(&name) => format!("{name}={MASK}"),
        Some(_) => parameter.to_owned(),
        None => MASK.to_owned(),
    }
}
