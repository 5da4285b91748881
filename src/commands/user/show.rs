//! `countersign user list` and `user show`: accounts as a table for people, or as JSON, an object a line.

use std::io::{self, Write};

use countersign::{
    config::Config,
    domain::admin::Filter,
    store::users::User,
    types::{Email, UserKind},
};
use serde_json::{Value, json};

use super::{Whom, refused};
use crate::{
    Exit,
    cli::ListOptions,
    commands::{Failure, domain},
};

/// How many are read at once.
const PAGE: i64 = 200;

/// Prints accounts, newest first.
pub(crate) async fn list(config: &Config, options: &ListOptions) -> Result<Exit, Failure> {
    let email = options.email.as_deref().map(Email::prefix).transpose();
    let filter = Filter {
        email_prefix: email.map_err(|invalid| Failure::Usage(format!("--email: {invalid}")))?,
        disabled: options.disabled.then_some(true),
        kind: options.service_accounts.then_some(UserKind::ServiceAccount),
    };
    let domain = domain(config).await?;
    let mut out = io::stdout().lock();
    if !options.json {
        writeln!(out, "{}", row(["ID", "STATE", "EMAIL", "NAME", "SCOPES"]))?;
    }
    let mut after = None;
    loop {
        let users = domain.list_users(&filter, after, PAGE).await.map_err(refused)?;
        let Some(last) = users.last() else { break };
        after = Some(last.id);
        for user in users {
            if options.json {
                writeln!(out, "{}", json_of(&user))?;
            } else {
                let (id, scopes) = (user.id.to_string(), user.scopes.to_list());
                writeln!(out, "{}", row([&id, state(&user), &user.email, &user.name, &scopes]))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Prints all of one account, but for its password.
pub(crate) async fn show(config: &Config, user: &str, json: bool) -> Result<Exit, Failure> {
    let whom = Whom::parse(user)?;
    let domain = domain(config).await?;
    let user = whom.find(&domain).await.map_err(refused)?;
    let account = json_of(&user);
    if json {
        return crate::commands::print(&account.to_string());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let fields = account.as_object().into_iter().flatten();
    let lines: Vec<_> = fields.map(|(name, value)| format!("{name:<15} {}", text(value))).collect();
    crate::commands::print(&lines.join("\n"))
}

/// Columns beside each other. What is longer than its column moves the rest of its line.
fn row([id, state, email, name, scopes]: [&str; 5]) -> String {
    format!("{id:<36}  {state:<9}  {email:<32}  {name:<24}  {scopes}").trim_end().to_owned()
}

fn state(user: &User) -> &'static str {
    match user.kind {
        _ if user.disabled_time.is_some() => "disabled",
        UserKind::ServiceAccount => "service",
        UserKind::Person if user.email_verified_time.is_some() => "verified",
        UserKind::Person => "open",
    }
}

/// With the names that the RPCs have.
fn json_of(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "kind": user.kind.as_str(),
        "email": user.email,
        "email_verified": user.email_verified_time.is_some(),
        "name": user.name,
        "scopes": user.scopes.to_strings(),
        "has_password": user.password_hash.is_some(),
        "create_time": user.create_time.to_string(),
        "update_time": user.update_time.to_string(),
        "disable_time": user.disabled_time.map(|time| time.to_string()),
    })
}
