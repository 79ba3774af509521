//! The static programs of the bench, compiled when it runs: those in C, and the bench itself as the device's own
//! programs are built, since a fork copies the page tables of whoever launches, and PID 1 is static and small.
//!
//! C, because the bare program needs raw system calls between clone and exec, and `unsafe` stays in `sys`; static,
//! because a dynamic loader would be most of what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use image::binaries;
use image::paths::Tree;

/// Paths of the compiled programs.
pub(crate) struct Programs {
    /// Does the kernel operations of a launch and nothing else.
    pub(crate) bare: PathBuf,
    /// Returns 0.
    pub(crate) exit: PathBuf,
    /// Says when its `main` ran, and stays.
    pub(crate) stamp: PathBuf,
    /// Times syscalls.
    pub(crate) syscalls: PathBuf,
    /// This program again, static: see [`crate::keeper`].
    pub(crate) keeper: PathBuf,
}

impl Programs {
    /// Compiles all of them into `dir`.
    pub(crate) fn compile(dir: &Path) -> Result<Programs> {
        Ok(Programs {
            bare: compile(dir, "bare", include_str!("bare.c"))?,
            exit: compile(dir, "exit", include_str!("exit.c"))?,
            stamp: compile(dir, "stamp", include_str!("stamp.c"))?,
            syscalls: compile(dir, "syscalls", include_str!("syscalls.c"))?,
            keeper: binaries::build(&Tree::here()?, &[&["gabion-bench"]])?.path("gabion-bench"),
        })
    }
}

pub(crate) fn compile(dir: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let program = dir.join(name);
    let text = program.with_extension("c");
    fs::write(&text, source)?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-s", "-Wall", "-o"]).arg(&program).arg(&text);
    let status = cc.status().context("no C compiler: make packages")?;
    ensure!(status.success(), "cc failed on {name}.c");
    Ok(program)
}
