//! Turns the text of a key into a typed value, and keeps the books: what each key was set to and by whom, and every
//! fault. Called by [`super::Config::load`] alone.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{Fault, Faults};
use super::keys::{self, Form};
use super::settings::{Setting, quote, show};
use super::sources::{Found, Origin, Sources, gather};

pub(super) struct Reader<'a> {
    sources: &'a Sources,
    found: BTreeMap<String, Found>,
    settings: Vec<Setting>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        let mut faults = Vec::new();
        let found = gather(sources, &mut faults);
        Self { sources, found, settings: Vec::new(), faults }
    }

    /// The value of a key that always has one. `parse` says what is wrong in words that follow the value: "is not …".
    /// After a fault it is the default, so that reading goes on; [`Reader::finish`] lets none of it out.
    pub(super) fn get<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(name, &parse)
            .or_else(|| parse(&keys::find(name)?.default.text(self.sources)?).ok())
            .expect("the table has a valid default for each key that is read by `get`")
    }

    /// The value of a key that may have none.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.list(name, parse).pop()
    }

    /// The value of a key that must be set.
    pub(super) fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.optional(name, parse);
        self.check(&[name], value.is_some(), "required");
        value
    }

    /// The valid items of a list.
    pub(super) fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let form = keys::find(name).map_or(Form::Secret, |key| key.form);
        let (items, origin) =
            self.found.get(name).map_or((&[][..], &Origin::Default), |found| (&found.items, &found.origin));
        let shown: Vec<String> = items.iter().map(|item| show(form, item)).collect();
        self.settings.push(Setting { key: name.to_owned(), value: shown.join(","), origin: origin.clone() });

        let mut values = Vec::new();
        for item in items {
            match parse(item) {
                Ok(value) => values.push(value),
                // Only a default that repeats another key can be wrong, and that key has been reported.
                Err(_) if *origin == Origin::Default => {}
                Err(problem) => self.faults.push(Fault {
                    key: name.to_owned(),
                    problem: format!("{} {problem}", quote(form, item)),
                    origin: Some(origin.clone()),
                }),
            }
        }
        values
    }

    /// A list that is also subject to a rule for the whole of it.
    pub(super) fn whole<I, T: Default>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<I, String>,
        join: impl Fn(&[I]) -> Result<T, String>,
    ) -> T {
        let items = self.list(name, parse);
        join(&items).unwrap_or_else(|problem| {
            self.check(&[name], false, &problem);
            T::default()
        })
    }

    /// A rule that spans keys; it is held against the first of them. It rests when one of them is at fault already, since
    /// what was read is then not what was set.
    pub(super) fn check(&mut self, keys: &[&str], holds: bool, problem: &str) {
        if holds || self.faults.iter().any(|fault| keys.contains(&fault.key.as_str())) {
            return;
        }
        if let [key, ..] = keys {
            let origin = self.found.get(*key).map(|found| found.origin.clone());
            let origin = origin.or_else(|| self.mention(keys::provider(key)?.0));
            self.faults.push(Fault { key: (*key).to_owned(), problem: problem.to_owned(), origin });
        }
    }

    /// The providers there are.
    pub(super) fn providers(&self) -> BTreeSet<String> {
        keys::providers(self.found.keys())
    }

    /// Where a provider was named, rather by its kind than by another key: what it lacks was set nowhere, but is missing
    /// because of that.
    fn mention(&self, provider: &str) -> Option<Origin> {
        let set = |key: &keys::Key| self.found.get(&keys::of_provider(provider, key.name));
        let set = keys::PROVIDER_KEYS.iter().filter_map(set).map(|found| &found.origin);
        let of_provider =
            |fault: &&Fault| keys::provider(&fault.key).is_some_and(|(name, _)| name == provider);
        let faulty = self.faults.iter().filter(of_provider).filter_map(|fault| fault.origin.as_ref());
        set.chain(faulty).find(|origin| **origin != Origin::Default).cloned()
    }

    pub(super) fn finish(self) -> Result<Vec<Setting>, Faults> {
        if self.faults.is_empty() { Ok(self.settings) } else { Err(Faults(self.faults)) }
    }
}

impl keys::Default {
    /// The default as text, whatever the sources say.
    fn text(&self, sources: &Sources) -> Option<String> {
        match self {
            Self::Is(text) => Some((*text).to_owned()),
            Self::From(make) => Some(make(sources)),
            Self::SameAs(other) => keys::find(other)?.default.text(sources),
            Self::Unset => None,
        }
    }
}
