//! Makes an app of a container image: its layers become the app's root, its configuration a manifest, and what does not
//! carry over is said.
//!
//! | module | idea |
//! |---|---|
//! | [`store`] | where the image's files are: a directory, or a tar archive |
//! | [`image`] | which manifest, configuration and layers; digests checked |
//! | [`flatten`] | layers, one over the other, as a tree in memory: nothing is followed and nothing leaves it |
//! | [`write`](mod@write) | that tree as a directory |
//! | [`translate`] | entry point, environment, ports and the rest, in the words of a manifest |
//!
//! What an attacker controls: every byte of the image. All of it is bounded, and the only paths that are written are below
//! the root that is made, by names that were taken apart before. Deliberately not here: registries. `skopeo copy` fetches.

pub mod error;
pub mod flatten;
pub mod image;
pub mod store;
pub mod translate;
pub mod write;

use std::path::Path;

pub use error::Error;
pub use translate::Translated;

/// Reads the image at `source`, writes its root to `root`, which must not be there yet, and gives its manifest and report.
///
/// # Errors
/// It is no image, or not one for this machine; it is damaged, or larger than is taken; the disk's.
pub fn import(source: &Path, root: &Path, id: &str) -> Result<Translated, Error> {
    let place = tempfile::tempdir().map_err(|e| Error::io("making a directory", e))?;
    let store = store::Store::open(source, place.path())?;
    let image = image::Image::find(&store)?;
    let mut tree = flatten::Tree::new(place.path());
    for (number, layer) in (1..).zip(&image.layers) {
        let applied = image.layer(&store, layer).and_then(|file| tree.apply(file));
        applied.map_err(|error| error.within(&format!("layer {number}")))?;
    }
    tree.under_mounts();
    let translated = translate::translate(&image.config, &tree, id);
    write::write(&tree, root)?;
    Ok(translated)
}
