//! What a configuration yields, from sources to values, faults and output. Here is how a test sets one up.

use std::{
    fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret as _;

use super::*;

mod bounds;
mod defaults;
mod faults;
mod mail;
mod oauth;
mod origins;
mod secrets;

/// 32 different bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// What no output may hold.
const CANARY: &str = "c4n4ry";

/// Sources in a directory of their own, which goes away with the value.
struct Setup {
    sources: Sources,
    directory: PathBuf,
}

impl Drop for Setup {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Setup {
    fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("countersign-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let sources = Sources {
            file: None,
            env: Vec::new(),
            flags: Vec::new(),
            cores: 3,
            terminal: false,
            directory: directory.clone(),
        };
        Self { sources, directory }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.join(name), text).unwrap();
        self
    }

    fn toml(self, text: &str) -> Self {
        self.file("countersign.toml", text)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &'static str, flag: &'static str, value: &str) -> Self {
        self.sources.flags.push((key, flag, value.to_owned()));
        self
    }

    fn load(&self) -> (Config, Vec<Setting>) {
        Config::load(&self.sources).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(&self) -> Vec<String> {
        let faults = Config::load(&self.sources).map(|_| ()).expect_err("a faulty configuration was taken");
        faults.to_string().lines().map(str::to_owned).collect()
    }
}

fn with(name: &str, value: &str) -> Setup {
    Setup::new().env(name, value)
}

fn setting<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
    settings.iter().find(|setting| setting.key == key).unwrap()
}
