//! Prints the manifest's JSON Schema: `cargo run -p gabion-policy --example schema > policy/manifest.schema.json`.

fn main() {
    print!("{}", policy::schema());
}
