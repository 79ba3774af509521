//! The commands of a page, in order, in one shell: what one block sets or enters is so for the next.
//!
//! It is bash as a reader has it, with a home and a folder of its own, and `gabion` in PATH. What each block prints goes
//! to a file, standard error too, so that what a block leaves running can not hold the test up. All that was started ends
//! with the shell.

use crate::mark::{End, Mark, Place};
use crate::output;
use crate::page::{Block, Page};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Only a block that never ends waits so long.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two looks at what is printed.
const PAUSE: Duration = Duration::from_millis(10);
/// What the shell prints when a block is done, before the exit code; no program prints it.
const DONE: char = '\u{1e}';

/// What is in PATH besides what is there anyway.
#[derive(Clone, Debug)]
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// These programs, each by its own name.
    pub fn new(programs: Vec<PathBuf>) -> Self {
        Self(programs)
    }

    /// Puts them into a folder, with a `sudo` for who is root already.
    fn lay_out(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for program in &self.0 {
            symlink(program, folder.join(program.file_name().context("a program has a name")?))?;
        }
        // A link: a program that was just written can not be run while somebody forks who has it open.
        Ok(symlink("/usr/bin/env", folder.join("sudo"))?)
    }
}

/// A block that was run, and how long that took.
#[derive(Debug)]
pub struct Ran {
    /// What it printed.
    pub printed: String,
    /// How long it took.
    pub took: Duration,
}

/// A shell that waits for the next block.
#[derive(Debug)]
pub struct Shell {
    place: TempDir,
    bash: Child,
    /// What the page printed so far.
    seen: String,
    blocks: usize,
}

