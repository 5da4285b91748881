//! E-mail addresses.

use unicode_normalization::UnicodeNormalization;

use super::Invalid;

/// The longest address (RFC 5321, 4.5.3.1.3, less the angle brackets), in bytes.
const MAX_BYTES: usize = 254;

/// An e-mail address: as it was given, for showing and sending; and normalised, for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    given: String,
    normalized: String,
}

impl Email {
    /// Takes an address. It is trimmed; for comparison its domain becomes the IDNA A-label, the rest NFC, and the whole
    /// is lower-cased, so that one mailbox has one account whatever the spelling (S9).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // Not even where they would be trimmed (S42).
        if text.contains(['\r', '\n']) {
            return Err(Invalid::new("no line breaks"));
        }
        let given = text.trim();
        if given.is_empty() {
            return Err(Invalid::new("an e-mail address is required"));
        }
        if given.len() > MAX_BYTES {
            return Err(Invalid::new(format!("at most {MAX_BYTES} bytes")));
        }
        if given.contains(|c: char| c.is_control() || c.is_whitespace() || is_invisible(c)) {
            return Err(Invalid::new("no spaces, control or invisible characters"));
        }
        let invalid = || Invalid::new("not an e-mail address like name@example.com");
        let (local, domain) = given.rsplit_once('@').ok_or_else(invalid)?;
        let local_ok = (1..=64).contains(&local.len())
            && !local.contains(['@', '"', '(', ')', ',', ':', ';', '<', '>', '[', ']', '\\'])
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        if !local_ok {
            return Err(invalid());
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| invalid())?;
        if domain.is_empty() || domain.ends_with('.') {
            return Err(invalid());
        }
        let normalized =
            format!("{}@{domain}", local.nfc().flat_map(char::to_lowercase).nfc().collect::<String>());
        if normalized.len() > MAX_BYTES {
            return Err(Invalid::new(format!("at most {MAX_BYTES} bytes")));
        }
        Ok(Self { given: given.to_owned(), normalized })
    }

    /// The beginning of an address, to look addresses up by, in the form that is compared.
    pub fn prefix(text: &str) -> Result<String, Invalid> {
        let text = text.trim();
        if text.len() > MAX_BYTES || text.contains(char::is_control) {
            return Err(Invalid::new(format!("at most {MAX_BYTES} bytes without control characters")));
        }
        // Of a whole address the domain is compared in another form, too.
        let lower = || text.nfc().flat_map(char::to_lowercase).nfc().collect();
        Ok(Self::parse(text).map_or_else(|_| lower(), |email| email.normalized))
    }

    /// As it was given, trimmed.
    pub fn as_given(&self) -> &str {
        &self.given
    }

    /// The form that is compared.
    pub fn normalized(&self) -> &str {
        &self.normalized
    }
}

/// Characters that are not seen, or turn the text around: with them two addresses look like one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_mailbox_compare_equal() {
        for spelling in [" User@Example.COM ", "user@example.com", "USER@EXAMPLE.com\u{a0}"] {
            let email = Email::parse(spelling).unwrap();
            assert_eq!(email.normalized(), "user@example.com");
            assert_eq!(email.as_given(), spelling.trim());
        }
        let spellings =
            ["caf\u{e9}@example.com", "cafe\u{301}@example.com"].map(|text| Email::parse(text).unwrap());
        assert_eq!(spellings[0].normalized(), spellings[1].normalized());
        // The capital has no composed form: composed before it is lower-cased only, it would differ from the small one.
        let spellings = ["J\u{30c}@x.example", "\u{1f0}@x.example"].map(|text| Email::parse(text).unwrap());
        assert_eq!(spellings[0].normalized(), spellings[1].normalized());
        assert_eq!(Email::parse("u@BÜCHER.example").unwrap().normalized(), "u@xn--bcher-kva.example");
        assert_eq!(Email::parse("u@bücher.example").unwrap().normalized(), "u@xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "b.".repeat(130));
        for bad in [
            "",
            " ",
            "a",
            "@",
            "a@",
            "@b",
            "a b@c.d",
            "a@b@c.d",
            "a\0@b.c",
            "a@b.c\r\n",
            "a\u{ad}b@b.c",
            "a\u{200b}@b.c",
            "a\u{200d}b@b.c",
            "a\u{202e}b@b.c",
            "a\u{2066}b@b.c",
            "\u{feff}a@b.c",
            "a\u{e0061}@b.c",
            "a@b\r\nc.d",
            ".a@b.c",
            "a..b@c.d",
            "a@-b.c",
            "a@b..c",
            "a@b.c.",
            "\"a\"@b.c",
            "a@[127.0.0.1]",
            "a@b_c.d",
            &long,
            &longer,
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }
}
