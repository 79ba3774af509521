//! `gabion import`: a container image to an app.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::bus::print;

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
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

/// Whether its manifest is good as it is; the app is made in any case.
pub(crate) fn import(asked: Asked) -> Result<bool> {
    let Asked { image, app, id, json } = asked;
    ensure!(!app.exists(), "{} is there already: choose another name", app.display());
    let name = app.file_name().and_then(|name| name.to_str()).context("name a directory to make")?;
    let id = id.unwrap_or_else(|| format!("com.example.{name}"));
    let partial = app.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    let imported = oci::import(&image, &partial.join("root"), &id);
    if imported.is_err() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    let translated = imported.with_context(|| image.display().to_string())?;
    fs::write(partial.join("manifest.toml"), &translated.manifest)?;
    fs::rename(&partial, &app).with_context(|| format!("making {}", app.display()))?;
    let problems = policy::check(&translated.manifest, &policy::Board::default()).err().unwrap_or_default();
    let place = app.display();
    if json {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let all = serde_json::json!({ "app": app, "report": translated.report, "problems": problems });
        print(&format!("{all:#}\n"));
        return Ok(problems.is_empty());
    }
    print(&format!("{place}: {id}\n"));
    translated.report.iter().for_each(|line| eprintln!("gabion: note: {line}"));
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    if problems.is_empty() {
        print(&format!(
            "\n  sudo gabion run {place}\n  sudo gabion policy learn {place}      # the lines that it needs\n"
        ));
    }
    Ok(problems.is_empty())
}
