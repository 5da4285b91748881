//! The transport `log`: mails on standard output, for who tries the service out on a laptop.

use std::io::{self, Write};

use super::{SendError, templates::Words};

/// Prints a mail's text, and with it the one-time link: the one exception to S57, which [`super::Mailer::warn`] tells.
pub(super) fn print(to: &str, words: &Words) -> Result<(), SendError> {
    write(&mut io::stdout().lock(), to, words)
        .map_err(|error| SendError(format!("cannot write to standard output: {}", error.kind())))
}

fn write(out: &mut impl Write, to: &str, words: &Words) -> io::Result<()> {
    write!(out, "\nTo: {to}\nSubject: {}\n\n{}\n", words.subject, words.text)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_reads_like_one() {
        let words = Words { subject: "Hello".to_owned(), text: "Go on\n".to_owned(), html: String::new() };
        let mut out = Vec::new();
        write(&mut out, "user@example.com", &words).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\nTo: user@example.com\nSubject: Hello\n\nGo on\n\n");
    }
}
