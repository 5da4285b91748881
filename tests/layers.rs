//! The rooms' arrows (`docs/ARCHITECTURE.md`): who may look into whom, and which crates a room may know. Fails on a path of
//! another room in code, in a `use` or elsewhere; comments and strings may speak of everything.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// For each room, the beginnings of the paths that it may name.
const ARROWS: [(&str, &[&str]); 12] = [
    (
        "api",
        &[
            "api",
            "config::Server",
            "domain",
            "crypto",
            "telemetry::request",
            "telemetry::tally",
            "telemetry::traces",
            "types",
            // Rows are the entities. Of the store, these and nothing else.
            "store::api_keys::ApiKey",
            "store::changes::Change",
            "store::events::Event",
            "store::feed::Entry",
            "store::identities::Identity",
            "store::sessions::Session",
            "store::users::User",
        ],
    ),
    ("domain", &["domain", "store", "crypto", "mail", "provider", "telemetry::tally", "types"]),
    ("store", &["store", "types"]),
    ("crypto", &["crypto", "telemetry::tally", "types"]),
    ("mail", &["mail", "types"]),
    ("provider", &["provider", "types"]),
    ("types", &["types"]),
    ("config", &["config", "types"]),
    ("telemetry", &["config", "telemetry"]),
    // What many replicas do must not be done by all at the same moment.
    ("worker", &["domain", "types::random"]),
    (
        "app",
        &[
            "app",
            "api::Doors",
            "api::doors",
            "api::server::serve",
            "api::tls::Fault",
            "api::tls::Follower",
            "api::tls::Tls",
            "config",
            "crypto",
            "domain",
            "mail",
            "provider",
            "store",
            "types",
            "worker",
        ],
    ),
    // The program around the library, which it sees from outside.
    (
        "commands",
        &[
            "api::health::check",
            "api::health::check_readyz",
            "app",
            "cli::ListOptions",
            "commands",
            "config",
            "domain",
            "store::users::User",
            "telemetry",
            "types",
        ],
    ),
];

/// Crates that not every room may know, and the rooms that may. A name stands for its family, too: `tonic` for
/// `tonic_health`.
const CRATES: [(&[&str], &[&str]); 8] = [
    (&["tonic", "prost", "axum"], &["api"]),
    (&["prometheus"], &["api"]),
    (&["opentelemetry"], &["api", "telemetry"]),
    (&["http", "hyper", "tower"], &["api", "provider"]),
    (&["oauth2", "openidconnect"], &["provider"]),
    (&["diesel", "bb8", "tokio_postgres"], &["store"]),
    (&["lettre", "minijinja"], &["mail"]),
    (&["argon2", "bcrypt", "ed25519_compact", "pasetors", "sha2", "crc32fast"], &["crypto"]),
];

#[test]
fn no_room_looks_where_it_may_not() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 50, "the sources are at {}", src.display());
    let faults: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let place = file.strip_prefix(&src).unwrap();
            let faults = faults(room(place), &fs::read_to_string(file).unwrap());
            faults.into_iter().map(move |fault| format!("src/{}: {fault}", place.display()))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_planted_violation_is_found() {
    let cases = [
        ("domain", "use crate::api::pb;", "api::pb"),
        ("domain", "use crate::{store::Store, api};", "api"),
        (
            "domain",
            "use crate::{types::{Email, Name}, store::{users, self}, api::{pb::{User, *}}};",
            "api::pb::User",
        ),
        ("domain", "fn f() -> crate::api::pb::User { todo!() }", "api::pb::User"),
        ("domain", "let user = 'a'; let x: &'a str = \"\\\"\"; crate::api::f::<u8>()", "api::f"),
        ("domain", "pub(crate) use crate::app::App as Application;", "app::App"),
        ("api", "use crate::store::{users::User, Store};", "store::Store"),
        ("api", "use crate::store;", "store"),
        ("store", "use crate::domain;", "domain"),
        ("crypto", "use crate::store::Tx;", "store::Tx"),
        ("types", "use crate::crypto::sha256;", "crypto::sha256"),
        ("worker", "use crate::api::health::check;", "api::health::check"),
        ("app", "use crate::api::{doors, pb};", "api::pb"),
        ("commands", "use countersign::api::{health::check, pb};", "api::pb"),
        ("commands", "use countersign::{app::App, store::Store};", "store::Store"),
        ("store", "macro_rules! m { () => { $crate::domain::f() } }", "domain::f"),
        ("api", "use diesel::prelude::*;", "the crate diesel"),
        ("domain", "use diesel_async::RunQueryDsl;", "the crate diesel_async"),
        ("domain", "let code = tonic::Code::Ok;", "the crate tonic"),
        ("domain", "use {std::fmt, prost_types::Timestamp};", "the crate prost_types"),
        ("store", "use http as web;", "the crate http"),
        ("app", "fn f() -> axum::Router { todo!() }", "the crate axum"),
        ("commands", "use tonic_health::pb;", "the crate tonic_health"),
        ("api", "use sha2::Digest;", "the crate sha2"),
        ("new", "fn f() {}", "nothing"),
    ];
    for (room, code, fault) in cases {
        let found = faults(room, code);
        assert!(found.iter().any(|found| found.contains(fault)), "{room}: {code}: {found:?}");
    }
}

