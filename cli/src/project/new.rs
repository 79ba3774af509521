//! `gabion new`: an app that builds, runs and has a test, to go on from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use serde_json::json;

use crate::diagnostic::Faulty;
use crate::exit::{Exit, Failure};
use crate::output::answer;
use crate::project::fresh;

/// Make an app that builds, runs and has a test, to go on from.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The directory to make; its name is the program's.
    directory: PathBuf,
    /// What it is written in; `any` shows how to bring any other program.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The app's id, its identity for ever: by default com.example. and the directory's name.
    #[arg(long)]
    id: Option<String>,
}

/// What a new app is written in.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Rust,
    C,
    Python,
    Any,
}

/// A file of a new app, and what is in it.
type File = (&'static str, &'static str);

/// `$place` below the templates, for the file `$name`.
macro_rules! file {
    ($name:literal, $place:literal) => {
        ($name, include_str!(concat!("../../templates/", $place)))
    };
}

const MANIFEST: File = file!("manifest.toml", "manifest.toml.in");
const TAPLO: File = file!(".taplo.toml", "taplo.toml.in");
/// What each key of the manifest means, for editors; `gabion schema` writes it anew.
const SCHEMA: &str = ".manifest.schema.json";

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Self::Rust => &[
                file!("Cargo.toml", "rust/Cargo.toml.in"),
                file!(".cargo/config.toml", "rust/config.toml.in"),
                file!("src/main.rs", "rust/main.rs.in"),
                file!("app.list", "rust/app.list.in"),
                (".gitignore", "target\n"),
            ],
            Self::C => &[
                file!("Makefile", "c/Makefile.in"),
                file!("src/main.c", "c/main.c.in"),
                file!("src/count.c", "c/count.c.in"),
                file!("src/count.h", "c/count.h.in"),
                file!("src/test.c", "c/test.c.in"),
                file!("app.list", "c/app.list.in"),
                (".gitignore", "build\n"),
            ],
            Self::Python => &[
                file!("main.py", "python/main.py.in"),
                file!("test_main.py", "python/test_main.py.in"),
                file!("app.list", "python/app.list.in"),
                (".gitignore", "__pycache__\n"),
            ],
            Self::Any => &[
                file!("main.sh", "any/main.sh.in"),
                file!("test.sh", "any/test.sh.in"),
                file!("app.list", "any/app.list.in"),
            ],
        }
    }

    /// What the manifest's `exec` is, how much memory it has, and how the app's test is run.
    fn words(self, name: &str) -> (String, &'static str, &'static str) {
        match self {
            Self::Rust => (format!("[\"/bin/{name}\"]"), "4MiB", "cargo test"),
            Self::C => (format!("[\"/bin/{name}\"]"), "4MiB", "make test"),
            Self::Python => (
                "[\"/usr/bin/python3.11\", \"-I\", \"-B\", \"/app/main.py\"]".to_owned(),
                "24MiB",
                "python3 -m unittest",
            ),
            Self::Any => ("[\"/bin/busybox\", \"sh\", \"/app/main.sh\"]".to_owned(), "4MiB", "sh test.sh"),
        }
    }
}

/// Makes it, and says what to do next.
pub(crate) fn new(asked: Asked) -> Result<bool> {
    let Asked { directory, lang, id } = asked;
    let name = fresh(&directory)?;
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if !plain(name) {
        let message = format!("\"{name}\" can not be a program's name");
        return Err(Failure::new(Exit::Usage, message).help("write a-z, 0-9 and '-', a letter first").into());
    }
    let id = id.unwrap_or_else(|| format!("com.example.{name}"));
    let (exec, memory, test) = lang.words(name);
    let filled = |text: &str| {
        let text = text.replace("@NAME@", name).replace("@ID@", &id).replace("@EXEC@", &exec);
        text.replace("@MEMORY@", memory)
    };
    let manifest = filled(MANIFEST.1);
    if let Err(problems) = policy::check(&manifest, &policy::Board::default()) {
        return Err(Faulty::new(&directory.join(MANIFEST.0), manifest, problems).into());
    }
    // What the manifest's first line and `.taplo.toml` lead an editor to.
    write(&directory.join(SCHEMA), &policy::schema())?;
    for (file, text) in [&MANIFEST, &TAPLO].into_iter().chain(lang.files()) {
        write(&directory.join(file), &filled(text))?;
    }
    let place = directory.display();
    answer(&json!({ "app": directory, "id": id, "test": test }), || {
        format!(
            "{place}: {id}\n\n  cd {place}\n  {test}\n  sudo gabion run          # in its box, on this machine\n  \
             gabion build             # its package\n"
        )
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().context("a file has a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
