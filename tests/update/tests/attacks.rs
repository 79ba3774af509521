//! Every attack, from its folder.

#[path = "../attacks/asleep/mod.rs"]
mod asleep;
#[path = "../attacks/endless-data/mod.rs"]
mod endless_data;
#[path = "../attacks/expired/mod.rs"]
mod expired;
#[path = "../attacks/key-compromise/mod.rs"]
mod key_compromise;
#[path = "../attacks/lengths/mod.rs"]
mod lengths;
#[path = "../attacks/manifest-alone/mod.rs"]
mod manifest_alone;
#[path = "../attacks/mix-and-match/mod.rs"]
mod mix_and_match;
#[path = "../attacks/power-cut/mod.rs"]
mod power_cut;
#[path = "../attacks/replayed/mod.rs"]
mod replayed;
#[path = "../attacks/rollback/mod.rs"]
mod rollback;
#[path = "../attacks/slow-retrieval/mod.rs"]
mod slow_retrieval;
#[path = "../attacks/threshold/mod.rs"]
mod threshold;
#[path = "../attacks/truncated/mod.rs"]
mod truncated;
#[path = "../attacks/wrong-key-class/mod.rs"]
mod wrong_key_class;

#[test]
fn every_folder_is_run() -> anyhow::Result<()> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(here.join("tests/attacks.rs"))?;
    let page = std::fs::read_to_string(here.join("README.md"))?;
    for folder in std::fs::read_dir(here.join("attacks"))? {
        let name = folder?.file_name().to_string_lossy().into_owned();
        assert!(list.contains(&format!("../attacks/{name}/mod.rs")), "{name} is not run");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in the README");
    }
    Ok(())
}
