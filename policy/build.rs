//! Names this policy: a hash over its sources, by which a plan that another policy made is told from one of ours
//! (`src/kept.rs`). It guards against age, not against people; both sides of the comparison lie in verified images.

mod source_hash;

fn main() -> std::io::Result<()> {
    source_hash::set("GABION_POLICY")
}
