//! The mails of a service whose transport is `file`, as every test's is.

use std::{collections::HashSet, fs, path::PathBuf, sync::Mutex, time::Duration};

use countersign::api::pb;
use mailparse::{MailHeaderMap, ParsedMail, parse_mail};

use crate::{
    common::Database,
    support::{EMAIL, PASSWORD, Server},
};

/// A mail as its recipient sees it.
#[derive(Debug)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub message_id: String,
    pub text: String,
    pub html: String,
}

impl Mail {
    pub fn parse(bytes: &[u8]) -> Self {
        let mail = parse_mail(bytes).unwrap();
        let header = |name| mail.headers.get_first_value(name).unwrap();
        let part = |mimetype: &str| {
            let found = mail.parts().find(|part: &&ParsedMail<'_>| part.ctype.mimetype == mimetype);
            found.unwrap().get_body().unwrap()
        };
        Self {
            to: header("To"),
            subject: header("Subject"),
            message_id: header("Message-ID"),
            text: part("text/plain"),
            html: part("text/html"),
        }
    }

    /// The link that it holds.
    pub fn link(&self) -> String {
        self.text
            .lines()
            .map(str::trim)
            .find(|line| line.contains("://") && line.contains("token="))
            .unwrap()
            .to_owned()
    }

    /// The token in the link.
    pub fn token(&self) -> String {
        self.link().split_once("token=").unwrap().1.to_owned()
    }
}

/// Which mails a test has seen.
#[derive(Default)]
pub struct Mailbox(Mutex<HashSet<PathBuf>>);

impl Mailbox {
    /// Those that were delivered since it was last asked.
    pub fn unseen(&self, database: &Database) -> Vec<Mail> {
        let mut seen = self.0.lock().unwrap();
        let Ok(files) = fs::read_dir(database.directory().join("mail")) else { return Vec::new() };
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .filter(|path| seen.insert(path.clone()))
            .collect();
        files.sort();
        files.iter().map(|path| Mail::parse(&fs::read(path).unwrap())).collect()
    }
}

impl Server {
    /// The next mails, in no order: waits until all that is due has been sent.
    pub async fn new_mails(&self) -> Vec<Mail> {
        let due = format!(
            "SELECT kind FROM mails WHERE dead_time IS NULL AND due_time <= {}",
            self.database.time(self.clock.now() + Duration::from_mins(2))
        );
        self.wait_for_none(&due).await;
        self.mailbox.unseen(&self.database)
    }

    /// The only new mail.
    pub async fn new_mail(&self) -> Mail {
        let mut mails = self.new_mails().await;
        assert_eq!(mails.len(), 1, "{mails:#?}");
        mails.remove(0)
    }

    /// Registers `EMAIL` and has a token of each kind mailed: to verify the address, to reset the password, and to change the
    /// address to `new@example.com`.
    pub async fn register_with_tokens(&self) -> (pb::TokenResponse, [String; 3]) {
        let tokens = self.register().await;
        let verify = self.mailed_token().await;
        self.forgot_password(EMAIL).await.unwrap();
        let reset = self.mailed_token().await;
        let new = "new@example.com";
        self.request_email_change(&tokens.access_token, new, Some(PASSWORD)).await.unwrap();
        let mails = self.new_mails().await;
        let change = mails.iter().find(|mail| mail.to == new).unwrap().token();
        (tokens, [verify, reset, change])
    }

    /// The token in the only new mail.
    pub async fn mailed_token(&self) -> String {
        self.new_mail().await.token()
    }
}
