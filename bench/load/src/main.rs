//! What `bench/run.py` measures with. Each command does one thing, and prints what it found as one line of JSON.

mod client;
mod cost;
mod echo;
mod logout;
mod paced;
mod refresh;
mod sign_in;
mod start;
mod tally;
mod validate;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::Value;

/// The service's messages, and its client.
mod pb {
    #![expect(clippy::pedantic, clippy::allow_attributes, reason = "generated")]
    tonic::include_proto!("countersign.v1");
    /// The server's side of one method.
    pub mod echo {
        tonic::include_proto!("countersign.v1.AuthService");
    }
}

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer `ValidateCredential` with the same message each time, by a bare tonic server, until killed
    Echo {
        /// Where to listen
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// The message, as `validate --save` wrote it
        #[arg(long)]
        answer: PathBuf,
    },
    /// Ask `ValidateCredential` about each credential of a file once, as fast as it goes
    Validate {
        #[arg(long)]
        address: String,
        /// Credentials, one a line
        #[arg(long)]
        file: PathBuf,
        /// How many of them to skip, and how many to take then
        #[arg(long, default_value_t = 0)]
        skip: usize,
        #[arg(long, default_value_t = usize::MAX)]
        take: usize,
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// Calls at once on each connection
        #[arg(long, default_value_t = 32)]
        at_once: usize,
        /// Where to write the last answer to
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Ask `ValidateCredential` at a fixed rate, whether or not it keeps up
    Paced {
        #[arg(long)]
        address: String,
        /// Credentials, one a line, taken in turn
        #[arg(long)]
        file: PathBuf,
        /// Calls a second
        #[arg(long, default_value_t = 500)]
        rate: u32,
        #[arg(long)]
        seconds: u32,
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
    /// Sign in, so many at once
    SignIn {
        #[arg(long)]
        address: String,
        #[command(flatten)]
        accounts: Accounts,
        #[arg(long)]
        at_once: usize,
        #[arg(long)]
        seconds: u32,
    },
    /// Exchange refresh tokens until there are so many access tokens
    Refresh {
        #[arg(long)]
        address: String,
        /// Refresh tokens, one a line; one exchange after the other for each
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        count: usize,
        /// Where to write the access tokens to, one a line
        #[arg(long)]
        out: PathBuf,
    },
    /// Sign out on one replica, and ask the others until they refuse
    Logout {
        /// All replicas
        #[arg(long = "address", required = true)]
        addresses: Vec<String>,
        #[command(flatten)]
        accounts: Accounts,
        #[arg(long)]
        count: usize,
        #[arg(long, default_value_t = 4)]
        at_once: usize,
    },
    /// Start a program again and again, and wait each time until it says by `grpc.health.v1` that it serves
    Start {
        /// Where it will listen
        #[arg(long)]
        address: String,
        #[arg(long)]
        times: usize,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The CPU time of checking one signature, over a token like this one
    Verify {
        #[arg(long)]
        token: String,
        #[arg(long)]
        times: u32,
    },
    /// Passwords hashed a second (argon2id, 19 MiB, t=2, p=1), one thread a core
    Argon2 {
        #[arg(long)]
        threads: usize,
        #[arg(long)]
        seconds: u32,
    },
}

/// Accounts to sign in to, all of one password.
#[derive(Debug, clap::Args)]
struct Accounts {
    /// E-mail addresses, one a line
    #[arg(long)]
    accounts: PathBuf,
    #[arg(long)]
    password: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let found = run(Cli::parse().command).await?;
    writeln!(io::stdout(), "{found}")?;
    Ok(())
}

async fn run(command: Command) -> Result<Value> {
    let seconds = |seconds| Duration::from_secs(u64::from(seconds));
    match command {
        Command::Echo { listen, answer } => echo::serve(listen, &fs::read(answer)?).await,
        Command::Validate { address, file, skip, take, connections, at_once, save } => {
            let credentials = lines(&file)?.into_iter().skip(skip).take(take).collect();
            validate::run(&address, credentials, connections, at_once, save.as_deref()).await
        }
        Command::Paced { address, file, rate, seconds: span, connections } => {
            paced::run(&address, lines(&file)?, rate, seconds(span), connections).await
        }
        Command::SignIn { address, accounts, at_once, seconds: span } => {
            sign_in::run(&address, lines(&accounts.accounts)?, &accounts.password, at_once, seconds(span))
                .await
        }
        Command::Refresh { address, file, count, out } => {
            refresh::run(&address, lines(&file)?, count, &out).await
        }
        Command::Logout { addresses, accounts, count, at_once } => {
            logout::run(&addresses, lines(&accounts.accounts)?, accounts.password, count, at_once).await
        }
        Command::Start { address, times, command } => start::run(&address, times, &command).await,
        Command::Verify { token, times } => cost::verify(&token, times),
        Command::Argon2 { threads, seconds: span } => cost::argon2(threads, seconds(span)),
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let lines: Vec<_> = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
    if lines.is_empty() { Err(format!("{}: empty", path.display()).into()) } else { Ok(lines) }
}
