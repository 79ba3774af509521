//! An app as its developer has it: a directory with `manifest.toml` and `app.list`, made by `gabion new` or of a container image by `gabion import`, built by `gabion
//! build` and `gabion run`.

mod build;
mod import;
mod new;

pub(crate) use build::{Asked as BuildAsked, build, rooted};
pub(crate) use import::{Asked as ImportAsked, import};
pub(crate) use new::{Asked as NewAsked, new};
