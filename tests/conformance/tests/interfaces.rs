//! The interface files: documented, read alike by everybody, and every method decided in the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use conformance::python;
use zlink_idl::{Comment, CustomType, Field, Interface};

fn files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus/interfaces");
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let files: Vec<_> = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "varlink")).collect();
    ensure!(files.len() > 10, "only {} files", files.len());
    Ok(files)
}

/// Everything in an interface that has no comment in front of it.
fn undocumented(text: &str) -> Result<Vec<String>> {
    let interface = Interface::try_from(text).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut missing = Vec::new();
    let name = interface.name();
    note(&mut missing, name, interface.comments());
    for method in interface.methods() {
        note(&mut missing, format!("method {}", method.name()), method.comments());
        fields(&mut missing, method.name(), method.inputs());
        fields(&mut missing, method.name(), method.outputs());
    }
    for error in interface.errors() {
        note(&mut missing, format!("error {}", error.name()), error.comments());
        fields(&mut missing, error.name(), error.fields());
    }
    for custom in interface.custom_types() {
        match custom {
            CustomType::Object(object) => {
                note(&mut missing, format!("type {}", object.name()), object.comments());
                fields(&mut missing, object.name(), object.fields());
            }
            CustomType::Enum(list) => {
                note(&mut missing, format!("type {}", list.name()), list.comments());
                for variant in list.variants() {
                    note(&mut missing, format!("{}.{}", list.name(), variant.name()), variant.comments());
                }
            }
        }
    }
    Ok(missing)
}

fn fields<'a, 'b: 'a>(
    missing: &mut Vec<String>,
    of: impl std::fmt::Display,
    fields: impl Iterator<Item = &'a Field<'b>>,
) {
    for field in fields {
        note(missing, format!("{of}.{}", field.name()), field.comments());
    }
}

fn note<'a, 'b: 'a>(
    missing: &mut Vec<String>,
    what: impl std::fmt::Display,
    mut comments: impl Iterator<Item = &'a Comment<'b>>,
) {
    if !comments.any(|comment| !comment.text().trim().is_empty()) {
        missing.push(what.to_string());
    }
}

/// Errors that a method's comment names, in its lines that begin with `Errors:`.
fn named_errors(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# Errors: "));
    lines.flat_map(|line| line.trim_end_matches('.').split(", ")).collect()
}

#[test]
fn every_method_error_and_field_is_documented() -> Result<()> {
    for path in files()? {
        let missing = undocumented(&fs::read_to_string(&path)?)?;
        assert!(missing.is_empty(), "{}: no comment at {missing:?}", path.display());
    }
    let bare = undocumented("interface a.B\ntype T (x: int)\nmethod M() -> (\n# So.\ny: int)\nerror E ()\n")?;
    assert_eq!(bare, ["a.B", "method M", "error E", "type T", "T.x"]);
    Ok(())
}

#[test]
fn every_error_that_is_named_is_there_and_every_error_is_named() -> Result<()> {
    for path in files()? {
        let text = fs::read_to_string(&path)?;
        let interface = Interface::try_from(text.as_str()).map_err(|e| anyhow::anyhow!("{e}"))?;
        if interface.name() == "org.varlink.service" {
            continue;
        }
        let named: BTreeSet<&str> = named_errors(&text).into_iter().collect();
        let defined: BTreeSet<&str> = interface.errors().map(|e| e.name().as_str()).collect();
        assert_eq!(named, defined, "{}", path.display());
    }
    Ok(())
}

#[test]
fn every_file_is_read_by_others_as_by_us() -> Result<()> {
    let output = python::python()?.arg(python::scripts().join("scan.py")).args(files()?).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: BTreeMap<String, Vec<String>> = serde_json::from_slice(&output.stdout)?;
    let ours = bus::interfaces::ALL.iter().map(|interface| {
        let methods: BTreeSet<String> = interface.methods.iter().map(|m| m.name.to_owned()).collect();
        (interface.name.to_owned(), methods.into_iter().collect())
    });
    assert_eq!(theirs, ours.collect());
    Ok(())
}

#[test]
fn every_file_is_named_as_its_interface_and_is_what_a_server_shows() -> Result<()> {
    for path in files()? {
        let name = path.file_stem().context("no name")?.to_string_lossy().into_owned();
        let interface = bus::interfaces::ALL.iter().find(|interface| interface.name == name);
        let interface = interface.with_context(|| format!("{name}: another name inside"))?;
        assert_eq!(interface.description, fs::read_to_string(&path)?);
    }
    Ok(())
}

#[test]
fn every_method_has_a_policy_entry() {
    let decided: BTreeSet<(&str, &str)> =
        policy::bus::methods().map(|(interface, method, _)| (interface, method)).collect();
    let system = bus::interfaces::ALL.iter().filter(|interface| interface.name != "org.varlink.service");
    let there: BTreeSet<(&str, &str)> =
        system.flat_map(|i| i.methods.iter().map(|method| (i.name, method.name))).collect();
    assert_eq!(decided, there);
}
