//! `countersign user import FILE`: accounts of another system, a JSON object a line, with the fields of `ImportedUser`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
};

use countersign::{
    config::Config,
    domain::{
        Administrator, Domain,
        admin::{Imported, Outcome},
    },
};
use serde::Deserialize;

use super::refused;
use crate::{
    Exit,
    commands::{Failure, domain, print},
};

/// Accounts that are taken over together.
const BATCH: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    email: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    password_hash: String,
    #[serde(default)]
    scopes: Vec<String>,
}

impl Line {
    /// # Errors
    /// What is wrong with it. It does not repeat what stands there.
    fn parse(line: &[u8]) -> Result<Imported, String> {
        let text = str::from_utf8(line)
            .map_err(|error| format!("not UTF-8, after {} bytes", error.valid_up_to()))?;
        let line: Self = serde_json::from_str(text).map_err(|error| match error.classify() {
            // Of what is no JSON the place says more than the text.
            serde_json::error::Category::Data => without_values(&error.to_string()),
            _ => format!("not a JSON object, at column {}", error.column()),
        })?;
        let Self { email, name, email_verified, password_hash, scopes } = line;
        Imported::parse(&email, &name, email_verified, &password_hash, &scopes)
            .map_err(|error| error.to_string())
    }
}

/// An error of serde's without the value that was found, which may be a hash.
fn without_values(error: &str) -> String {
    if error.starts_with("invalid type") || error.starts_with("invalid value") {
        let expected = error.split(", ").find(|part| part.starts_with("expected"));
        return format!("a field of another type: {}", expected.unwrap_or_default());
    }
    error.split(" at line").next().unwrap_or_default().to_owned()
}

#[derive(Default)]
struct Sum {
    created: usize,
    existing: usize,
    refused: usize,
}

/// Takes the accounts over, names every line that is not acceptable, and prints how many there were of each.
pub(crate) async fn run(config: &Config, path: &str) -> Result<Exit, Failure> {
    let lines: Box<dyn BufRead> = if path == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
        Box::new(BufReader::new(file))
    };
    let domain = domain(config).await?;
    let (mut sum, mut batch) = (Sum::default(), Vec::with_capacity(BATCH));
    let mut complaints = io::stderr();
    let watched = complaints.is_terminal();
    let mut unread = None;
    for (number, line) in (1..).zip(lines.split(b'\n')) {
        let line = match line {
            Ok(line) if line.trim_ascii().is_empty() => continue,
            Ok(line) => line,
            // What came before it is still taken over, and counted.
            Err(error) => {
                unread = Some(Failure::Refused(format!("{path}:{number}: {error}")));
                break;
            }
        };
        match Line::parse(&line) {
            Ok(account) => batch.push(account),
            Err(why) => {
                sum.refused += 1;
                writeln!(complaints, "{path}:{number}: {why}")?;
            }
        }
        if batch.len() == BATCH {
            take_over(&domain, &mut batch, &mut sum).await?;
            if watched {
                write!(complaints, "\r{number} lines")?;
            }
        }
    }
    take_over(&domain, &mut batch, &mut sum).await?;
    if watched {
        write!(complaints, "\r")?;
    }
    let Sum { created, existing, refused } = sum;
    print(&format!("created {created}, existing {existing}, refused {refused}"))?;
    unread.map_or(Ok(if refused == 0 { Exit::Done } else { Exit::No }), Err)
}

async fn take_over(domain: &Domain, batch: &mut Vec<Imported>, sum: &mut Sum) -> Result<(), Failure> {
    let accounts = std::mem::take(batch);
    for outcome in domain.import_users(&accounts, &Administrator::operator()).await.map_err(refused)? {
        match outcome {
            Outcome::Created(_) => sum.created += 1,
            Outcome::Exists(_) => sum.existing += 1,
        }
    }
    Ok(())
}
