//! Where values come from: a TOML file, over it the environment, over it flags. Yields the text of every key and its
//! origin; what the text means is the reader's affair.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::faults::Fault;
use super::keys::{self, Form, Key};

/// The file that is read, if it is there, when none is named.
const DEFAULT_FILE: &str = "countersign.toml";
const ENV_PREFIX: &str = "COUNTERSIGN_";

/// Everything the configuration is made of. The caller passes the surroundings in: nothing here asks the process for them.
pub struct Sources {
    /// The file named by `--config`; when `None`, `countersign.toml` in [`Sources::directory`] is read if it exists.
    pub file: Option<PathBuf>,
    /// The environment, whole: other programs' variables are passed over.
    pub env: Vec<(String, String)>,
    /// Flags that were given: the key they set, the flag's name (`--listen`), the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// How many cores there are.
    pub cores: usize,
    /// Whether the log goes to a terminal.
    pub terminal: bool,
    /// The working directory, from which relative paths are taken.
    pub directory: PathBuf,
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In this file.
    File(String),
    /// By this environment variable.
    Env(String),
    /// By this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) | Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as it was found: one item, or those of a list.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) items: Vec<String>,
    pub(super) origin: Origin,
}

/// A value before it is known which key it belongs to.
enum Raw {
    Toml(toml::Value),
    Text(String),
}

/// A name with its value and origin; the name may be no key at all.
type Entry = (String, Raw, Origin);

/// The values of all keys that have one, the faults of the sources added to `faults`.
pub(super) fn gather(sources: &Sources, faults: &mut Vec<Fault>) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    for layer in [file(sources, faults), environment(sources), flags(sources)] {
        found.extend(assign(layer, &sources.directory, faults));
    }
    // A provider is also one of which nothing was set right, so that all that it lacks is told at once.
    let providers = keys::providers(found.keys().chain(faults.iter().map(|fault| &fault.key)));
    for (name, key) in keys::all(&providers) {
        if !found.contains_key(&name)
            && let Some(items) = default(key, sources, &found)
        {
            found.insert(name, Found { items, origin: Origin::Default });
        }
    }
    found
}

fn default(key: &Key, sources: &Sources, found: &BTreeMap<String, Found>) -> Option<Vec<String>> {
    match key.default {
        keys::Default::Is(text) => Some(split(key.form, text.to_owned())),
        keys::Default::From(make) => Some(split(key.form, make(sources))),
        keys::Default::SameAs(other) => found.get(other).map(|found| found.items.clone()),
        keys::Default::Unset => None,
    }
}

fn file(sources: &Sources, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let path = sources.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    let name = path.display().to_string();
    let text = match fs::read_to_string(sources.directory.join(path)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.file.is_none() => return Vec::new(),
        Err(error) => {
            let origin = sources.file.is_some().then_some(Origin::Flag("--config"));
            faults.push(Fault { key: name, problem: format!("cannot be read: {error}"), origin });
            return Vec::new();
        }
    };
    match toml::from_str(&text) {
        Ok(table) => {
            let mut entries = Vec::new();
            flatten("", table, &Origin::File(name), &mut entries);
            entries
        }
        Err(error) => {
            faults.push(Fault { key: name, problem: syntax_problem(&text, &error), origin: None });
            Vec::new()
        }
    }
}

/// Tells where the file stopped being TOML. The error's own `Display` quotes the line, which may hold a secret.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {message}")
}

fn flatten(prefix: &str, table: toml::Table, origin: &Origin, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        match value {
            // A provider without keys is left to be told of, where it would go unseen.
            toml::Value::Table(table)
                if keys::is_section(&name) && !(table.is_empty() && keys::is_provider(&name)) =>
            {
                flatten(&format!("{name}."), table, origin, entries);
            }
            value => entries.push((name, Raw::Toml(value), origin.clone())),
        }
    }
}

/// Only names with `__` after the prefix are ours: Kubernetes injects `COUNTERSIGN_PORT` and the like for a service
/// of that name.
fn environment(sources: &Sources) -> Vec<Entry> {
    let ours = |(name, value): &(String, String)| {
        let key = name.strip_prefix(ENV_PREFIX).filter(|rest| rest.contains("__"))?;
        let key = key.to_ascii_lowercase().replace("__", ".");
        Some((key, Raw::Text(value.clone()), Origin::Env(name.clone())))
    };
    sources.env.iter().filter_map(ours).collect()
}

