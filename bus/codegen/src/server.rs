//! The interface's table of methods, a type for each method, and the trait that a server implements.

use crate::model::{Interface, Method};
use crate::name;
use crate::text::Text;
use crate::types::{documented, with_lifetime};

/// Everything a server needs; the method types are the client's too.
pub(crate) fn write(out: &mut Text, interface: &Interface, description: &str) {
    table(out, interface, description);
    for (index, method) in interface.methods.iter().enumerate() {
        method_type(out, interface, method, index);
    }
    handler(out, interface);
    dispatch(out, interface);
}

fn table(out: &mut Text, interface: &Interface, description: &str) {
    out.gap();
    out.line("/// The interface file, comments and all.");
    out.line(format!("pub const DESCRIPTION: &str = {};", literal(description)));
    out.gap();
    out.line(format!("/// {}: its name, its file, its methods.", interface.name));
    out.open("pub static INTERFACE: ::bus::interface::Interface = ::bus::interface::Interface {");
    out.line(format!("name: \"{}\",", interface.name));
    out.line("description: DESCRIPTION,");
    out.open("methods: &[");
    for method in &interface.methods {
        let (takes, gives) = method.descriptors();
        out.open("::bus::interface::MethodInfo {");
        out.line(format!("name: \"{}\",", method.name));
        out.line(format!("more: ::bus::interface::More::{},", method.more));
        out.line(format!("takes_descriptors: {takes},"));
        out.line(format!("gives_descriptors: {gives},"));
        out.close("},");
    }
    out.close("],");
    out.close("};");
}

/// A raw string that the text cannot end.
fn literal(text: &str) -> String {
    let mut hashes = "#".to_owned();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}")
}

fn method_type(out: &mut Text, interface: &Interface, method: &Method, index: usize) {
    let or = |s: &Option<crate::model::Struct>, none: &str| match s {
        Some(s) => with_lifetime(interface, s, "'a"),
        None => format!("::bus::interface::{none}"),
    };
    let error = if interface.errors.is_empty() { "::bus::interface::NoError" } else { "Error" };
    out.gap();
    documented(out, &method.doc, &method.name);
    out.line("#[derive(Clone, Copy, Debug, PartialEq, Eq)]");
    out.line(format!("pub enum {} {{}}", method.name));
    out.gap();
    out.open(format!("impl ::bus::interface::Method for {} {{", method.name));
    out.line("const INTERFACE: &'static ::bus::interface::Interface = &INTERFACE;");
    out.line(format!("const INDEX: usize = {index};"));
    out.line(format!("const CALL: &'static str = \"{}.{}\";", interface.name, method.name));
    out.line(format!("type Parameters<'a> = {};", or(&method.parameters, "NoParameters")));
    out.line(format!("type Reply<'a> = {};", or(&method.reply, "Empty")));
    out.line(format!("type Error = {error};"));
    out.close("}");
}

fn handler(out: &mut Text, interface: &Interface) {
    out.gap();
    out.line(format!(
        "/// Who serves {}. Each call is answered, or kept to be answered later.",
        interface.name
    ));
    out.open("pub trait Handler {");
    for method in &interface.methods {
        out.gap();
        documented(out, &method.doc, &method.name);
        let parameters = match &method.parameters {
            Some(s) => format!(", parameters: {}", with_lifetime(interface, s, "'_")),
            None => String::new(),
        };
        out.line(format!(
            "fn {}(&mut self, call: ::bus::server::Call<'_, {}>{parameters}) -> ::bus::server::Answer;",
            name::snake(&method.name),
            method.name
        ));
    }
    out.close("}");
}

fn dispatch(out: &mut Text, interface: &Interface) {
    out.gap();
    out.line("/// Passes a call that is granted on to its method, once its parameters are read.");
    let call = "call: ::bus::server::Incoming<'_>";
    out.open(format!("pub fn dispatch<H: Handler>(handler: &mut H, {call}) -> ::bus::server::Answer {{"));
    out.open("match call.index() {");
    for (index, method) in interface.methods.iter().enumerate() {
        let (given, passed) =
            if method.parameters.is_some() { ("parameters", ", parameters") } else { ("_", "") };
        out.line(format!(
            "{index} => call.read::<{}>(|call, {given}| handler.{}(call{passed})),",
            method.name,
            name::snake(&method.name)
        ));
    }
    out.line("_ => call.not_implemented(),");
    out.close("}");
    out.close("}");
}
