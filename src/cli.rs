//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A standalone authentication service: signs people up and in, keeps sessions and API keys, and tells other services
/// over gRPC whose credential this is and what it may do.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where the configuration comes from, beside the environment.
    #[command(flatten)]
    pub options: Options,
}

const EXIT_CODES: &str = "\
Configuration: flags go before COUNTERSIGN_<SECTION>__<KEY> in the environment, before the file, before the defaults.
`countersign config` shows what is in effect and where it was set.

Exit codes: 0 done; 1 the answer is no (`migrate --check`, `healthcheck`, `master-key check`) or the command failed; 64 bad
usage or configuration; 69 the database or the port is not available; 70 an internal error.";

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration file [default: countersign.toml, if it is there]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Where to listen, as ADDRESS:PORT; sets server.listen
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// `sqlite://PATH` or `postgres://…`; sets database.url
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
}

impl Options {
    /// The flags that set configuration keys: key, flag, value.
    pub fn settings(&self) -> Vec<(&'static str, &'static str, String)> {
        let flags = [
            ("server.listen", "--listen", &self.listen),
            ("database.url", "--database-url", &self.database_url),
        ];
        flags.into_iter().filter_map(|(key, flag, value)| Some((key, flag, value.clone()?))).collect()
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Migrate the database and serve until SIGTERM or SIGINT, then drain
    Serve,
    /// Apply pending migrations and exit
    Migrate {
        /// Apply nothing; exit 1 if any is pending
        #[arg(long)]
        check: bool,
    },
    /// Print the effective configuration, secrets masked, and where each value was set
    Config,
    /// Ask the running service whether it is ready; exit 0 or 1
    Healthcheck,
    /// Administer users, straight on the database
    #[command(subcommand)]
    User(UserCommand),
    /// Administer the keys that sign access tokens, straight on the database. A running service sees it within a second
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
    /// Look after the master key
    #[command(subcommand)]
    MasterKey(MasterKeyCommand),
}

/// Looking after the master key.
#[derive(Debug, Subcommand)]
pub enum MasterKeyCommand {
    /// Say what is sealed under which key; exit 0 if `secrets.previous_master_keys` are needed no more, else 1
    Check,
}

/// Administration of signing keys.
#[derive(Debug, Subcommand)]
pub enum SigningKeyCommand {
    /// Print the keys, oldest first: id, state (next, signing, retiring), when made, from when on it signs, when it ends
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the next key, which signs once everybody has had time to learn of it
    Rotate {
        /// Let it sign in two seconds: services that verify tokens themselves, and do not know it yet, refuse its tokens
        #[arg(long)]
        now: bool,
    },
    /// End a key: from now on its tokens are refused. Where it is the one that signs, the next takes over at once
    Retire {
        /// The key's id (`k4.pid.…`)
        kid: String,
    },
}

/// Administration of users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account, also where registration is closed, and print its id. The password is read from standard input. Its
    /// e-mail address counts as verified
    Create {
        /// The e-mail address
        #[arg(long)]
        email: String,
        /// The display name
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Print accounts, newest first
    List(ListOptions),
    /// Print all of an account, but for its password
    Show {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Shut an account: its sessions and keys end, and nobody signs in to it. A running service sees it within a second
    Disable {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
    },
    /// Give an account scopes as well, and print those that it has then. Its sessions have them from their next refresh on;
    /// of its keys those that were made with them. Warns where a scope of this service went to an e-mail address that nobody
    /// has proven
    Grant {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
        /// Scopes, such as `countersign:watch`
        #[arg(required = true)]
        scopes: Vec<String>,
    },
    /// Take scopes from an account, and print those that are left. A running service sees it within a second. If they are
    /// given back, keys that were made with them have them again: `revoke-credentials` ends these
    RevokeScope {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
        /// Scopes
        #[arg(required = true)]
        scopes: Vec<String>,
    },
    /// Open a shut account again. What ended when it was shut stays ended
    Enable {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
    },
    /// End an account's sessions and keys, and print how many lived. A running service sees it within a second
    RevokeCredentials {
        /// The user's id (`usr_…`) or e-mail address
        user: String,
        /// Sessions alone
        #[arg(long)]
        sessions: bool,
        /// Keys alone
        #[arg(long, conflicts_with = "sessions")]
        keys: bool,
    },
    /// Take over accounts of another system, with the hashes of their passwords. Exit 1 if a line was not acceptable
    Import {
        /// A JSON object a line: `email`, `name`, `email_verified`, `password_hash`, `scopes`; `-` is standard input
        file: String,
    },
}

/// Which accounts are listed, and how.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// As JSON, an object a line
    #[arg(long)]
    pub json: bool,
    /// Only people whose e-mail address is this or begins with it
    #[arg(long, value_name = "PREFIX")]
    pub email: Option<String>,
    /// Only accounts that are shut
    #[arg(long)]
    pub disabled: bool,
    /// Only service accounts
    #[arg(long)]
    pub service_accounts: bool,
}
