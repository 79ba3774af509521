//! `gabion import`: a container image to an app.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use serde_json::json;

use crate::diagnostic::{self, Faulty};
use crate::exit::{Exit, Failure};
use crate::output::{answer, is_json};
use crate::progress;
use crate::project::fresh;

/// Make an app of a container image: an OCI layout (a directory, or a tar file as `skopeo` and `buildah` write them), or what
/// `docker save` wrote. Says what does not carry over.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The image.
    image: PathBuf,
    /// The app's directory to make.
    app: PathBuf,
    /// The app's id, its identity for ever: by default com.example. and the directory's name.
    #[arg(long)]
    id: Option<String>,
}

/// Whether its manifest is good as it is; the app is made in any case.
pub(crate) fn import(asked: Asked) -> Result<bool> {
    let Asked { image, app, id } = asked;
    let name = fresh(&app)?;
    let id = id.unwrap_or_else(|| format!("com.example.{name}"));
    let partial = app.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    let imported =
        progress::during("flattening the layers", || oci::import(&image, &partial.join("root"), &id));
    if imported.is_err() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    let translated = imported.map_err(|error| {
        let (help, message) = (error.help(), format!("{}: {error}", image.display()));
        Failure::new(Exit::of(&error.into()), message).help(help)
    })?;
    fs::write(partial.join("manifest.toml"), &translated.manifest)?;
    fs::rename(&partial, &app).with_context(|| format!("making {}", app.display()))?;
    let checked = diagnostic::manifest(&app);
    let faulty = checked.as_ref().err().and_then(|error| error.downcast_ref::<Faulty>());
    let problems = faulty.map_or_else(|| json!([]), Faulty::json);
    let place = app.display();
    let all = json!({ "app": app, "id": id, "report": translated.report, "problems": problems });
    if !is_json() {
        translated.report.iter().for_each(|line| eprintln!("gabion: note: {line}"));
    }
    answer(&all, || {
        let next = format!(
            "\n  sudo gabion run {place}\n  sudo gabion policy learn {place}      # the lines that it needs\n"
        );
        format!("{place}: {id}\n{}", if faulty.is_none() { next.as_str() } else { "" })
    })?;
    match (&checked, is_json()) {
        // The problems are in the answer.
        (Err(_), true) => Ok(false),
        _ => checked.map(|_| true),
    }
}
