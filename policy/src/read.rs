//! Text to claims: the one place where TOML is parsed.
//!
//! The text is hostile. It is bounded before it is looked at ([`TEXT_MAX`]); nesting is bounded by the parser (80).
//! Reading goes on after a fault wherever it can, so that an author sees all of them at once; at most
//! [`PROBLEMS_MAX`] are kept. The known keys are those that [`read`] asks for, so the list cannot go stale.

use crate::claims::*;
use crate::hint::{not_toml_help, one_line, short, unknown_key_help, unknown_table_help, wrong_kind_help};
use crate::problem::Problem;
use serde::de::{Deserialize, IntoDeserializer};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest manifest in bytes. The largest sensible one is under 4 KiB; the bound keeps the parser's work small.
pub const TEXT_MAX: usize = 64 * 1024;
/// Most problems reported for one manifest.
pub const PROBLEMS_MAX: usize = 64;

/// The manifest's text with what is found in it on the way: problems, and the line of every key.
pub(crate) struct Reader<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    /// What is wrong so far.
    pub(crate) problems: Vec<Problem>,
    /// Where each key is; the position of an array's element has the key `table.key[index]`.
    pub(crate) places: Vec<(String, Range<usize>)>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts, problems: Vec::new(), places: Vec::new() }
    }

    /// Line and column of a byte offset, both from 1.
    pub(crate) fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        (
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        )
    }

    /// Notes a fault at a place of the text.
    pub(crate) fn fault(
        &mut self,
        at: Range<usize>,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            let at = self.within(at);
            let (line, column) = self.position(at.start);
            self.problems.push(Problem {
                line,
                column,
                start: at.start,
                end: at.end,
                key: key.to_owned(),
                message: message.into(),
                help: help.into(),
            });
        }
    }

    /// Notes a fault of a key: at its own place, or its table's, or the first line.
    pub(crate) fn fault_of_key(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let at = self.place_of(key);
        self.fault(at, key, message, help);
    }

    /// Whether the manifest has this key, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.places.iter().any(|(known, _)| known == key)
    }

    /// The line of every key.
    pub(crate) fn lines(&self) -> BTreeMap<String, u32> {
        self.places.iter().map(|(key, span)| (key.clone(), self.position(span.start).0)).collect()
    }

    fn place_of(&self, key: &str) -> Range<usize> {
        let whole = |wanted: &str| {
            self.places.iter().find(|(known, _)| known == wanted).map(|(_, span)| span.clone())
        };
        let table = key.split('.').next().unwrap_or("");
        whole(key)
            .or_else(|| whole(key.split('[').next().unwrap_or("")))
            .or_else(|| whole(table))
            .unwrap_or(0..0)
    }

    /// The part of a place that the text has, cut to its first line and to whole characters.
    fn within(&self, at: Range<usize>) -> Range<usize> {
        let whole = |at: usize| (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let start = whole(at.start);
        let rest = self.text.get(start..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("").len();
        start..whole(start + at.end.saturating_sub(start).min(line)).max(start)
    }
}

/// One table of the manifest while it is being read.
struct Section<'r, 't, 'i> {
    reader: &'r mut Reader<'t>,
    name: &'static str,
    table: DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'i> Section<'_, '_, 'i> {
    /// The value of `key`, if it is there and of the right kind.
    fn take<T: Deserialize<'i>>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        self.asked.push(key);
        let (name, value) = self.table.remove_entry(key)?;
        let path = format!("{}.{key}", self.name);
        self.reader.places.push((path.clone(), name.span()));
        convert(self.reader, &path, value)
    }

    /// A list of texts; the place of each element is noted.
    fn texts(&mut self, key: &'static str) -> Option<Texts> {
        self.asked.push(key);
        let (name, value) = self.table.remove_entry(key)?;
        let path = format!("{}.{key}", self.name);
        self.reader.places.push((path.clone(), name.span()));
        convert_texts(self.reader, &path, value)
    }

    /// Reports what nobody asked for.
    fn finish(self) {
        for (name, _) in self.table {
            let path = format!("{}.{}", self.name, short(name.get_ref()));
            let help = unknown_key_help(self.name, name.get_ref(), &self.asked);
            self.reader.fault(name.span(), &path, "unknown key", help);
        }
    }
}

/// Reads a manifest. `None` when it is not TOML at all; otherwise whatever could be read, with the rest in `problems`.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<ClaimedManifest> {
    if reader.text.len() > TEXT_MAX {
        reader.fault(0..0, "", format!("{} bytes of manifest", reader.text.len()), "use at most 65536 bytes");
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(reader.text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        let help = not_toml_help(error.message());
        reader.fault(at, "", format!("not TOML: {}", one_line(error.message())), help);
    }
    if !errors.is_empty() {
        return None;
    }
    Some(read_tables(reader, document.into_inner()))
}

