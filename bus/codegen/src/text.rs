//! Text that is made line by line, indented as it nests.

/// What was written so far.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    depth: usize,
}

impl Text {
    /// The inside of a module.
    pub(crate) fn within_module() -> Self {
        Self { out: "\n".to_owned(), depth: 1 }
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if !line.is_empty() {
            self.out.push_str(&"    ".repeat(self.depth));
            self.out.push_str(line);
        }
        self.out.push('\n');
    }

    /// An empty line, but not two, and none at the start of a block.
    pub(crate) fn gap(&mut self) {
        if !self.out.ends_with("{\n") && !self.out.ends_with("\n\n") && self.out.len() > 1 {
            self.out.push('\n');
        }
    }

    /// A line after which everything is one level deeper.
    pub(crate) fn open(&mut self, line: impl AsRef<str>) {
        self.line(line);
        self.depth += 1;
    }

    /// A line that ends the level.
    pub(crate) fn close(&mut self, line: impl AsRef<str>) {
        self.depth = self.depth.saturating_sub(1);
        self.line(line);
    }

    /// Documentation of what follows.
    pub(crate) fn doc(&mut self, lines: &[String]) {
        for line in lines {
            // What looks like a link to rustdoc is a mark to us.
            let line = line.replace('[', "\\[").replace(']', "\\]").replace('<', "\\<");
            self.line(format!("/// {line}").trim_end());
        }
    }

    /// Lines as they are, not indented: the inside of a literal.
    pub(crate) fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}
