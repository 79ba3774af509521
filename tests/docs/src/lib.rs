//! The book in `docs/`, held to what it says.
//!
//! | module | idea |
//! |---|---|
//! | [`page`] | a page and its fenced blocks |
//! | [`mark`] | what is done with a block of commands: run, and where, or not, and why |
//! | [`shell`] | the commands of a page, in order, in one shell |
//! | [`output`] | what a page says that a command prints, against what it printed |
//! | [`tree`] | where things are |
//! | [`reference`](mod@reference) | pages that are made from what they describe |
//! | [`summary`] | which pages the book has |
//! | [`book`] | the book as mdBook makes it, and its links |
//! | [`trial`] | what a new user does, from the README alone, timed |

pub mod book;
pub mod mark;
pub mod output;
pub mod page;
pub mod reference;
pub mod shell;
pub mod summary;
pub mod tree;
pub mod trial;
