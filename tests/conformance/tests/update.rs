//! The public conformance suite for clients of The Update Framework, against the client that devices have.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use conformance::python;

/// Tests that the suite has.
const TESTS: u32 = 113;

#[test]
#[ignore = "the suite is no package: GABION_TUF_SUITE is a clone of github.com/theupdateframework/tuf-conformance"]
fn client_passes_every_test_of_the_public_suite() -> Result<()> {
    let suite = PathBuf::from(env::var_os("GABION_TUF_SUITE").context("GABION_TUF_SUITE is not set")?);
    let mut pytest = python::with_tuf()?;
    pytest.current_dir(&suite).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tuf_conformance", "--entrypoint"]);
    let output = pytest.arg(env!("CARGO_BIN_EXE_tuf-client")).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    println!("tuf_conformance: {last}");
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // `113 passed in 26.16s`: nothing that was skipped, and nothing that was expected to fail.
    let (count, rest) = last.split_once(' ').context("no totals")?;
    ensure!(count.parse() == Ok(TESTS) && rest.starts_with("passed in "), "{last}");
    Ok(())
}
