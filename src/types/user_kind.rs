//! Whose an account is.

/// A person's or a program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    /// A person's, who signs in.
    Person,
    /// A program's: it has no address, nobody signs in, and administrators make its keys.
    ServiceAccount,
}

impl UserKind {
    /// Its name, by which it is kept.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::ServiceAccount => "service_account",
        }
    }

    /// The kind of this name. One that only a later version knows is no person's.
    pub fn from_name(name: &str) -> Self {
        if name == Self::Person.as_str() { Self::Person } else { Self::ServiceAccount }
    }
}
