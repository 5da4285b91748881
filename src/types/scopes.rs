//! Scopes: what a credential may do (RFC 6749, 3.3).

use super::Invalid;

const MAX_SCOPES: usize = 64;
const MAX_SCOPE_CHARS: usize = 64;
const MAX_TOTAL_BYTES: usize = 1024;
/// The scope that lets its owner administer.
pub const ADMIN: &str = "countersign:admin";
/// How the scopes of this service begin.
const OWN: &str = "countersign:";

/// One scope token: 1 to 64 printable ASCII characters other than space, `"` and `\`. Compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

impl Scope {
    /// Takes a scope token.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || text.len() > MAX_SCOPE_CHARS || !text.bytes().all(allowed) {
            return Err(Invalid::new(format!(
                "a scope is 1 to {MAX_SCOPE_CHARS} printable ASCII characters other than space, quote and backslash"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A set of at most 64 scopes, 1 KiB together; sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Takes a list of scope tokens. Repeated ones count once.
    pub fn parse<S: AsRef<str>>(tokens: impl IntoIterator<Item = S>) -> Result<Self, Invalid> {
        let mut scopes = Vec::new();
        let mut bytes = 0;
        for token in tokens {
            let scope = Scope::parse(token.as_ref())?;
            bytes += scope.0.len() + 1;
            scopes.push(scope);
            if scopes.len() > MAX_SCOPES || bytes > MAX_TOTAL_BYTES + 1 {
                return Err(Invalid::new(format!(
                    "at most {MAX_SCOPES} scopes and {MAX_TOTAL_BYTES} bytes together"
                )));
            }
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Self(scopes))
    }

    /// Reads the space-separated form, as it stands in the database and in tokens.
    pub fn parse_list(list: &str) -> Result<Self, Invalid> {
        Self::parse(list.split_ascii_whitespace())
    }

    /// The space-separated form.
    pub fn to_list(&self) -> String {
        self.iter().collect::<Vec<_>>().join(" ")
    }

    /// Whether this scope is among them.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Whether one of them gives rights in this service itself, rather than in those that ask it.
    pub fn has_own(&self) -> bool {
        self.0.iter().any(|scope| scope.0.starts_with(OWN))
    }

    /// Those that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|scope| other.contains(scope)).cloned().collect())
    }

    /// Those that are in either set.
    ///
    /// # Errors
    /// When they are too many.
    pub fn union(&self, other: &Self) -> Result<Self, Invalid> {
        Self::parse(self.iter().chain(other.iter().filter(|scope| !self.iter().any(|had| had == *scope))))
    }

    /// Those that are not in the other set.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|scope| !other.contains(scope)).cloned().collect())
    }

    /// Those of `required` that are not in this set.
    pub fn missing(&self, required: &Self) -> Vec<String> {
        required.0.iter().filter(|scope| !self.contains(scope)).map(|scope| scope.0.clone()).collect()
    }

    /// The tokens, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Scope::as_str)
    }

    /// The tokens themselves, sorted.
    pub fn to_strings(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_compared_exactly() {
        let scopes = Scopes::parse(["b:write", "a:read", "a:read"]).unwrap();
        assert_eq!(scopes.to_list(), "a:read b:write");
        assert_eq!(Scopes::parse_list("a:read b:write").unwrap(), scopes);
        assert_eq!(scopes.missing(&Scopes::parse(["A:read", "b:write"]).unwrap()), ["A:read"]);
        let other = Scopes::parse(["b:write", "c"]).unwrap();
        assert_eq!(scopes.union(&other).unwrap().to_list(), "a:read b:write c");
        assert_eq!(scopes.difference(&other).to_list(), "a:read");
        assert_eq!(scopes.intersection(&other).to_list(), "b:write");
        assert!(!scopes.has_own() && Scopes::parse(["a", "countersign:watch"]).unwrap().has_own());
    }

    #[test]
    fn the_bounds_hold() {
        assert!(Scopes::parse((0..64).map(|n| format!("s{n}"))).is_ok());
        assert!(Scopes::parse((0..65).map(|n| format!("s{n}"))).is_err());
        assert!(Scopes::parse((0..17).map(|n| format!("{n:064}"))).is_err());
        for bad in ["", "a b", "a\"", "a\\", "é", "a\n", &"x".repeat(65)] {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
    }
}
