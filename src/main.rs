//! The program: arguments, configuration, logging, then the command. What it prints and how it exits is decided here.

mod cli;
mod commands;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    thread::available_parallelism,
};

use clap::Parser;
use countersign::{
    app::StartError,
    config::{Config, Setting, Sources},
    domain::admin::What,
    telemetry,
};

use cli::{Cli, Command, MasterKeyCommand, SigningKeyCommand, UserCommand};

/// Exit codes, of which the last three are from `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    No = 1,
    Usage = 64,
    Unavailable = 69,
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way, too.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let (config, settings) = match Config::load(&sources(&cli)) {
        Ok(loaded) => loaded,
        Err(faults) => {
            complain(&faults);
            return Exit::Usage.into();
        }
    };
    match run(&cli.command, &config, &settings) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure);
            exit_code(&failure).into()
        }
    }
}

#[tokio::main]
async fn run(command: &Command, config: &Config, settings: &[Setting]) -> Result<Exit, commands::Failure> {
    let traces = telemetry::init(&config.telemetry).map_err(StartError::Internal)?;
    let outcome = Box::pin(obey(command, config, settings)).await;
    traces.finish();
    outcome
}

async fn obey(command: &Command, config: &Config, settings: &[Setting]) -> Result<Exit, commands::Failure> {
    match command {
        Command::Serve => commands::serve::run(config).await,
        Command::Migrate { check } => commands::migrate::run(config, *check).await,
        Command::Config => commands::print(&Config::render(settings)),
        Command::Healthcheck => commands::healthcheck::run(config).await,
        Command::SigningKey(SigningKeyCommand::List { json }) => {
            commands::signing_key::list(config, *json).await
        }
        Command::SigningKey(SigningKeyCommand::Rotate { now }) => {
            commands::signing_key::rotate(config, *now).await
        }
        Command::SigningKey(SigningKeyCommand::Retire { kid }) => {
            commands::signing_key::retire(config, kid).await
        }
        Command::MasterKey(MasterKeyCommand::Check) => commands::master_key::check(config).await,
        Command::User(command) => Box::pin(administer(command, config)).await,
    }
}

async fn administer(command: &UserCommand, config: &Config) -> Result<Exit, commands::Failure> {
    match command {
        UserCommand::Create { email, name } => commands::user::create(config, email, name).await,
        UserCommand::List(options) => commands::user::list(config, options).await,
        UserCommand::Show { user, json } => commands::user::show(config, user, *json).await,
        UserCommand::RevokeCredentials { user, sessions, keys } => {
            // The one that is named leaves the other out.
            let what = What { sessions: !keys, keys: !sessions };
            commands::user::revoke_credentials(config, user, what).await
        }
        UserCommand::Import { file } => commands::user::import(config, file).await,
        UserCommand::Disable { user } => commands::user::set_disabled(config, user, true).await,
        UserCommand::Enable { user } => commands::user::set_disabled(config, user, false).await,
        UserCommand::Grant { user, scopes } => commands::user::set_scopes(config, user, scopes, true).await,
        UserCommand::RevokeScope { user, scopes } => {
            commands::user::set_scopes(config, user, scopes, false).await
        }
    }
}

/// The process's surroundings, for the configuration to be read from.
fn sources(cli: &Cli) -> Sources {
    Sources {
        file: cli.options.config.clone(),
        env: std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect(),
        flags: cli.options.settings(),
        cores: available_parallelism().map_or(1, usize::from),
        terminal: io::stderr().is_terminal(),
        directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
    }
}

fn complain(what: &impl std::fmt::Display) {
    // Nothing can be done about a closed standard error.
    let _ = writeln!(io::stderr(), "{what}");
}

fn exit_code(failure: &commands::Failure) -> Exit {
    match failure {
        commands::Failure::Start(StartError::Config { .. }) | commands::Failure::Usage(_) => Exit::Usage,
        commands::Failure::Start(StartError::Database { .. } | StartError::Listen { .. }) => {
            Exit::Unavailable
        }
        commands::Failure::Start(StartError::Internal(_)) => Exit::Internal,
        commands::Failure::Refused(_) | commands::Failure::Output(_) => Exit::No,
    }
}
