//! Names of varlink as names of Rust.

/// `GetStatus` and `getStatus` as `get_status`; a keyword as a raw identifier.
pub(crate) fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && small {
            out.push('_');
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(c.to_ascii_lowercase());
    }
    if KEYWORDS.contains(&out.as_str()) { format!("r#{out}") } else { out }
}

/// `ecdsa_p256` as `EcdsaP256`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut start = true;
    for c in name.chars() {
        match (c, start) {
            ('_' | '-', _) => start = true,
            (c, true) => {
                out.push(c.to_ascii_uppercase());
                start = false;
            }
            (c, false) => out.push(c),
        }
    }
    out
}

/// The module of an interface: the last word of its name.
pub(crate) fn module(interface: &str) -> String {
    snake(interface.rsplit('.').next().unwrap_or(interface).replace('-', "_").as_str())
}

const KEYWORDS: [&str; 49] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait",
    "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
    "union",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_varlink_become_names_of_rust() {
        assert_eq!(snake("GetStatus"), "get_status");
        assert_eq!(snake("uptime_us"), "uptime_us");
        assert_eq!(snake("Test01"), "test01");
        assert_eq!(snake("struct"), "r#struct");
        assert_eq!(camel("ecdsa_p256_sha256"), "EcdsaP256Sha256");
        assert_eq!(module("org.varlink.service"), "service");
        assert_eq!(module("os.gabion.Apps"), "apps");
    }
}
