//! Where the master key comes from: the configuration; or with SQLite a file beside the database, made at the first
//! start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, zeroize::Zeroizing};

use super::StartError;
use crate::{
    config::Config,
    crypto::MasterKey,
    store::{Store, signing_keys},
    types::random,
};

const FILE_NAME: &str = "countersign.key";

/// The file that belongs to a SQLite database.
pub(super) fn path_beside(database: &Path) -> PathBuf {
    database.with_file_name(FILE_NAME)
}

/// The master key, made and kept if there is none yet; and those before it.
pub(super) async fn obtain(config: &Config, store: &Store) -> Result<MasterKey, StartError> {
    config.secrets.previous_master_keys.iter().try_fold(present(config, store).await?, |key, previous| {
        key.and_previous(previous.expose_secret()).map_err(|error| StartError::Config {
            key: "secrets.previous_master_keys",
            problem: error.to_string(),
        })
    })
}

async fn present(config: &Config, store: &Store) -> Result<MasterKey, StartError> {
    if let Some(key) = &config.secrets.master_key {
        return MasterKey::new(key.expose_secret()).map_err(|error| problem(error.to_string()));
    }
    let database = store.sqlite_path().ok_or_else(|| problem("required with PostgreSQL"))?;
    let path = path_beside(database);
    if !path.exists() {
        let sealed = !signing_keys::list(&mut store.conn().await?).await?.is_empty();
        // A new key would not open what the lost one sealed; making one would only hide the loss. That a key is there now
        // is another process's first start, which makes it before it seals anything.
        if sealed && !path.exists() {
            return Err(problem(format!(
                "{} is missing, and the keys in {} were sealed under it; put it back",
                path.display(),
                database.display()
            )));
        }
        make(&path).map_err(|error| problem(format!("cannot write {}: {error}", path.display())))?;
    }
    read(&path)
}

fn problem(text: impl Into<String>) -> StartError {
    StartError::Config { key: "secrets.master_key", problem: text.into() }
}

fn read(path: &Path) -> Result<MasterKey, StartError> {
    let cannot = |error: io::Error| problem(format!("cannot read {}: {error}", path.display()));
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(cannot)?;
    if fs::metadata(path).map_err(cannot)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read the master key; chmod 600 it");
    }
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
    let key = bytes.and_then(|bytes| MasterKey::new(bytes.as_slice().try_into().ok()?).ok());
    key.ok_or_else(|| problem(format!("{} does not hold 32 bytes in base64", path.display())))
}

/// Writes a new key to the disk, before anything is sealed under it. The name appears only once the content is whole,
/// and of two who do so at once the first wins.
fn make(path: &Path) -> io::Result<()> {
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(Zeroizing::new(random::bytes::<32>()))));
    let partial = path.with_extension(format!("key.{:016x}", u64::from_be_bytes(random::bytes())));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&partial, path));
    fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        linked => linked?,
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    tracing::info!(path = %path.display(), "made a master key; back it up with the database");
    Ok(())
}