fn flags(sources: &Sources) -> Vec<Entry> {
    let entry = |(key, flag, value): &(&'static str, &'static str, String)| {
        ((*key).to_owned(), Raw::Text(value.clone()), Origin::Flag(flag))
    };
    sources.flags.iter().map(entry).collect()
}

/// Gives each entry of one source to its key.
fn assign(entries: Vec<Entry>, directory: &Path, faults: &mut Vec<Fault>) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (name, raw, origin) in entries {
        let secret_file = || {
            let name = name.strip_suffix("_file")?;
            keys::find(name).filter(|key| key.form.is_secret()).map(|key| (name, key))
        };
        let (key, form, items) = if let Some(key) = keys::find(&name) {
            (name, key.form, items(key.form, raw))
        } else if let Some((name, key)) = secret_file() {
            let content =
                items(Form::Text, raw).and_then(|path| read_secret(key.form, &directory.join(path.concat())));
            (name.to_owned(), key.form, content)
        } else {
            let problem = unknown(&name);
            faults.push(Fault { key: name, problem, origin: Some(origin) });
            continue;
        };
        let problem = match items {
            Ok(_) if found.contains_key(&key) && form.is_secret() => {
                format!("is given twice, as {key} and as {key}_file: leave one out")
            }
            Ok(items) => {
                found.insert(key, Found { items, origin });
                continue;
            }
            Err(problem) => problem,
        };
        faults.push(Fault { key, problem, origin: Some(origin) });
    }
    found
}

fn unknown(name: &str) -> String {
    match keys::nearest(name) {
        _ if keys::is_provider(name) => "is a provider: set its kind, client_id and client_secret".to_owned(),
        _ if keys::is_section(name) => "is a section, not a key".to_owned(),
        _ if name.starts_with(keys::PROVIDERS) && keys::provider(name).is_none() => {
            "the name of a provider is 1 to 32 of a to z, 0 to 9, - and _".to_owned()
        }
        Some(key) => format!("unknown key, did you mean {key}?"),
        None => "unknown key".to_owned(),
    }
}

/// The path is not named in the problem: whoever mixes the two forms up has written the secret there.
fn read_secret(form: Form, path: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    let text = text.trim();
    Ok(match form {
        Form::SecretList => split(form, text.split_whitespace().collect::<Vec<_>>().join(",")),
        _ => vec![text.to_owned()],
    })
}

/// The items of a value, or what it should have been.
fn items(form: Form, raw: Raw) -> Result<Vec<String>, String> {
    use toml::Value::{Array, Boolean, Float, Integer, String};
    let value = match raw {
        Raw::Text(text) => return Ok(split(form, text)),
        Raw::Toml(value) => value,
    };
    let problem = match (form, value) {
        (
            Form::Text | Form::Secret | Form::Url | Form::Duration | Form::Integer | Form::Ratio,
            String(text),
        ) => {
            return Ok(vec![text]);
        }
        (Form::Ratio, Float(number)) => return Ok(vec![number.to_string()]),
        (Form::Integer | Form::Ratio, Integer(number)) => return Ok(vec![number.to_string()]),
        (Form::Bool, Boolean(flag)) => return Ok(vec![flag.to_string()]),
        (Form::List | Form::SecretList, Array(values)) => {
            let text = |value| if let String(text) = value { Some(text) } else { None };
            match values.into_iter().map(text).collect() {
                Some(items) => return Ok(items),
                None => "expected strings only, found another value among them".to_owned(),
            }
        }
        (form, value) => format!("expected {}, found {}", expected(form), article(value.type_str())),
    };
    Err(problem)
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Text | Form::Secret | Form::Url => "a string",
        Form::Duration => "a duration in quotes, like \"15m\"",
        Form::Integer => "a whole number",
        Form::Ratio => "a number",
        Form::Bool => "true or false, without quotes",
        Form::SecretList => "a list of strings",
        Form::List => "a list of strings, like [\"one\", \"two\"]",
    }
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// Lists are separated by commas where there is only text.
fn split(form: Form, text: String) -> Vec<String> {
    match form {
        Form::List | Form::SecretList if text.trim().is_empty() => Vec::new(),
        Form::List | Form::SecretList => text.split(',').map(|item| item.trim().to_owned()).collect(),
        _ => vec![text],
    }
}
