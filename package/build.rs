//! Names this checker: a hash over its sources, by which the word of another one on an image is told from ours
//! (`src/kept.rs`). It guards against age, not against people; both sides of the comparison lie in verified images.

#[path = "../policy/source_hash.rs"]
mod source_hash;

fn main() -> std::io::Result<()> {
    source_hash::set("GABION_CHECKER")
}
