//! The lock that keeps a second process from serving the same SQLite file.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::StartError;

/// Held as long as the process serves; the operating system lets go of it when the process ends, however it does.
pub(super) struct LockFile(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl LockFile {
    /// Locks `PATH.lock`.
    pub(super) fn acquire(database: &Path) -> Result<Self, StartError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = Path::new(&name);
        let cannot = |cause: std::io::Error| unavailable(format!("cannot lock {}: {cause}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(unavailable(format!(
                "another process serves {} already; several replicas need PostgreSQL",
                database.display()
            ))),
            Err(TryLockError::Error(cause)) => Err(cannot(cause)),
        }
    }
}

fn unavailable(cause: String) -> StartError {
    StartError::Database { key: "database.url", cause }
}