#[test]
fn what_is_allowed_or_not_code_is_no_violation() {
    let code = r##"
        //! `crate::api` and tonic::Status in a comment.
        /// use crate::api; /* use crate::api; */
        /* use crate::api; /* nested */ use crate::api; */
        use crate::{store::{Store, users::{self, User}}, types::Email};
        const A: &str = "use crate::api; \" tonic::Code";
        const B: &str = r#"use crate::api; " diesel::x"#;
        const C: [char; 2] = ['"', '\''];
        const D: &[u8] = b"crate::api";
        fn f<'a>(hyper: &'a str, crate_: my::tonic::X) { x.http(); crate::types::f() }
    "##;
    assert_eq!(faults("domain", code), Vec::<String>::new());
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The first directory below `src`, or the file. The program's files are one room.
fn room(place: &Path) -> &str {
    let first = place.iter().next().unwrap().to_str().unwrap();
    match first.trim_end_matches(".rs") {
        "main" | "cli" => "commands",
        // The map of the rooms, which may name them all.
        "lib" => "app",
        room => room,
    }
}

fn faults(room: &str, code: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("ARROWS says nothing of {room}")];
    };
    let tokens = tokens(code);
    let start = if room == "commands" { "countersign" } else { "crate" };
    let mut faults = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let follows = |text: &str| tokens.get(at + 1).is_some_and(|next| next == text);
        let begins = at == 0 || tokens[at - 1] != "::" && tokens[at - 1] != ".";
        if token == start && begins && follows("::") {
            let mut paths = Vec::new();
            flatten(&tokens[at + 2..], String::new(), &mut paths);
            let forbidden = |path: &String| {
                !allowed.iter().any(|allowed| {
                    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                })
            };
            faults.extend(
                paths.into_iter().filter(forbidden).map(|path| format!("{room} may not name {path}")),
            );
        }
        let named = begins && (follows("::") || at > 0 && tokens[at - 1] == "use");
        let foreign = |(names, rooms): &&(&[&str], &[&str])| {
            let of = |name: &&str| {
                token.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            };
            names.iter().any(of) && !rooms.contains(&room)
        };
        if named && CRATES.iter().any(|row| foreign(&row)) {
            faults.push(format!("{room} may not know the crate {token}"));
        }
    }
    faults
}

/// The paths of a tree like `a::{b, c::{self, d}}`. Returns how many tokens it took.
fn flatten(tokens: &[String], before: String, paths: &mut Vec<String>) -> usize {
    let join = |name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    let Some(first) = tokens.first() else { return 0 };
    if first != "{" {
        let path = if first == "self" { before } else { join(first) };
        if tokens.get(1).is_some_and(|next| next == "::") && tokens.get(2).is_some_and(|next| is_path(next)) {
            return 2 + flatten(&tokens[2..], path, paths);
        }
        paths.push(path);
        return 1;
    }
    let mut at = 1;
    while at < tokens.len() && tokens[at] != "}" {
        if tokens[at] == "as" {
            at += 2;
        } else if is_path(&tokens[at]) {
            at += flatten(&tokens[at..], before.clone(), paths);
        } else {
            at += 1;
        }
    }
    at + 1
}

fn is_path(token: &str) -> bool {
    token == "{" || token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and other signs one by one; without comments, strings, characters and lifetimes.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            let length = rest.find(|c| !name(c)).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Block comments nest.
fn comment(text: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        let step = |sign: &str| text[at..].find(sign).unwrap_or(text.len());
        let (open, close) = (step("/*"), step("*/"));
        if open < close {
            (at, depth) = (at + open + 2, depth + 1);
        } else if close < text.len() {
            (at, depth) = (at + close + 2, depth - 1);
        } else {
            return text.len();
        }
    }
    at
}

/// `r"…"`, `br#"…"#` and the like.
fn raw_string(text: &str) -> Option<usize> {
    let marks = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let start = text.len() - marks.len() + hashes + 1;
    let content = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(start + content.find(&end).map_or(content.len(), |at| at + end.len()))
}

fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == mark && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// A character; or only the quote, if it begins a lifetime.
fn character(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted(text, '\''),
        _ => 1,
    }
}
