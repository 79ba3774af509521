//! The apps of `sdk/examples`, and every call of the C library and of the page for Python, for a device beside a site.
//!
//! What their folders build for an app developer is built here with what the device's own programs are built with, so that nothing is
//! compiled twice.

use crate::{App, Site};
use anyhow::{Context, Result};
use image::binaries;
use image::command::{tool, visibly};
use image::paths::Tree;
use sdk_test::page::Page;
use std::fs;
use std::path::PathBuf;

/// The thermostats, by their language.
pub const LANGUAGES: [&str; 3] = ["rust", "c", "python"];
/// Makes every call that ends nobody's work, in C and from the page; their ids.
pub const CALLS: [&str; 2] = ["com.example.calls", "com.example.page"];
const PYTHON: &str = "\"/usr/bin/python3.11\", \"-u\", \"-B\", \"/app/main.py\"";
/// Before the page's own: it is run once, and is to have a certificate.
const ONCE_CERTIFIED: &str = "
import time
from gabion import Call, Failed, call
while True:
    try:
        call('os.gabion.Certificate.GetChain')
        call('os.gabion.Certificate.GetAuthorities')
        break
    except (OSError, Failed):
        time.sleep(2)
";

/// The id of a thermostat.
pub fn thermostat(language: &str) -> String {
    format!("com.example.thermostat-{language}")
}

/// The sensor, the thermostats, which publish to `broker` (HOST:PORT), and who makes every call.
///
/// # Errors
/// They can not be built.
pub fn apps(site: &Site, broker: &str) -> Result<Vec<App>> {
    let tree = Tree::here()?;
    let manifest =
        |place: &str| fs::read_to_string(tree.root.join("sdk/examples").join(place).join("manifest.toml"));
    let named = "com.example.thermostat-python\", \"com.example.calls\", \"com.example.page";
    let sensor = manifest("c/sensor")?.replace("com.example.thermostat-python", named);
    let sensor = App::bare("com.example.sensor", &sensor);
    let mut apps = vec![sensor.file("bin/sensor", made(&tree, "c/sensor", "sensor")?)];
    for language in LANGUAGES {
        let text = manifest(&format!("{language}/thermostat"))?.replace("mqtt.example.com:8883", broker);
        let text = match language {
            "rust" => text
                .replace(&format!("{broker}\"]\n\n[res"), &format!("{broker}\", \"/etc/ca.pem\"]\n\n[res")),
            _ => text.replace("\"--\",", "\"--ca\", \"/etc/ca.pem\", \"--\","),
        };
        let id = thermostat(language);
        let app = match language {
            "rust" => {
                let program = binaries::build(&tree, &[&["gabion-thermostat"]])?.path("thermostat");
                App::bare(&id, &text).file("bin/thermostat", fs::read(program)?)
            }
            "c" => App::bare(&id, &text)
                .file("bin/thermostat", made(&tree, "c/thermostat", "thermostat")?)
                .tls()?,
            _ => {
                let from = tree.root.join("sdk/examples/python/thermostat");
                let with = |app: App, name: &str| {
                    anyhow::Ok(app.file(&format!("app/{name}"), fs::read(from.join(name))?))
                };
                let app =
                    ["thermostat.py", "mqtt.py", "gabion.py"].into_iter().try_fold(App::foreign(), with)?;
                app.manifest(&text).directory(&id).tls()?
            }
        };
        apps.push(app.file("etc/ca.pem", site.authority()?));
    }
    apps.push(App::bare(CALLS[0], &caller(CALLS[0], "\"/bin/calls\"")).file("bin/calls", calls(&tree)?));
    apps.push(page()?);
    Ok(apps)
}

/// What the `Makefile` of an example makes.
fn made(tree: &Tree, example: &str, program: &str) -> Result<Vec<u8>> {
    let place = tree.root.join("sdk/examples").join(example);
    visibly(tool("make").args(["-s", "-C"]).arg(&place).env_remove("MAKEFLAGS"))?;
    Ok(fs::read(place.join("build").join(program))?)
}

/// The C library's example, static.
fn calls(tree: &Tree) -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let program = place.path().join("calls");
    let library = tree.root.join("sdk/c");
    let sources = fs::read_dir(library.join("src"))?.map(|entry| Ok(entry?.path()));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let is_c = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "c");
    let mut compiler = tool("gcc");
    compiler
        .args(["-std=c11", "-D_GNU_SOURCE", "-O2", "-static", "-I"])
        .arg(&library)
        .arg("-o")
        .arg(&program);
    visibly(compiler.arg(library.join("examples/calls.c")).args(sources.iter().filter(is_c)))?;
    fs::read(&program).context("calls")
}

/// The page's blocks but the last, which switches the device off.
fn page() -> Result<App> {
    let page = Page::read()?;
    let examples: Vec<&str> = page.examples().filter(|block| !block.contains("os.gabion.Power.")).collect();
    let program = format!(
        "{ONCE_CERTIFIED}\n{}\nprint('the page is done')\ntime.sleep(1000000)\n",
        examples.join("\n")
    );
    let helper = page.file("gabion.py")?;
    let app = App::foreign().manifest(&caller(CALLS[1], PYTHON)).directory(CALLS[1]);
    Ok(app.file("app/gabion.py", helper).file("app/main.py", program))
}

/// A manifest with every method that an app may be granted and that ends nobody's work.
fn caller(id: &str, exec: &str) -> String {
    let mut uses = String::from("[uses]\n\"com.example.Temperature\" = [\"Get\", \"Watch\"]\n");
    let all = sdk_test::grantable();
    let split = || {
        all.iter()
            .filter_map(|name| name.rsplit_once('.'))
            .filter(|(interface, _)| *interface != "os.gabion.Power")
    };
    let interfaces: std::collections::BTreeSet<&str> = split().map(|(interface, _)| interface).collect();
    for interface in interfaces {
        let methods: Vec<String> =
            split().filter(|(of, _)| *of == interface).map(|(_, method)| format!("\"{method}\"")).collect();
        uses.push_str(&format!("\"{interface}\" = [{}]\n", methods.join(", ")));
    }
    format!(
        "[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = [{exec}]\n[resources]\nmemory = \"32MiB\"\ncpu = \"100%\"\n\
         tasks = 4\nstorage = \"1MiB\"\n[network]\nconnect = [\"mqtt.example.com:8883/tcp\"]\n{uses}[lifecycle]\n\
         restart = \"always\"\n"
    )
}
