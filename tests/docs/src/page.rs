//! A page of Markdown and its fenced blocks, as far as tests need to know them.
//!
//! The word behind the opening fence is the language, what follows is what the block is to the tests:
//!
//! | block | is |
//! |---|---|
//! | `sh` and a mark | commands, see [`crate::mark`] |
//! | `text`, no file, the next block after commands that are run | what they print, see [`crate::output`] |
//! | a language and `file=PLACE` | a file that a reader makes there, and so does the test |
//! | `toml` | a manifest, or tables of one |
//! | `toml` and another file's name | that one's contents |
//! | `python` | a program that compiles |

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence, counted from 1.
    pub line: usize,
    /// The first word behind the fence.
    pub language: String,
    /// What follows that word.
    pub words: String,
    /// What is in it.
    pub text: String,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path below the tree's root.
    pub name: String,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
}

impl Block {
    /// Where a reader writes it to, if so.
    pub fn file(&self) -> Option<&str> {
        self.words.split_whitespace().find_map(|word| word.strip_prefix("file="))
    }
}

impl Page {
    /// Reads the page `name` below `root`.
    ///
    /// # Errors
    /// It can not be read; a block has no end.
    pub fn read(root: &Path, name: &str) -> Result<Self> {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.to_owned())?;
        Self::of(name, &text)
    }

    /// The page with this text.
    ///
    /// # Errors
    /// A block has no end.
    pub fn of(name: &str, text: &str) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut open: Option<(Block, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let (inner, indent) = (line.trim_start(), line.len() - line.trim_start().len());
            match &mut open {
                Some(_) if inner.trim_end() == "```" => blocks.extend(open.take().map(|(block, _)| block)),
                Some((block, indent)) => {
                    // A block in a list is as far in as its fence.
                    let spaces = line.bytes().take(*indent).take_while(|byte| *byte == b' ').count();
                    block.text.push_str(&line[spaces..]);
                    block.text.push('\n');
                }
                None => {
                    let Some(info) = inner.strip_prefix("```") else { continue };
                    let (language, words) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
                    let block = Block {
                        line: number + 1,
                        language: language.to_owned(),
                        words: words.trim().to_owned(),
                        text: String::new(),
                    };
                    open = Some((block, indent));
                }
            }
        }
        ensure!(open.is_none(), "{name}: a block has no end");
        Ok(Self { name: name.to_owned(), blocks })
    }

    /// The place of a block, as compilers write one.
    pub fn at(&self, block: &Block) -> String {
        format!("{}:{}", self.name, block.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_with_blocks_gives_each_with_its_words_and_line() {
        let page =
            Page::of("a.md", "text\n```sh run=host\nls\n```\n* item\n  ```toml\n  a = 1\n    b\n  ```\n")
                .unwrap();
        let [sh, toml] = &page.blocks[..] else { panic!("{:?}", page.blocks) };
        assert_eq!((sh.line, sh.language.as_str(), sh.words.as_str()), (2, "sh", "run=host"));
        assert_eq!(sh.text, "ls\n");
        assert_eq!((toml.line, toml.words.as_str(), toml.text.as_str()), (6, "", "a = 1\n  b\n"));
        assert_eq!(page.at(toml), "a.md:6");
    }

    #[test]
    fn block_without_end_is_refused() {
        assert!(Page::of("a.md", "```sh\nls\n").is_err());
    }

    #[test]
    fn block_that_is_a_file_says_where() {
        let page = Page::of("a.md", "```python file=hello/main.py\n```\n").unwrap();
        assert_eq!(page.blocks[0].file(), Some("hello/main.py"));
    }
}
