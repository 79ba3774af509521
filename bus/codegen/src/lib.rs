//! Makes a Rust module from a varlink interface file.
//!
//! The file is the only place where an interface is written down: a method that is renamed there does not compile any
//! more where it is served or called. What is made is text for people too; it is laid out as `rustfmt` would.
//!
//! ```text
//! .varlink ──zlink-idl──▶ model ──▶ types · errors · INTERFACE · Handler + dispatch · Client
//! ```
//!
//! The files are ours or an app developer's own, read on the developer's machine: nothing hostile is read here.

mod client;
mod model;
mod name;
mod server;
mod text;
mod types;

use std::fmt;

use text::Text;

/// Why nothing could be made.
#[derive(Debug)]
pub enum Error {
    /// The text is not a varlink interface.
    Syntax(String),
    /// It is one that Rust cannot have this way.
    Unsupported(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "not a varlink interface: {why}"),
            Self::Unsupported(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// The module for the interface in `description`, as `pub mod NAME { … }` with `NAME` from the interface's last word.
///
/// # Errors
/// The text is no interface, or something in it cannot be expressed.
pub fn module(description: &str) -> Result<String, Error> {
    let idl = zlink_idl::Interface::try_from(description).map_err(|e| Error::Syntax(e.to_string()))?;
    let interface = model::Interface::read(&idl)?;
    let mut body = Text::within_module();
    types::write(&mut body, &interface);
    server::write(&mut body, &interface, description);
    client::write(&mut body, &interface);
    let body = body.finish();
    let mut out = Text::default();
    types::documented(&mut out, &interface.doc, &interface.name);
    out.open(format!("pub mod {} {{", interface.module()));
    imports(&mut out, &body);
    out.raw(&body);
    out.close("}");
    Ok(out.finish())
}

/// What is used and no more: rustc warns of the rest.
fn imports(out: &mut Text, body: &str) {
    let names = [
        ("Cow<", "std::borrow::Cow"),
        ("BTreeMap<", "std::collections::BTreeMap"),
        ("Deserialize)]", "::bus::serde::{Deserialize, Serialize}"),
        (" Value", "::bus::serde_json::Value"),
        ("<Value", "::bus::serde_json::Value"),
    ];
    let mut used: Vec<&str> = names.iter().filter(|(word, _)| body.contains(word)).map(|(_, p)| *p).collect();
    used.dedup();
    for path in used {
        out.line(format!("use {path};"));
    }
}

/// The modules of several interfaces in one text, with `ALL`, the list of them.
///
/// # Errors
/// As [`module`]; with the number of the text, from 0.
pub fn modules(descriptions: &[String]) -> Result<String, (usize, Error)> {
    let mut out = String::from("// Made from the interface files. Change those.\n\n");
    let mut names = Vec::new();
    for (number, description) in descriptions.iter().enumerate() {
        out.push_str(&module(description).map_err(|error| (number, error))?);
        out.push('\n');
        names.push(module_name(description));
    }
    out.push_str(
        "/// Every interface of this folder.\npub static ALL: &[&::bus::interface::Interface] = &[\n",
    );
    for name in names {
        out.push_str(&format!("    &{name}::INTERFACE,\n"));
    }
    out.push_str("];\n");
    Ok(out)
}

fn module_name(description: &str) -> String {
    let idl = zlink_idl::Interface::try_from(description);
    idl.map(|idl| name::module(idl.name())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# Lights.\ninterface com.example.Lights\n\n# A lamp.\ntype Lamp (\n# Which.\nid: string,\n# On?\non: bool)\n\
        # All lamps.\nmethod List() -> (\n# They.\nlamps: []Lamp)\n\
        # Changes. [Requires 'more' flag]\nmethod Watch() -> (lamp: Lamp)\n\
        # A picture.\nmethod Picture(id: string) -> (\n# [Descriptor] It.\nimage: int)\n\
        # No such lamp.\nerror NoLamp (id: string)\n";

    #[test]
    fn module_has_what_the_file_names() {
        let made = module(SMALL).unwrap();
        for part in [
            "pub mod lights {",
            "pub struct Lamp<'a> {",
            "pub struct ListReply<'a> {",
            "pub lamps: Vec<Lamp<'a>>,",
            "more: ::bus::interface::More::Requires,",
            "gives_descriptors: true,",
            "fn watch(&mut self, call: ::bus::server::Call<'_, Watch>) -> ::bus::server::Answer;",
            "pub fn list(&mut self) -> Result<ListReply<'_>, ::bus::client::CallError<Error>> {",
            "#[serde(rename = \"com.example.Lights.NoLamp\")]",
        ] {
            assert!(made.contains(part), "{part} is not in\n{made}");
        }
    }

    #[test]
    fn module_without_syntax_is_refused() {
        assert!(matches!(module("interface nothing"), Err(Error::Syntax(_))));
    }

    #[test]
    fn name_that_rust_needs_is_refused() {
        for text in ["interface a.B\ntype Option (a: int)\n", "interface a.B\nmethod Client() -> ()\n"] {
            assert!(matches!(module(text), Err(Error::Unsupported(_))), "{text}");
        }
    }

    #[test]
    fn error_with_borrowed_type_is_refused() {
        let text = "interface a.B\ntype T (s: string)\nerror E (t: T)\n";
        assert!(matches!(module(text), Err(Error::Unsupported(_))));
    }
}
