//! The transport `file`: a directory of `.eml` files, for tests and for trying out.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::SendError;
use crate::types::{MailId, random};

/// Where the files go.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if need be, for its owner alone: mails hold one-time links.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes `ID.eml`, over an earlier one. The name appears only once the content is whole.
    pub(super) fn write(&self, id: MailId, message: &[u8]) -> Result<(), SendError> {
        let whole = self.0.join(format!("{id}.eml"));
        let partial = self.0.join(format!(".{id}.{:016x}", u64::from_be_bytes(random::bytes())));
        let written = write_new(&partial, message).and_then(|()| fs::rename(&partial, &whole));
        written.map_err(|error| {
            // It may not be there.
            let _ = fs::remove_file(&partial);
            SendError(format!("cannot write {}: {error}", whole.display()))
        })
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::types::Time;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_mail_is_one_file_for_its_owner_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("deep/mail");
        let directory = Directory::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let id = MailId::generate(Time::from_micros(0));
        for content in ["first", "again"] {
            directory.write(id, content.as_bytes()).unwrap();
            let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(names, [path.join(format!("{id}.eml"))]);
            assert_eq!(fs::read_to_string(&names[0]).unwrap(), content);
            assert_eq!(mode(&names[0]), 0o600);
        }
    }

    #[test]
    fn nothing_is_left_of_a_mail_that_cannot_be_written() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let id = MailId::generate(Time::from_micros(0));
        let in_the_way = temporary.path().join(format!("{id}.eml"));
        fs::create_dir(&in_the_way).unwrap();
        let error = directory.write(id, b"secret").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && !error.contains("secret"), "{error}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_no_directory() {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        let error = Directory::open(temporary.path()).map(drop).unwrap_err();
        assert!(error.contains(&temporary.path().display().to_string()), "{error}");
    }
}
