//! Mail: from what it says to a message that has left the house.
//!
//! Owns the templates, how a message is put together and the ways out. Knows no database and no rules: which mail is due,
//! and when to try again, is `domain`'s. Nothing outside this room knows lettre or minijinja.

mod letter;

pub use letter::{Change, Content, Letter, Link, NewAddress};
