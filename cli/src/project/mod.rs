//! An app as its developer has it: a directory with `manifest.toml` and `app.list`, made by `gabion new`, built by `gabion
//! build` and `gabion run`.

mod build;
mod new;

pub(crate) use build::{Asked as BuildAsked, build, rooted};
pub(crate) use new::{Asked as NewAsked, new};
