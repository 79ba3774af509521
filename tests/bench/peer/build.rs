//! Makes the module of the bench's interface.

use std::path::Path;
use std::{env, fs};

const FILE: &str = "org.gabion.Bench.varlink";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={FILE}");
    let made = bus_codegen::module(&fs::read_to_string(FILE)?).map_err(|e| format!("{FILE}: {e}"))?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bench.rs"), made)?;
    Ok(())
}