fn read_tables(reader: &mut Reader<'_>, mut document: DeTable<'_>) -> ClaimedManifest {
    let mut claimed = ClaimedManifest::default();
    section(reader, &mut document, "app", |s| {
        claimed.app = ClaimedApp { id: s.take("id"), version: s.take("version"), exec: s.texts("exec") };
    });
    section(reader, &mut document, "resources", |s| claimed.resources = read_resources(s));
    section(reader, &mut document, "process", |s| claimed.process = read_process(s));
    section(reader, &mut document, "network", |s| {
        claimed.network = ClaimedNetwork {
            connect: s.texts("connect"),
            listen: s.texts("listen"),
            private: s.texts("private"),
        };
    });
    section(reader, &mut document, "devices", |s| claimed.devices = read_devices(s));
    section(reader, &mut document, "uses", |s| claimed.uses = read_text_table(s));
    section(reader, &mut document, "provides", |s| claimed.provides = read_text_table(s));
    section(reader, &mut document, "lifecycle", |s| claimed.lifecycle = read_lifecycle(s));
    section(reader, &mut document, "system", |s| {
        claimed.system = Some(ClaimedSystem {
            capabilities: s.texts("capabilities"),
            host_pids: s.take("host_pids"),
            network: s.take("network"),
            on_demand: s.take("on_demand"),
            filter: s.take("filter"),
        });
    });
    for (name, _) in document {
        let help = unknown_table_help(name.get_ref());
        reader.fault(name.span(), &short(name.get_ref()), "unknown table or key", help);
    }
    claimed
}

fn read_resources(s: &mut Section<'_, '_, '_>) -> ClaimedResources {
    ClaimedResources {
        memory: s.take("memory"),
        cpu: s.take("cpu"),
        tasks: s.take("tasks"),
        storage: s.take("storage"),
        tmp: s.take("tmp"),
        open_files: s.take("open_files"),
    }
}

fn read_devices(s: &mut Section<'_, '_, '_>) -> ClaimedDevices {
    ClaimedDevices {
        serial: s.texts("serial"),
        gpio: s.texts("gpio"),
        i2c: s.texts("i2c"),
        spi: s.texts("spi"),
        tpm: s.texts("tpm"),
        developer: s.texts("developer"),
    }
}

fn read_lifecycle(s: &mut Section<'_, '_, '_>) -> ClaimedLifecycle {
    ClaimedLifecycle {
        restart: s.take("restart"),
        watchdog: s.take("watchdog"),
        stop_timeout: s.take("stop_timeout"),
        notify: s.take("notify"),
    }
}

fn read_process(s: &mut Section<'_, '_, '_>) -> ClaimedProcess {
    let mut environment = BTreeMap::new();
    s.asked.push("environment");
    if let Some((name, value)) = s.table.remove_entry("environment") {
        s.reader.places.push(("process.environment".to_owned(), name.span()));
        let table: Option<Spanned<DeTable<'_>>> = as_table(s.reader, "process.environment", value);
        for (name, value) in table.into_iter().flat_map(Spanned::into_inner) {
            let path = format!("process.environment.{}", short(name.get_ref()));
            s.reader.places.push((path.clone(), name.span()));
            if let Some(value) = convert(s.reader, &path, value) {
                environment.insert(Spanned::new(name.span(), name.into_inner().into_owned()), value);
            }
        }
    }
    ClaimedProcess {
        profile: s.take("profile"),
        jit: s.take("jit"),
        sysv_shm: s.take("sysv_shm"),
        environment,
        working_directory: s.take("working_directory"),
    }
}

/// A table whose keys are the author's own names.
fn read_text_table(s: &mut Section<'_, '_, '_>) -> TextTable {
    let mut entries = TextTable::new();
    for (name, value) in std::mem::take(&mut s.table) {
        let path = format!("{}.\"{}\"", s.name, short(name.get_ref()));
        s.reader.places.push((path.clone(), name.span()));
        if let Some(list) = convert_texts(s.reader, &path, value) {
            entries.insert(Spanned::new(name.span(), name.into_inner().into_owned()), list);
        }
    }
    entries
}

fn section<'t, 'i>(
    reader: &mut Reader<'t>,
    document: &mut DeTable<'i>,
    name: &'static str,
    read: impl FnOnce(&mut Section<'_, 't, 'i>),
) {
    let Some((key, value)) = document.remove_entry(name) else { return };
    reader.places.push((name.to_owned(), key.span()));
    let Some(table) = as_table(reader, name, value) else { return };
    let mut section = Section { reader, name, table: table.into_inner(), asked: Vec::new() };
    read(&mut section);
    section.finish();
}

fn as_table<'i>(
    reader: &mut Reader<'_>,
    path: &str,
    value: Spanned<DeValue<'i>>,
) -> Option<Spanned<DeTable<'i>>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Some(Spanned::new(span, table)),
        other => {
            let help = format!("write `[{path}]` and its keys below it");
            reader.fault(span, path, format!("a {} where a table belongs", other.type_str()), help);
            None
        }
    }
}

fn convert<'i, T: Deserialize<'i>>(
    reader: &mut Reader<'_>,
    path: &str,
    value: Spanned<DeValue<'i>>,
) -> Option<Spanned<T>> {
    let span = value.span();
    let written = reader.text.get(span.clone()).unwrap_or("").to_owned();
    match T::deserialize(value.into_deserializer()) {
        Ok(value) => Some(Spanned::new(span, value)),
        Err(error) => {
            reader.fault(span, path, one_line(error.message()), wrong_kind_help(path, &written));
            None
        }
    }
}

fn convert_texts(reader: &mut Reader<'_>, path: &str, value: Spanned<DeValue<'_>>) -> Option<Texts> {
    let span = value.span();
    let DeValue::Array(array) = value.into_inner() else {
        let written = reader.text.get(span.clone()).unwrap_or("");
        let help = format!("write a list, as `[{}]`", one_line(written));
        reader.fault(span, path, "not a list", help);
        return None;
    };
    let mut texts = Vec::new();
    for (index, element) in array.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        reader.places.push((path.clone(), element.span()));
        texts.extend(convert::<String>(reader, &path, element));
    }
    Some(Spanned::new(span, texts))
}
