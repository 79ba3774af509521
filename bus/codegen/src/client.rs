//! The client: one function for each method, with its parameters as arguments.

use crate::model::{Field, Interface, Kind, Method};
use crate::name;
use crate::text::Text;
use crate::types::{Held, documented, kind, with_lifetime};

/// The client of the interface.
pub(crate) fn write(out: &mut Text, interface: &Interface) {
    out.gap();
    out.line(format!("/// A connection to who serves {}.", interface.name));
    out.line("#[derive(Debug)]");
    out.line("pub struct Client(pub ::bus::client::Connection);");
    out.gap();
    out.open("impl Client {");
    out.line("/// Connects at the place that a box has for this interface. Waits while the router is away.");
    out.line("///");
    out.line("/// # Errors");
    out.line("/// Those of `connect(2)`: `NotFound` when the manifest does not name the interface.");
    out.open("pub fn connect() -> std::io::Result<Self> {");
    out.line("::bus::client::Connection::granted(&INTERFACE).map(Self)");
    out.close("}");
    for method in &interface.methods {
        if method.more != "Requires" {
            call(out, interface, method);
        }
        if method.more != "No" {
            stream(out, interface, method);
        }
    }
    out.close("}");
}

fn error(interface: &Interface) -> &'static str {
    if interface.errors.is_empty() { "::bus::interface::NoError" } else { "Error" }
}

fn call(out: &mut Text, interface: &Interface, method: &Method) {
    let reply = method.reply.as_ref().map_or("()".to_owned(), |s| with_lifetime(interface, s, "'_"));
    let (takes, gives) = method.descriptors();
    let result = if gives { format!("({reply}, Vec<std::os::fd::OwnedFd>)") } else { reply };
    let extra = if takes { ", descriptors: &[std::os::fd::BorrowedFd<'_>]" } else { "" };
    header(out, interface, method, "", extra, &result);
    build(out, method);
    let name = &method.name;
    let made = match (takes, gives) {
        (false, false) => format!("self.0.call::<{name}>(&parameters)"),
        (false, true) => format!("self.0.call_with_descriptors::<{name}>(&parameters, &[])"),
        (true, true) => format!("self.0.call_with_descriptors::<{name}>(&parameters, descriptors)"),
        (true, false) => {
            format!(
                "self.0.call_with_descriptors::<{name}>(&parameters, descriptors).map(|(reply, _)| reply)"
            )
        }
    };
    out.line(if method.reply.is_none() { format!("{made}.map(|_| ())") } else { made });
    out.close("}");
}

fn stream(out: &mut Text, interface: &Interface, method: &Method) {
    let suffix = if method.more == "Supports" { "_more" } else { "" };
    let result = format!("::bus::client::Replies<'_, {}>", method.name);
    header(out, interface, method, suffix, "", &result);
    build(out, method);
    out.line(format!("self.0.more::<{}>(&parameters)", method.name));
    out.close("}");
}

fn header(out: &mut Text, interface: &Interface, method: &Method, suffix: &str, extra: &str, result: &str) {
    let fields = method.parameters.iter().flat_map(|s| &s.fields);
    let arguments: String = fields.map(|field| format!(", {}", argument(interface, field))).collect();
    out.gap();
    documented(out, &method.doc, &method.name);
    out.line("///");
    out.line("/// # Errors");
    out.line("/// Those named, and those of the connection.");
    let function = format!("{}{suffix}", name::snake(&method.name));
    let result = format!("Result<{result}, ::bus::client::CallError<{}>>", error(interface));
    out.open(format!("pub fn {function}(&mut self{arguments}{extra}) -> {result} {{"));
}

fn argument(interface: &Interface, field: &Field) -> String {
    let kind = match &field.kind {
        Kind::Text => "&str".to_owned(),
        other => kind(interface, other, Held::For("'_")),
    };
    format!("{}: {kind}", name::snake(&field.name))
}

fn build(out: &mut Text, method: &Method) {
    let Some(parameters) = &method.parameters else {
        out.line("let parameters = ::bus::interface::NoParameters {};");
        return;
    };
    let one = |field: &Field| {
        let name = name::snake(&field.name);
        if matches!(field.kind, Kind::Text) { format!("{name}: {name}.into()") } else { name }
    };
    let fields: Vec<String> = parameters.fields.iter().map(one).collect();
    out.line(format!("let parameters = {} {{ {} }};", parameters.name, fields.join(", ")));
}
