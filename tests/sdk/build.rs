//! Makes the module of the example's interface, as an app makes those of its own.

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "../../sdk/examples/com.example.Temperature.varlink";
    println!("cargo::rerun-if-changed={file}");
    let made = bus_codegen::module(&fs::read_to_string(file)?)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("temperature.rs"), made)?;
    Ok(())
}
