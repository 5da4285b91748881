//! Where the master key comes from: the configuration; or with SQLite a file beside the database, made at the first
//! start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
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

/// The master key, made and kept if there is none yet.
pub(super) async fn obtain(config: &Config, store: &Store) -> Result<MasterKey, StartError> {
    if let Some(key) = &config.secrets.master_key {
        return MasterKey::new(key.expose_secret()).map_err(|error| problem(error.to_string()));
    }
    let database = store.sqlite_path().ok_or_else(|| problem("required with PostgreSQL"))?;
    let path = path_beside(Path::new(&database));
    match read(&path) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A new key would not open what the lost one sealed; making one would only hide the loss.
            if !signing_keys::list(&mut store.conn().await?).await?.is_empty() {
                return Err(problem(format!(
                    "{} is missing, and the keys in {database} were sealed under it; put it back",
                    path.display()
                )));
            }
            make(&path).map_err(|error| problem(format!("cannot write {}: {error}", path.display())))
        }
        Err(error) => Err(problem(format!("cannot read {}: {error}", path.display()))),
    }
}

fn problem(text: impl Into<String>) -> StartError {
    StartError::Config { key: "secrets.master_key", problem: text.into() }
}

fn read(path: &Path) -> io::Result<Result<MasterKey, StartError>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read the master key; chmod 600 it");
    }
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
    let key = bytes.and_then(|bytes| MasterKey::new(bytes.as_slice().try_into().ok()?).ok());
    Ok(key.ok_or_else(|| problem(format!("{} does not hold 32 bytes in base64", path.display()))))
}

/// Writes a new key, to the disk, before anything is sealed under it. The name appears only once the content is whole.
fn make(path: &Path) -> io::Result<MasterKey> {
    let bytes = Zeroizing::new(random::bytes::<32>());
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*bytes)));
    let partial = path.with_extension("key.partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::hard_link(&partial, path)?;
    fs::remove_file(&partial)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    tracing::info!(path = %path.display(), "made a master key; back it up with the database");
    MasterKey::new(&bytes).map_err(io::Error::other)
}