impl Shell {
    /// Starts one with these programs and variables.
    ///
    /// # Errors
    /// There is no bash.
    pub fn start(programs: &Programs, variables: &[(&str, &Path)]) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("gabion-docs-").tempdir()?;
        let at = |name: &str| place.path().join(name);
        programs.lay_out(&at("bin"))?;
        fs::create_dir_all(at("work"))?;
        let home = home(&at("home"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        // A Ctrl-C is heard, though we may have been started where none is, as what a shell runs behind `&`.
        let mut bash = Command::new("env");
        bash.args(["--default-signal=INT,QUIT", "bash", "--noprofile", "--norc", "-s"]);
        bash.current_dir(at("work")).process_group(0);
        bash.env("PATH", format!("{}:{path}", at("bin").display()));
        for variable in
            ["GABION_DEVICE", "XDG_CONFIG_HOME", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"]
        {
            bash.env_remove(variable);
        }
        // Cargo sets them for a test, and they would reach the cargo of a reader's project.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"))
        {
            bash.env_remove(name);
        }
        // On a machine that is busy, what comes soon comes late.
        bash.env("GABION_WAIT", "60").env("GABION_TIMEOUT", "180");
        bash.envs(home).envs(variables.iter().copied());
        let (out, err) = (File::create(at("out"))?, File::create(at("err"))?);
        bash.stdin(Stdio::piped()).stdout(out).stderr(err);
        Ok(Self { bash: bash.spawn().context("bash")?, place, seen: String::new(), blocks: 0 })
    }

    /// The folder that the page starts in.
    pub fn folder(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// The home of its reader.
    pub fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Runs a block until it ends as it should.
    ///
    /// # Errors
    /// It ends otherwise, or prints something else than `said`; with what it printed.
    pub fn run(&mut self, text: &str, end: End, said: Option<&str>) -> Result<Ran> {
        let text = self.filled(text);
        let began = Instant::now();
        let before = children(self.bash.id());
        self.blocks += 1;
        let out = self.place.path().join(format!("out-{}", self.blocks));
        // A file, so that a block that is no whole command ends as one that is wrong.
        let file = self.place.path().join(format!("block-{}", self.blocks));
        fs::write(&file, text)?;
        let strict = if end == End::Well { "set -e" } else { "set +e" };
        let script = format!(
            "{strict}; . {file} </dev/null >{out} 2>&1; set -- $?; set +e; printf '{DONE}%d\\n' $1\n",
            file = file.display(),
            out = out.display()
        );
        let done = self.done();
        self.bash
            .stdin
            .as_mut()
            .context("a pipe")?
            .write_all(script.as_bytes())
            .context("the shell has ended")?;
        let code = loop {
            let printed = || {
                fs::read(&out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
            };
            if let Some(code) = self.code(done)? {
                break Ok(code);
            }
            if let Some(status) = self.bash.try_wait()? {
                break Err(anyhow::anyhow!("the shell ended, {status}"));
            }
            if end == End::Interrupted && said.is_none_or(|said| output::begins(said, &printed())) {
                for child in children(self.bash.id()).difference(&before) {
                    // It may have ended meanwhile.
                    let _ = kill(Pid::from_raw(*child), Signal::SIGINT);
                }
                std::thread::sleep(10 * PAUSE);
            }
            if began.elapsed() > PATIENCE {
                break Err(anyhow::anyhow!("it did not end"));
            }
            std::thread::sleep(PAUSE);
        };
        let took = began.elapsed();
        let printed = String::from_utf8_lossy(&fs::read(&out).unwrap_or_default()).into_owned();
        let shell = || fs::read_to_string(self.place.path().join("err")).unwrap_or_default();
        let ended = match code {
            Err(error) => Err(error),
            Ok(code) => match end {
                End::Well if code != 0 => Err(anyhow::anyhow!("exit code {code}")),
                End::Exit(wanted) if code != wanted => {
                    Err(anyhow::anyhow!("exit code {code} and not {wanted}"))
                }
                _ => Ok(()),
            },
        };
        if let Err(error) = ended {
            bail!("{error}; it printed\n{printed}{}", shell());
        }
        self.seen.push_str(&printed);
        let fits = if end == End::Interrupted { output::begins } else { output::fits };
        if let Some(said) = said {
            ensure!(fits(said, &printed), "it should print\n{said}and printed\n{printed}");
        }
        Ok(Ran { printed, took })
    }

    /// How many blocks the shell has said to be done.
    fn done(&self) -> usize {
        fs::read_to_string(self.place.path().join("out")).unwrap_or_default().matches(DONE).count()
    }

    /// The exit code of the block after `done` others.
    fn code(&self, done: usize) -> Result<Option<i32>> {
        let text = fs::read_to_string(self.place.path().join("out"))?;
        let Some((code, _)) = text.split(DONE).nth(done + 1).and_then(|rest| rest.split_once('\n')) else {
            return Ok(None);
        };
        Ok(Some(code.parse().with_context(|| format!("an exit code: {code}"))?))
    }

    /// With what stands for something that was printed before.
    fn filled(&self, text: &str) -> String {
        let words = self.seen.split(|c: char| !c.is_ascii_alphanumeric());
        let device = words.rev().find(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = self.seen.split_whitespace().last();
        let mut text = text.to_owned();
        for (name, value) in [("DEVICE", device), ("CODE", code)] {
            if let Some(value) = value {
                text = replaced(&text, name, value);
            }
        }
        text
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.bash.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.bash.wait();
    }
}

/// `text` with `value` wherever `name` is a word of its own.
fn replaced(text: &str, name: &str, value: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, behind) = (&rest[..at], &rest[at + name.len()..]);
        let alone = !before.ends_with(part) && !behind.starts_with(part);
        out.push_str(before);
        out.push_str(if alone { value } else { name });
        rest = behind;
    }
    out + rest
}

/// A home of its own, with the real one's compiler and packages; the variables that make it one.
fn home(home: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    fs::create_dir_all(home)?;
    let real = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    let known = |name: &str, folder: &str| std::env::var_os(name).map_or(real.join(folder), PathBuf::from);
    let cache = known("GABION_CACHE", ".cache/gabion");
    fs::create_dir_all(home.join(".cache"))?;
    symlink(&cache, home.join(".cache/gabion"))?;
    Ok(vec![
        ("HOME", home.to_owned()),
        ("CARGO_HOME", known("CARGO_HOME", ".cargo")),
        ("RUSTUP_HOME", known("RUSTUP_HOME", ".rustup")),
        ("GABION_CACHE", cache),
    ])
}

/// The children of a process.
fn children(pid: u32) -> BTreeSet<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A block that is run: where, how it ends, and the block that says what it prints.
pub type Shown<'a> = (&'a Block, Place, End, Option<&'a Block>);

/// The blocks of a page that are run.
///
/// # Errors
/// A mark that can not be read.
pub fn commands(page: &Page) -> Result<Vec<Shown<'_>>> {
    let mut found = Vec::new();
    for (at, block) in page.blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        if let Mark::Run(place, end) = Mark::read(&block.words).with_context(|| page.at(block))? {
            let said =
                page.blocks.get(at + 1).filter(|next| next.language == "text" && next.file().is_none());
            found.push((block, place, end, said));
        }
    }
    Ok(found)
}

/// Runs a page in a shell: writes its files, and runs its commands; `boot` does what a block for it stands for.
///
/// # Errors
/// The first block that does not do what it says.
pub fn run(
    page: &Page,
    shell: &mut Shell,
    boot: &mut dyn FnMut(&mut Shell, &Block) -> Result<()>,
) -> Result<Vec<Ran>> {
    let commands = commands(page)?;
    let mut ran = Vec::new();
    for block in &page.blocks {
        if let Some(file) = block.file() {
            let file = shell.folder().join(file);
            fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            fs::write(&file, &block.text).with_context(|| page.at(block))?;
        }
        let Some((_, place, end, said)) = commands.iter().find(|(known, ..)| known.line == block.line) else {
            continue;
        };
        if *place == Place::Boot {
            boot(shell, block).with_context(|| page.at(block))?;
            continue;
        }
        let said = said.map(|said| said.text.as_str());
        ran.push(shell.run(&block.text, *end, said).with_context(|| page.at(block))?);
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Result<Vec<Ran>> {
        let mut shell = Shell::start(&Programs::new(Vec::new()), &[])?;
        run(&Page::of("a.md", text)?, &mut shell, &mut |_, _| Ok(()))
    }

    #[test]
    fn blocks_of_a_page_share_a_shell() {
        let ran = page(
            "```sh run=host\nmkdir a && cd a\nb=1 # why\n```\n```text file=a/c\nhello\n```\n\
             ```sh run=host\necho $b; cat c >&2; basename $PWD\nsudo true\n```\n```text\n1\nhello\na\n```\n",
        );
        assert!(ran.is_ok(), "{ran:?}");
    }

    #[test]
    fn block_that_fails_or_prints_something_else_is_told() {
        for (text, why) in [
            ("```sh run=host\nfalse\ntrue\n```\n", "the shell ended"),
            ("```sh run=host\necho a\n```\n```text\nb\n```\n", "it should print\nb\nand printed\na\n"),
            ("```sh run=host exit=1\ntrue\n```\n", "exit code 0 and not 1"),
            ("```sh run=host\ncat <<\"\n```\n", "a.md:1"),
        ] {
            let error = format!("{:#}", page(text).unwrap_err());
            assert!(error.contains(why) && error.contains("a.md:1"), "{text}: {error}");
        }
    }

    #[test]
    fn block_ends_as_its_mark_says() {
        page("```sh run=host exit=3\nfalse\nsh -c 'exit 3'\n```\n```sh run=host\ntrue\n```\n").unwrap();
        page(
            "```sh run=host ctrl-c\necho up; sleep 1000\n```\n```text\nup\n```\n```sh run=host\ntrue\n```\n",
        )
        .unwrap();
    }

    #[test]
    fn words_in_capitals_are_what_was_printed() {
        let digits = "0123456789abcdef".repeat(4);
        let text = format!(
            "```sh run=host\necho device={digits} code=7 XYZ\n```\n```sh run=host\necho CODE CODES $CODE DEVICE\n```\n\
             ```text\nXYZ CODES {digits}\n```\n"
        );
        page(&text).unwrap();
    }
}
