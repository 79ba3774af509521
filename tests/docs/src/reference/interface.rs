//! A page for each interface of the bus, from its file.

use super::{Made, cell};
use anyhow::{Context, Result, anyhow};
use std::fs;
use std::path::Path;
use zlink_idl::{Comment, CustomType, Field, Interface};

/// Where the pages are.
pub(super) const FOLDER: &str = "docs/reference/interfaces";

/// What the system's interfaces are called.
const OURS: &str = "os.gabion.";

const NOT_FOR_APPS: &str =
    "No app may call it: it shows or changes other apps, or the device. It is for who is at a developer's device, by
`gabion bus call`, and for the system's own boxes.

";

const INDEX: &str = "# The bus's interfaces

<!-- Made from bus/interfaces/*.varlink by `cargo run -p gabion-docs-test -- reference`. -->

What an app, or whoever is at a developer's device, may ask of the system. An app names an interface and its methods below
`[uses]`, finds a socket for it in `/run/bus`, and speaks [varlink](https://varlink.org) there. An interface's errors are in its
page; those of [org.varlink.service](org.varlink.service.md) may come from any method. A method marked `[Requires 'more' flag]`
answers by a stream. A field marked `[Descriptor]` is an index into the descriptors that come with the message, from 0. Times are
text in UTC (RFC 3339), or microseconds where a name ends in `_us`.

| interface | |
|---|---|
";

/// The pages.
pub(super) fn pages(folder: &Path) -> Result<Vec<Made>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "varlink"));
    files.sort();
    let mut index = INDEX.to_owned();
    let mut pages = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let idl =
            Interface::try_from(text.as_str()).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        let name = idl.name().to_string();
        let first =
            paragraphs(idl.comments()).into_iter().next().context("an interface says what it is for")?;
        index += &format!("| [{name}]({name}.md) | {} |\n", cell(&first));
        pages.push((format!("{FOLDER}/{name}.md"), page(&idl)));
    }
    pages.insert(0, (format!("{FOLDER}/README.md"), index));
    Ok(pages)
}

fn page(idl: &Interface<'_>) -> String {
    let name = idl.name().to_string();
    let mut page = format!("# {name}\n\n<!-- Made from bus/interfaces/{name}.varlink. Change that. -->\n\n");
    page += &text(idl.comments());
    let methods: Vec<_> = idl.methods().collect();
    let granted: Vec<String> = methods
        .iter()
        .map(|method| method.name().to_string())
        .filter(|method| grantable(&name, method))
        .collect();
    if granted.is_empty() && name.starts_with(OURS) {
        page += NOT_FOR_APPS;
    }
    if !granted.is_empty() {
        let names: String = granted.iter().map(|method| format!("    \"{method}\",\n")).collect();
        page += "In a manifest, those of these that the app calls:\n\n";
        page += &format!("```toml\n[uses]\n\"{name}\" = [\n{names}]\n```\n\n");
    }
    page += "## Methods\n\n";
    for method in methods {
        page += &format!("### {}\n\n{}", method.name(), text(method.comments()));
        if !granted.is_empty() && !granted.contains(&method.name().to_string()) {
            page += "Not for apps.\n\n";
        }
        page += &fields("takes", method.inputs());
        page += &fields("answers with", method.outputs());
    }
    let types: Vec<_> = idl.custom_types().collect();
    if !types.is_empty() {
        page += "## Types\n\n";
    }
    for custom in types {
        page += &format!("### {}\n\n", custom.name());
        match custom {
            CustomType::Object(object) => {
                page += &text(object.comments());
                page += &fields("has", object.fields());
            }
            CustomType::Enum(words) => {
                page += &text(words.comments());
                page += "| is one of | |\n|---|---|\n";
                for word in words.variants() {
                    page += &format!(
                        "| `{}` | {} |\n",
                        word.name(),
                        cell(&paragraphs(word.comments()).join(" "))
                    );
                }
                page.push('\n');
            }
        }
    }
    let errors: Vec<_> = idl.errors().collect();
    if !errors.is_empty() {
        page += "## Errors\n\n";
    }
    for error in errors {
        page += &format!("### {}\n\n{}", error.name(), text(error.comments()));
        page += &fields("says", error.fields());
    }
    page.trim_end().to_owned() + "\n"
}

/// Whether an app's manifest may name a method, by the one who decides that.
fn grantable(interface: &str, method: &str) -> bool {
    let app = "[app]\nid = \"com.example.page\"\nversion = \"1.0.0\"\nexec = [\"/bin/page\"]\n[uses]\n";
    let text = format!("{app}\"{interface}\" = [\"{method}\"]\n");
    interface.starts_with(OURS) && policy::check(&text, &policy::Board::default()).is_ok()
}

/// A table of fields, if there are any.
fn fields<'a, 'b: 'a>(what: &str, fields: impl Iterator<Item = &'a Field<'b>>) -> String {
    let rows: Vec<String> = fields
        .map(|field| {
            let said = paragraphs(field.comments()).join(" ");
            format!("| `{}` | `{}` | {} |\n", field.name(), cell(&field.ty().to_string()), cell(&said))
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("| {what} | type | |\n|---|---|---|\n{}\n", rows.concat()),
    }
}

/// Comments as paragraphs of Markdown.
fn text<'a, 'b: 'a>(comments: impl Iterator<Item = &'a Comment<'b>>) -> String {
    paragraphs(comments).iter().map(|paragraph| format!("{paragraph}\n\n")).collect()
}

/// Paragraphs, each in one line: an empty comment line is between two.
fn paragraphs<'a, 'b: 'a>(comments: impl Iterator<Item = &'a Comment<'b>>) -> Vec<String> {
    let lines: Vec<String> = comments.map(|comment| comment.text().trim().to_owned()).collect();
    let paragraphs = lines.split(String::is_empty).map(|lines| lines.join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_all_that_the_file_says() {
        let text = "# Lights.\n#\n# All of them.\ninterface com.example.Lights\n\n# A lamp.\ntype Lamp (\n# Which.\nid: string)\n\n\
                    # Every lamp.\nmethod List() -> (\n# They.\nlamps: []Lamp)\n\n# None.\nerror NoLamp (id: string)\n";
        let page = page(&Interface::try_from(text).unwrap());
        for part in [
            "# com.example.Lights\n",
            "Lights.\n\nAll of them.\n",
            "### List\n\nEvery lamp.\n\n| answers with | type | |\n|---|---|---|\n| `lamps` | `[]Lamp` | They. |\n",
            "### Lamp\n\nA lamp.\n\n| has | type | |\n|---|---|---|\n| `id` | `string` | Which. |\n",
            "### NoLamp\n\nNone.\n\n| says ",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }
}
