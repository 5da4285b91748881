//! Reading a message as a mail program does (RFC 5322, RFC 2045), without a line of what wrote it.

use base64::{Engine, engine::general_purpose::STANDARD};

/// What a mail program sees.
pub(super) struct Received {
    pub(super) raw: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) html: String,
}

impl Received {
    pub(super) fn read(raw: &str) -> Self {
        assert_eq!(raw.matches('\n').count(), raw.matches("\r\n").count(), "{raw:?}");
        assert_eq!(raw.matches('\r').count(), raw.matches("\r\n").count(), "{raw:?}");
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        let headers = headers(head);
        let kind = value(&headers, "Content-Type");
        let boundary = kind.strip_prefix("multipart/alternative; boundary=\"").unwrap().trim_end_matches('"');
        let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
        let [_, text, html, "--\r\n"] = parts[..] else { panic!("{parts:?}") };
        Self {
            raw: raw.to_owned(),
            text: part(text, "text/plain; charset=utf-8"),
            html: part(html, "text/html; charset=utf-8"),
            headers,
        }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        value(&self.headers, name)
    }
}

fn headers(head: &str) -> Vec<(String, String)> {
    let unfolded = head.trim_start().replace("\r\n ", " ");
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    unfolded.lines().map(pair).collect()
}

/// The value of a header that is there once.
fn value<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    let found: Vec<_> = headers.iter().filter(|(found, _)| found == name).collect();
    assert_eq!(found.len(), 1, "{name}: {headers:?}");
    &found[0].1
}

fn part(part: &str, kind: &str) -> String {
    let (head, body) = part.split_once("\r\n\r\n").unwrap();
    let headers = headers(head);
    assert_eq!(value(&headers, "Content-Type"), kind);
    let bytes = match value(&headers, "Content-Transfer-Encoding") {
        "7bit" => body.as_bytes().to_vec(),
        "base64" => STANDARD.decode(body.replace("\r\n", "")).unwrap(),
        "quoted-printable" => quoted_printable(body),
        other => panic!("{other}"),
    };
    let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

/// RFC 2045, 6.7.
fn quoted_printable(text: &str) -> Vec<u8> {
    assert!(text.lines().all(|line| line.len() <= 76), "{text}");
    let text = text.replace("=\r\n", "");
    let mut pieces = text.split('=');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(&piece.as_bytes()[2..]);
    }
    bytes
}
