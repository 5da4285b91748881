//! How a message is put together (RFC 5322, MIME).

use std::time::{Duration, SystemTime};

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, MultiPartKind, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};

use super::{SendError, templates::Words};
use crate::types::{Invalid, MailId, Time};

/// Tells programs that answer mail not to answer this one (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// The end of the year 9999, in seconds after 1970: lettre writes no later date.
const LAST_DATE: u64 = 253_402_300_799;

/// Who mails are from.
pub(super) struct Sender(Mailbox);

impl Sender {
    /// Takes `name@example.com` or `Name <name@example.com>`. The address must be ASCII, but for a domain that has an
    /// A-label: else only some mail servers could be written to.
    pub(super) fn parse(from: &str) -> Result<Self, Invalid> {
        // lettre would take some in a quoted name (S42).
        if from.contains(char::is_control) {
            return Err(Invalid::new("no line breaks or other control characters"));
        }
        let invalid = || Invalid::new("not a mailbox like `Example <no-reply@example.com>`");
        let Mailbox { name, email } = from.parse().map_err(|_| invalid())?;
        let email = address(email.as_ref()).ok_or_else(invalid)?;
        if !email.user().is_ascii() {
            return Err(Invalid::new("only ASCII before the @"));
        }
        Ok(Self(Mailbox::new(name, email)))
    }

    /// The message of the mail `id`: the same to the last byte whenever it is made of the same things.
    pub(super) fn compose(
        &self,
        id: MailId,
        to: &str,
        words: &Words,
        now: Time,
    ) -> Result<Message, SendError> {
        let to = address(to)
            .ok_or_else(|| SendError("the recipient's address is none that can be written to".to_owned()))?;
        let seconds = u64::try_from(now.seconds()).unwrap_or_default().min(LAST_DATE);
        let parts = MultiPart::builder()
            .kind(MultiPartKind::Alternative)
            .boundary(id.to_string())
            .singlepart(SinglePart::plain(words.text.clone()))
            .singlepart(SinglePart::html(words.html.clone()));
        Message::builder()
            .from(self.0.clone())
            // Without a name: whoever registers a stranger's address would choose it.
            .to(Mailbox::new(None, to))
            .subject(words.subject.clone())
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{id}@{}>", self.0.email.domain())))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .multipart(parts)
            .map_err(|error| SendError(format!("the message cannot be put together: {error}")))
    }
}

/// An address with its domain as the IDNA A-label, which every mail server takes. What stands before the @ is the
/// recipient's server's own and stays; unless it is ASCII, servers must speak SMTPUTF8 (RFC 6531).
fn address(text: &str) -> Option<Address> {
    let (user, domain) = text.rsplit_once('@')?;
    Address::new(user, idna::domain_to_ascii_strict(domain).ok()?).ok()
}
