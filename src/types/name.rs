//! Names that people give to themselves and to their keys.

use super::Invalid;

const MAX_CODE_POINTS: usize = 200;

/// The text, trimmed. CR and LF are refused even where they would be (S42).
fn check(text: &str) -> Result<&str, Invalid> {
    if text.contains(['\r', '\n']) || text.trim().contains(char::is_control) {
        return Err(Invalid::new("no control characters"));
    }
    let text = text.trim();
    if text.chars().count() > MAX_CODE_POINTS {
        return Err(Invalid::new(format!("at most {MAX_CODE_POINTS} characters")));
    }
    Ok(text)
}

/// A person's display name: at most 200 code points, without control characters; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Takes a name, trimmed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check(text).map(|text| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An API key's name: 1 to 200 code points, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Takes a name, trimmed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = check(text)?;
        if text.is_empty() {
            return Err(Invalid::new("a name is required"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
