//! An interface as Rust will have it: every structure with a name, every type decided.

use std::collections::BTreeSet;

use zlink_idl::{Comment, CustomType, EnumVariant, Field as IdlField, Type as IdlType};

use crate::{Error, name};

const RESERVED: [&str; 16] = [
    "BTreeMap",
    "Client",
    "Cow",
    "Deserialize",
    "Err",
    "Error",
    "Handler",
    "Ok",
    "Option",
    "Result",
    "Serialize",
    "Self",
    "Some",
    "String",
    "Value",
    "Vec",
];

/// An interface.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) doc: Vec<String>,
    pub(crate) methods: Vec<Method>,
    pub(crate) errors: Vec<Struct>,
    pub(crate) structs: Vec<Struct>,
    pub(crate) enums: Vec<Enum>,
    /// Names of structures that borrow text from the message they were read from.
    borrowing: BTreeSet<String>,
}

/// A method. Its parameters and its reply are structures of their own, absent when they have no field.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) doc: Vec<String>,
    pub(crate) parameters: Option<Struct>,
    pub(crate) reply: Option<Struct>,
    pub(crate) more: &'static str,
}

/// A structure.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) doc: Vec<String>,
    pub(crate) fields: Vec<Field>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    /// As it is on the wire.
    pub(crate) name: String,
    pub(crate) doc: Vec<String>,
    pub(crate) kind: Kind,
}

/// A type.
#[derive(Debug)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Value,
    Empty,
    Named(String),
    List(Box<Kind>),
    Map(Box<Kind>),
    Option(Box<Kind>),
}

/// An enumeration.
#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) doc: Vec<String>,
    pub(crate) variants: Vec<(String, Vec<String>)>,
}

impl Interface {
    pub(crate) fn read(idl: &zlink_idl::Interface<'_>) -> Result<Self, Error> {
        let mut it = Self {
            name: idl.name().to_string(),
            doc: doc(idl.comments()),
            methods: Vec::new(),
            errors: Vec::new(),
            structs: Vec::new(),
            enums: Vec::new(),
            borrowing: BTreeSet::new(),
        };
        for custom in idl.custom_types() {
            match custom {
                CustomType::Object(object) => {
                    let made = it.structure(object.name(), doc(object.comments()), object.fields());
                    it.structs.push(made);
                }
                CustomType::Enum(list) => {
                    it.enumeration(list.name(), doc(list.comments()), list.variants());
                }
            }
        }
        for method in idl.methods() {
            let read = it.method(method);
            it.methods.push(read);
        }
        for error in idl.errors() {
            let made = it.structure(error.name(), doc(error.comments()), error.fields());
            it.errors.push(made);
        }
        it.borrowing = it.find_borrowing();
        it.check_names()?;
        it.check_errors()?;
        Ok(it)
    }

    pub(crate) fn module(&self) -> String {
        name::module(&self.name)
    }

    /// Whether a type borrows text from the message it was read from.
    pub(crate) fn borrows(&self, kind: &Kind) -> bool {
        borrows(&self.borrowing, kind)
    }

