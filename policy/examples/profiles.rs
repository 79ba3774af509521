//! Prints the page of the seccomp profiles: `cargo run -p gabion-policy --example profiles > docs/profiles.md`.

fn main() {
    print!("{}", policy::profiles_page());
}
