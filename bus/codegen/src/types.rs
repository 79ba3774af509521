//! Structures, enumerations and errors.

use crate::model::{Enum, Field, Interface, Kind, Struct};
use crate::name;
use crate::text::Text;

/// How text in a type is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Borrowed from the message, with this lifetime.
    For(&'static str),
    /// Copied.
    Owned,
}

/// Every type of the interface.
pub(crate) fn write(out: &mut Text, interface: &Interface) {
    for e in &interface.enums {
        enumeration(out, e);
    }
    for s in &interface.structs {
        structure(out, interface, s, false);
    }
    for method in &interface.methods {
        if let Some(parameters) = &method.parameters {
            structure(out, interface, parameters, true);
            checks(out, interface, parameters);
        }
        if let Some(reply) = &method.reply {
            structure(out, interface, reply, false);
        }
    }
    errors(out, interface);
}

/// A type as Rust writes it.
pub(crate) fn kind(interface: &Interface, of: &Kind, held: Held) -> String {
    let inside = |of: &Kind| kind(interface, of, held);
    match of {
        Kind::Bool => "bool".to_owned(),
        Kind::Int => "i64".to_owned(),
        Kind::Float => "f64".to_owned(),
        Kind::Value => "Value".to_owned(),
        Kind::Empty => "::bus::interface::Empty".to_owned(),
        Kind::List(of) => format!("Vec<{}>", inside(of)),
        Kind::Map(of) => format!("BTreeMap<String, {}>", inside(of)),
        Kind::Option(of) => format!("Option<{}>", inside(of)),
        Kind::Text => match held {
            Held::For(lifetime) => format!("Cow<{lifetime}, str>"),
            Held::Owned => "String".to_owned(),
        },
        Kind::Named(name) => match held {
            Held::For(lifetime) if interface.borrows(of) => format!("{name}<{lifetime}>"),
            _ => name.clone(),
        },
    }
}

/// `StartParameters<'_>`, or without a lifetime when nothing in it borrows.
pub(crate) fn with_lifetime(interface: &Interface, s: &Struct, lifetime: &str) -> String {
    let name = &s.name;
    if interface.any_borrows(&s.fields) { format!("{name}<{lifetime}>") } else { name.clone() }
}

fn structure(out: &mut Text, interface: &Interface, s: &Struct, strict: bool) {
    out.gap();
    documented(out, &s.doc, &s.name);
    out.line("#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]");
    // A caller that sends what is not known is told; a reply may grow.
    let strict = if strict { ", deny_unknown_fields" } else { "" };
    out.line(format!("#[serde(crate = \"::bus::serde\"{strict})]"));
    if s.fields.is_empty() {
        out.line(format!("pub struct {} {{}}", s.name));
        return;
    }
    out.open(format!("pub struct {} {{", with_lifetime(interface, s, "'a")));
    for field in &s.fields {
        documented(out, &field.doc, &field.name);
        attributes(out, field, interface.borrows(&field.kind));
        let kind = kind(interface, &field.kind, Held::For("'a"));
        out.line(format!("pub {}: {kind},", name::snake(&field.name)));
    }
    out.close("}");
}

fn attributes(out: &mut Text, field: &Field, borrows: bool) {
    let mut parts = Vec::new();
    if name::snake(&field.name).trim_start_matches("r#") != field.name {
        parts.push(format!("rename = \"{}\"", field.name));
    }
    if borrows {
        parts.push("borrow".to_owned());
    }
    if matches!(field.kind, Kind::Option(_)) {
        parts.push("default".to_owned());
        parts.push("skip_serializing_if = \"Option::is_none\"".to_owned());
    }
    if !parts.is_empty() {
        out.line(format!("#[serde({})]", parts.join(", ")));
    }
}

/// What names the parameter that is wrong once something is.
fn checks(out: &mut Text, interface: &Interface, s: &Struct) {
    out.gap();
    let any = with_lifetime(interface, s, "'a");
    let generics = if any.ends_with("<'a>") { "<'a>" } else { "" };
    out.open(format!("impl{generics} ::bus::interface::Parameters for {any} {{"));
    out.open("const FIELDS: &'static [::bus::interface::Field] = &[");
    for field in &s.fields {
        let optional = matches!(field.kind, Kind::Option(_));
        let kind = kind(interface, &field.kind, Held::For("'_"));
        out.open("::bus::interface::Field {");
        out.line(format!("name: \"{}\",", field.name));
        out.line(format!("optional: {optional},"));
        out.line(format!("reads: |json| ::bus::interface::reads::<{kind}>(json),"));
        out.close("},");
    }
    out.close("];");
    out.close("}");
}

fn enumeration(out: &mut Text, e: &Enum) {
    out.gap();
    documented(out, &e.doc, &e.name);
    out.line("#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]");
    out.line("#[serde(crate = \"::bus::serde\")]");
    out.open(format!("pub enum {} {{", e.name));
    for (wire, doc) in &e.variants {
        documented(out, doc, wire);
        out.line(format!("#[serde(rename = \"{wire}\")]"));
        out.line(format!("{},", name::camel(wire)));
    }
    out.close("}");
}

/// The errors of an interface are one enumeration, on the wire `{"error":NAME,"parameters":{…}}`.
fn errors(out: &mut Text, interface: &Interface) {
    if interface.errors.is_empty() {
        return;
    }
    out.gap();
    out.line(format!("/// The errors of {}.", interface.name));
    out.line("#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]");
    out.line("#[serde(crate = \"::bus::serde\", tag = \"error\", content = \"parameters\")]");
    out.open("pub enum Error {");
    for error in &interface.errors {
        documented(out, &error.doc, &error.name);
        out.line(format!("#[serde(rename = \"{}.{}\")]", interface.name, error.name));
        if error.fields.is_empty() {
            out.line(format!("{} {{}},", error.name));
            continue;
        }
        out.open(format!("{} {{", error.name));
        for field in &error.fields {
            documented(out, &field.doc, &field.name);
            attributes(out, field, false);
            let kind = kind(interface, &field.kind, Held::Owned);
            out.line(format!("{}: {kind},", name::snake(&field.name)));
        }
        out.close("},");
    }
    out.close("}");
    out.gap();
    out.open("impl std::fmt::Display for Error {");
    out.open("fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {");
    out.line("::bus::interface::show_error(self, f)");
    out.close("}");
    out.close("}");
    out.gap();
    out.line("impl std::error::Error for Error {}");
}

/// A file of somebody else's may leave comments out; rustc wants one everywhere.
pub(crate) fn documented(out: &mut Text, doc: &[String], name: &str) {
    if doc.is_empty() {
        out.line(format!("/// `{name}`."));
    } else {
        out.doc(doc);
    }
}
