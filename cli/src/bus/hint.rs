//! What an answer that is no good means, and what to do about it.

use bus::devport;
use bus::interface::Interface;
use bus::interfaces;
use serde_json::Value;

use crate::exit::Exit;

/// An interface of the system as this program knows it; the device may know others.
pub(crate) fn known(interface: &str) -> Option<&'static Interface> {
    interfaces::ALL.iter().copied().find(|known| known.name == interface)
}

/// In words: an error reply to a call of `method` of `interface`.
pub(crate) fn error(name: &str, parameters: &Value, interface: &str, method: &str) -> String {
    let said = |key: &str| parameters.get(key).and_then(Value::as_str).unwrap_or_default();
    match name {
        "org.varlink.service.PermissionDenied" => format!(
            "refused: {} is not granted to the developer port ({}); its manifest would have to say\n  {}",
            said("method"),
            devport::APP,
            said("manifest_line")
        ),
        "org.varlink.service.MethodNotFound" => {
            format!("{interface} has no method \"{method}\"{}", other_method(interface, method))
        }
        "org.varlink.service.InvalidParameter" => format!(
            "parameter \"{}\" is missing, not known, or not of its type or range; \
             `gabion bus describe {interface}` says what {method} takes",
            said("parameter")
        ),
        "org.varlink.service.ExpectedMore" => {
            format!("{method} answers by a stream of replies; add --more")
        }
        _ => {
            let what = meaning(name).map(|text| format!(": {text}")).unwrap_or_default();
            let empty = parameters.as_object().is_some_and(serde_json::Map::is_empty);
            if empty { format!("{name}{what}") } else { format!("{name}{what} {parameters}") }
        }
    }
}

/// What an error reply ends the program with: by the kind that its name says.
pub(crate) fn exit(name: &str) -> Exit {
    match name.rsplit('.').next().unwrap_or_default() {
        "PermissionDenied" | "NotPermitted" => Exit::Refused,
        "MethodNotFound" | "InvalidParameter" | "ExpectedMore" => Exit::Usage,
        error if error.starts_with("NoSuch") || error.ends_with("NotFound") => Exit::NotFound,
        _ => Exit::No,
    }
}

/// In words: the device has no such interface for us.
pub(crate) fn no_interface(interface: &str, why: &str) -> String {
    let names =
        interfaces::ALL.iter().map(|known| known.name).filter(|name| policy::bus::is_system_interface(name));
    match policy::nearest(interface, names) {
        Some(meant) if meant != interface => format!("{interface}: {why}; did you mean {meant}?"),
        _ if policy::bus::is_system_interface(interface) => {
            format!("{interface}: {why}; `gabion bus interfaces` lists what there is")
        }
        _ => format!("{interface}: {why}; what an app provides is for the apps that its manifest names"),
    }
}

fn other_method(interface: &str, method: &str) -> String {
    let Some(known) = known(interface) else {
        return format!("; `gabion bus describe {interface}` lists what it has");
    };
    let names = known.methods.iter().map(|m| m.name);
    match policy::nearest(method, names.clone()) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => format!("; it has {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// What its interface file says about an error.
fn meaning(name: &str) -> Option<String> {
    let (interface, error) = name.rsplit_once('.')?;
    let mut comment = Vec::new();
    for line in known(interface)?.description.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if line.strip_prefix("error ").and_then(|rest| rest.split([' ', '(']).next()) == Some(error) {
            return Some(comment.join(" ")).filter(|text| !text.is_empty());
        } else {
            comment.clear();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusal_names_the_line_that_would_grant_it() {
        let parameters = json!({"method": "os.gabion.Apps.Stop", "manifest_line": "[uses] \"os.gabion.Apps\" = [\"Stop\"]"});
        let text = error("org.varlink.service.PermissionDenied", &parameters, "os.gabion.Apps", "Stop");
        assert!(
            text.contains("refused") && text.ends_with("[uses] \"os.gabion.Apps\" = [\"Stop\"]"),
            "{text}"
        );
    }

    #[test]
    fn method_misspelt_gets_the_one_that_was_meant() {
        let name = "org.varlink.service.MethodNotFound";
        assert!(error(name, &json!({}), "os.gabion.Apps", "Lisst").ends_with("did you mean List?"));
        assert!(error(name, &json!({}), "os.gabion.Time", "Destroy").ends_with("it has GetStatus"));
        assert!(
            error(name, &json!({}), "com.example.T", "Get").contains("gabion bus describe com.example.T")
        );
    }

    #[test]
    fn error_of_an_interface_is_told_as_its_file_does() {
        let text = error("os.gabion.Apps.AppNotFound", &json!({"app": "x"}), "os.gabion.Apps", "Stop");
        assert_eq!(text, "os.gabion.Apps.AppNotFound: There is no app with this id. {\"app\":\"x\"}");
        let text = error("os.gabion.Bus.DeveloperModeOnly", &json!({}), "os.gabion.Bus", "Monitor");
        assert!(text.ends_with("where nobody may watch."), "{text}");
    }

    #[test]
    fn interface_misspelt_gets_the_one_that_was_meant() {
        assert!(no_interface("os.gabion.App", "no").ends_with("did you mean os.gabion.Apps?"));
        assert!(no_interface("os.gabion.Nothing", "no").contains("gabion bus interfaces"));
        assert!(no_interface("com.example.Temperature", "no").contains("what an app provides"));
    }
}
