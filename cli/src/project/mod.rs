//! An app as its developer has it: a directory with `manifest.toml` and `app.list`, made by `gabion new` or of a container image by `gabion import`, built by `gabion
//! build` and `gabion run`.

mod build;
mod import;
mod new;

pub(crate) use build::{Asked as BuildAsked, build, package, rooted};
pub(crate) use import::{Asked as ImportAsked, import};
pub(crate) use new::{Asked as NewAsked, new};

use crate::exit::{Exit, Failure};

/// The name of an app's directory that is to be made.
fn fresh(directory: &std::path::Path) -> Result<&str, Failure> {
    let wrong =
        |message: String| Failure::new(Exit::Usage, message).help("name a directory to make, as hello");
    let name = directory.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong(format!("{} has no name", directory.display())))?;
    match directory.exists() {
        true => Err(wrong(format!("{} is there already", directory.display()))),
        false => Ok(name),
    }
}
