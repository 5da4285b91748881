//! Certificate authorities for tests, by the `openssl` command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// An authority, and where it writes.
pub struct Authority(TempDir);

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.make("ca", &["-subj", &format!("/CN={name}")]);
        authority
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Writes a certificate and its key, `NAME.pem` and `NAME.key`, for this subject and these alternative names.
    pub fn issue(&self, name: &str, subject: &str, alternative_names: Option<&str>) {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        let mut arguments = vec!["-subj", subject, "-addext", "basicConstraints=critical,CA:FALSE"];
        arguments.extend(["-CA", ca.to_str().unwrap(), "-CAkey", key.to_str().unwrap()]);
        let names = alternative_names.map(|names| format!("subjectAltName={names}"));
        arguments.extend(names.iter().flat_map(|names| ["-addext", names]));
        self.make(name, &arguments);
    }

    /// As [`Self::issue`], for a service on this machine.
    pub fn issue_for_service(&self, name: &str) {
        self.issue(name, "/CN=service", Some("DNS:localhost,IP:127.0.0.1"));
    }

    fn make(&self, name: &str, arguments: &[&str]) {
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2"])
            .args(arguments)
            .arg("-keyout")
            .arg(file("key"))
            .arg("-out")
            .arg(file("pem"))
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// Puts the content of one file in the place of another, at once, as a Kubernetes volume does.
pub fn replace(with: &Path, file: &Path) {
    let new = file.with_extension("new");
    fs::copy(with, &new).unwrap();
    fs::rename(new, file).unwrap();
}
