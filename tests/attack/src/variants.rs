//! The boxes that an attack is tried in: one with every layer, one without each, and one for each set of layers without
//! which a try is to work.

use crate::corpus::{Attack, Try};
use crate::layers::LAYERS;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// One box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its app's id, which no other has.
    pub id: String,
    /// Layers it lacks.
    pub lacks: BTreeSet<String>,
}

/// All of an attack, the one with every layer first.
pub fn of(attack: &Attack) -> Vec<Variant> {
    let mut sets: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
    sets.extend(LAYERS.iter().map(|(layer, _)| BTreeSet::from([(*layer).to_owned()])));
    for one in &attack.about.tries {
        if !sets.contains(&one.control) {
            sets.push(one.control.clone());
        }
    }
    let mut controls = 0;
    let variant = |lacks: BTreeSet<String>| {
        let tail = match lacks.len() {
            0 => String::new(),
            1 => format!(".no-{}", lacks.iter().next().map(String::as_str).unwrap_or_default()),
            _ => {
                controls += 1;
                format!(".control-{controls}")
            }
        };
        Variant { id: format!("{}{tail}", attack.id), lacks }
    };
    sets.into_iter().map(variant).collect()
}

/// The attack's manifest for that variant: the same but for the id.
///
/// # Errors
/// A manifest that does not write its id as expected.
pub fn manifest(attack: &Attack, variant: &Variant) -> Result<String> {
    let line = |id: &str| format!("id = \"{id}\"\n");
    ensure!(
        attack.manifest.matches(&line(&attack.id)).count() == 1,
        "{}: its manifest does not say `{}` once",
        attack.folder.display(),
        line(&attack.id).trim()
    );
    Ok(attack.manifest.replace(&line(&attack.id), &line(&variant.id)))
}

/// The variant without `layer` alone.
pub fn without<'a>(variants: &'a [Variant], layer: &str) -> Option<&'a Variant> {
    variants.iter().find(|variant| variant.lacks.len() == 1 && variant.lacks.contains(layer))
}

/// The variant in which a try is to work.
pub fn control<'a>(variants: &'a [Variant], one: &Try) -> Option<&'a Variant> {
    variants.iter().find(|variant| variant.lacks == one.control)
}
