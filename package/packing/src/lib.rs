//! Makes an app's root and its image, out of Debian packages, files, and programs that are built: a library of the
//! developer's machine, never on the device.
//!
//! | module | idea |
//! |---|---|
//! | [`command`] | run another program, and say what it said when it failed |
//! | [`stamp`] | skip what has not changed, by content |
//! | [`stage`] | lay out directories with normal modes; refuse setuid and device nodes |
//! | [`erofs`], [`verity`] | file systems and their hash trees |
//! | [`recipe`] | `app.list`: what an app's root is made of |
//! | [`debian`], [`closure`] | Debian's programs, and the libraries that programs need |
//! | [`gpt`], [`gab`], [`opened`] | a package: one file that other image tools open, too; what is wrong with one |
//! | [`sbom`] | what an app is made of, for people |
//! | [`check`] | what no package may have in it |
//! | [`app`] | all of it: from an app's source to its directory in the store |
//!
//! Input is its user's own, and Debian's signed packages: nothing here defends against the person who runs it.

pub mod app;
pub mod check;
pub mod closure;
pub mod command;
pub mod debian;
pub mod erofs;
pub mod gab;
pub mod gpt;
pub mod opened;
pub mod recipe;
pub mod sbom;
pub mod stage;
pub mod stamp;
pub mod verity;

/// Says what is going on, on the error stream: the standard output belongs to results and a device's console.
pub fn say(part: &str, message: impl std::fmt::Display) {
    eprintln!("{part}: {message}");
}

/// SHA-256 of `parts`, one behind the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