    /// Whether one of the fields does.
    pub(crate) fn any_borrows(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.borrows(&field.kind))
    }

    fn method(&mut self, method: &zlink_idl::Method<'_>) -> Method {
        let name = method.name().to_string();
        let doc = doc(method.comments());
        let said = doc.join(" ");
        let more = match () {
            () if said.contains("[Requires 'more' flag]") => "Requires",
            () if said.contains("[Supports 'more' flag]") => "Supports",
            () => "No",
        };
        let words = |what: &str| vec![format!("{what} of [`{name}`].")];
        let parameters = self.structure(&format!("{name}Parameters"), words("Parameters"), method.inputs());
        let reply = self.structure(&format!("{name}Reply"), words("The reply"), method.outputs());
        let filled = |s: Struct| if s.fields.is_empty() { None } else { Some(s) };
        Method { parameters: filled(parameters), reply: filled(reply), name, doc, more }
    }

    fn structure<'a, 'b: 'a>(
        &mut self,
        name: &str,
        doc_lines: Vec<String>,
        fields: impl Iterator<Item = &'a IdlField<'b>>,
    ) -> Struct {
        let mut out = Vec::new();
        for field in fields {
            let wire = field.name().to_string();
            let inside = format!("{name}{}", name::camel(&wire));
            let kind = self.kind(field.ty(), &inside);
            out.push(Field { kind, doc: doc(field.comments()), name: wire });
        }
        Struct { name: name.to_owned(), doc: doc_lines, fields: out }
    }

    fn enumeration<'a, 'b: 'a>(
        &mut self,
        name: &str,
        doc_lines: Vec<String>,
        variants: impl Iterator<Item = &'a EnumVariant<'b>>,
    ) {
        let variants = variants.map(|v| (v.name().to_string(), doc(v.comments()))).collect();
        self.enums.push(Enum { name: name.to_owned(), doc: doc_lines, variants });
    }

    /// A type; what has no name in the file gets the one of its field.
    fn kind(&mut self, ty: &IdlType<'_>, inside: &str) -> Kind {
        match ty {
            IdlType::Bool => Kind::Bool,
            IdlType::Int => Kind::Int,
            IdlType::Float => Kind::Float,
            IdlType::String => Kind::Text,
            IdlType::ForeignObject | IdlType::Any => Kind::Value,
            IdlType::Optional(of) => Kind::Option(Box::new(self.kind(of, inside))),
            IdlType::Array(of) => Kind::List(Box::new(self.kind(of, inside))),
            IdlType::Map(of) => Kind::Map(Box::new(self.kind(of, inside))),
            IdlType::Custom(name) => Kind::Named(name.to_string()),
            IdlType::Enum(variants) => {
                self.enumeration(inside, Vec::new(), variants.iter());
                Kind::Named(inside.to_owned())
            }
            IdlType::Object(fields) if fields.iter().next().is_none() => Kind::Empty,
            IdlType::Object(fields) => {
                let made = self.structure(inside, Vec::new(), fields.iter());
                self.structs.push(made);
                Kind::Named(inside.to_owned())
            }
        }
    }

    fn find_borrowing(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for s in &self.structs {
                if s.fields.iter().any(|field| borrows(&found, &field.kind)) {
                    found.insert(s.name.clone());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Names that what is made uses itself.
    fn check_names(&self) -> Result<(), Error> {
        let structs = self.structs.iter().map(|s| &s.name);
        let mut names =
            structs.chain(self.enums.iter().map(|e| &e.name)).chain(self.methods.iter().map(|m| &m.name));
        match names.find(|name| RESERVED.contains(&name.as_str())) {
            Some(name) => Err(Error::Unsupported(format!("{name}: the Rust module needs this name itself"))),
            None => Ok(()),
        }
    }

    /// An error outlives the message it came in, so nothing in it may borrow; plain text is copied.
    fn check_errors(&self) -> Result<(), Error> {
        let names_borrowing = |kind: &Kind| match inner(kind) {
            Kind::Named(name) => self.borrowing.contains(name),
            _ => false,
        };
        for error in &self.errors {
            if let Some(field) = error.fields.iter().find(|field| names_borrowing(&field.kind)) {
                let (name, field) = (&error.name, &field.name);
                return Err(Error::Unsupported(format!(
                    "error {name}: {field} is of a type with text in it"
                )));
            }
        }
        Ok(())
    }
}

impl Method {
    /// Whether descriptors come with a call, and with a reply.
    pub(crate) fn descriptors(&self) -> (bool, bool) {
        let marked = |of: &Option<Struct>| {
            of.iter().flat_map(|s| &s.fields).any(|f| f.doc.iter().any(|l| l.contains("[Descriptor]")))
        };
        (marked(&self.parameters), marked(&self.reply))
    }
}

fn borrows(borrowing: &BTreeSet<String>, kind: &Kind) -> bool {
    match inner(kind) {
        Kind::Text => true,
        Kind::Named(name) => borrowing.contains(name),
        _ => false,
    }
}

fn inner(kind: &Kind) -> &Kind {
    match kind {
        Kind::List(of) | Kind::Map(of) | Kind::Option(of) => inner(of),
        kind => kind,
    }
}

fn doc<'a, 'b: 'a>(comments: impl Iterator<Item = &'a Comment<'b>>) -> Vec<String> {
    comments.map(|comment| comment.text().to_owned()).collect()
}
