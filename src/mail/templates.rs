//! The words of a mail: minijinja's templates, ours or the operator's, read and tried once at start.

use std::{collections::BTreeMap, error::Error as _, fs, io, path::Path};

use minijinja::{
    Environment, Error, UndefinedBehavior,
    value::{Serde, Value},
};
use serde::Serialize;

use super::{Change, Content, Letter, Link, NewAddress, SendError};

/// The templates of each kind of mail, and what its HTML ones have in common.
macro_rules! built_in {
    ($($kind:literal),*) => {
        &[
            ("layout.html", include_str!("templates/layout.html")),
            $(
                (concat!($kind, ".subject.txt"), include_str!(concat!("templates/", $kind, ".subject.txt"))),
                (concat!($kind, ".txt"), include_str!(concat!("templates/", $kind, ".txt"))),
                (concat!($kind, ".html"), include_str!(concat!("templates/", $kind, ".html"))),
            )*
        ]
    };
}

/// Name and source.
const BUILT_IN: &[(&str, &str)] = built_in![
    "verify_email",
    "reset_password",
    "confirm_email_change",
    "email_change_requested",
    "email_changed",
    "password_changed",
    "sign_in_method_changed"
];

/// What no template says of itself.
const SAMPLE_TOKEN: &str = "sample-0123456789-token";

/// Renders mails.
pub(super) struct Templates(Environment<'static>);

/// What a mail says.
#[derive(Debug)]
pub(super) struct Words {
    /// One line.
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// What a template may name.
#[derive(Serialize)]
struct Context<'a> {
    #[serde(flatten)]
    content: &'a Content,
    to: &'a str,
    site: &'a str,
}

impl Templates {
    /// Takes the templates in `dir`, and ours for those that it does not have, and renders each mail once.
    ///
    /// # Errors
    /// What is wrong with the operator's, by file and line.
    pub(super) fn load(dir: Option<&Path>, site: &str) -> Result<Self, String> {
        let own = dir.map_or(Ok(BTreeMap::new()), read)?;
        let place = |name: &str| match dir.filter(|_| own.contains_key(name)) {
            Some(dir) => dir.join(name).display().to_string(),
            None => format!("{name} (built in)"),
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Errors name what is undefined.
        environment.set_debug(true);
        for (name, source) in BUILT_IN {
            let source = own.get(*name).map_or(*source, String::as_str);
            environment
                .add_template_owned(*name, source.to_owned())
                .map_err(|error| explain(&error, name, place))?;
        }
        let templates = Self(environment);
        for content in samples(site) {
            templates.try_out(content, site, place)?;
        }
        Ok(templates)
    }

    /// The mail that `letter` asks for.
    pub(super) fn render(&self, letter: &Letter, site: &str) -> Result<Words, SendError> {
        // Of the error only its kind and place: its detail may quote what the mail says (S57).
        self.words(letter, site).map_err(|(name, error)| {
            let line = error.line().unwrap_or_default();
            SendError(format!(
                "the template {}:{line} fails: {}",
                error.name().unwrap_or(&name),
                error.kind()
            ))
        })
    }

    /// Renders the three parts; an error comes with the template's name.
    fn words(&self, letter: &Letter, site: &str) -> Result<Words, (String, Error)> {
        let Letter { to, content } = letter;
        let context = Value::from(Serde(Context { content, to, site }));
        let part = |suffix: &str| {
            let name = format!("{}.{suffix}", content.kind());
            let rendered = self.0.get_template(&name).and_then(|template| template.render(&context));
            rendered.map_err(|error| (name, error))
        };
        Ok(Words {
            // On one line, whatever the template does (S42).
            subject: part("subject.txt")?
                .split(|c: char| c.is_whitespace() || c.is_control())
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
            text: lines(&part("txt")?),
            html: lines(&part("html")?),
        })
    }

    /// Makes sure that a mail says something, and where it leads.
    fn try_out(&self, content: Content, site: &str, place: impl Fn(&str) -> String) -> Result<(), String> {
        let (kind, leads) = (content.kind(), content.link().is_some());
        let letter = Letter { to: "user@example.com".to_owned(), content };
        let words = self.words(&letter, site).map_err(|(name, error)| explain(&error, &name, &place))?;
        let parts = [("subject.txt", &words.subject), ("txt", &words.text), ("html", &words.html)];
        for (suffix, text) in parts {
            let fault = |what| Err(format!("{}: {what}", place(&format!("{kind}.{suffix}"))));
            if text.trim().is_empty() {
                return fault("says nothing");
            }
            if leads && suffix != "subject.txt" && !text.contains(SAMPLE_TOKEN) {
                return fault("does not say {{ link }}");
            }
        }
        Ok(())
    }
}

/// The operator's templates, by name. Hidden entries are not his words: editors make some, and so does Kubernetes where it
/// mounts a `ConfigMap`.
fn read(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let cannot = |path: &Path, error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|error| cannot(dir, error))? {
        let entry = entry.map_err(|error| cannot(dir, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if !BUILT_IN.iter().any(|(known, _)| *known == name) {
            return Err(format!("{} is no template's name", entry.path().display()));
        }
        let source = fs::read_to_string(entry.path()).map_err(|error| cannot(&entry.path(), error))?;
        found.insert(name, source);
    }
    Ok(found)
}

/// One mail of each kind.
fn samples(site: &str) -> [Content; 7] {
    let link =
        || Link { link: format!("{site}/sample?token={SAMPLE_TOKEN}"), valid_for: "24 hours".to_owned() };
    let address = || NewAddress { new_email: "new@example.com".to_owned() };
    [
        Content::VerifyEmail(link()),
        Content::ResetPassword(link()),
        Content::ConfirmEmailChange(link()),
        Content::EmailChangeRequested(address()),
        Content::EmailChanged(address()),
        Content::PasswordChanged,
        Content::SignInMethodChanged(Change { change: "A password was added.".to_owned() }),
    ]
}

/// Where a template is wrong, and how: by its innermost cause, since templates include each other.
fn explain(error: &Error, name: &str, place: impl Fn(&str) -> String) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source().and_then(|cause| cause.downcast_ref::<Error>()) {
        innermost = cause;
    }
    let line = innermost.line().unwrap_or_default();
    let detail = innermost.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{}:{line}: {}{detail}", place(innermost.name().unwrap_or(name)), innermost.kind())
}

/// Each line ended by a line feed, the last one too; lettre makes CRLF of it.
fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    format!("{}\n", text.trim_end())
}
