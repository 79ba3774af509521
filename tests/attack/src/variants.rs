//! The boxes that an attack is tried in: one with every layer, one without each, and one for each set of layers without
//! which a try is to work.

use crate::corpus::{self, Attack, Try};
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
    /// Its place among those of its attack.
    pub number: u16,
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
    let variant = |(number, lacks): (u16, BTreeSet<String>)| {
        let tail = match lacks.len() {
            0 => String::new(),
            1 => format!(".no-{}", lacks.iter().next().map(String::as_str).unwrap_or_default()),
            _ => {
                controls += 1;
                format!(".control-{controls}")
            }
        };
        Variant { id: format!("{}{tail}", attack.id), lacks, number }
    };
    (0..).zip(sets).map(variant).collect()
}

/// A port in a manifest that each box has one of its own for, since no two may serve the same.
const OWN_PORT: u16 = 20_000;

/// The attack's manifest for that variant: the same but for the id, and for the port.
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
    let own = |number: u16| format!("\"{}/tcp\"", OWN_PORT + number);
    let number = corpus::place(&attack.about.number)
        .map_or(0, |(family, count)| family as u16 * 200 + count as u16 * 20);
    Ok(attack
        .manifest
        .replace(&line(&attack.id), &line(&variant.id))
        .replace(&own(0), &own(number + variant.number)))
}

/// The variant without `layer` alone.
pub fn without<'a>(variants: &'a [Variant], layer: &str) -> Option<&'a Variant> {
    variants.iter().find(|variant| variant.lacks.len() == 1 && variant.lacks.contains(layer))
}

/// The variant in which a try is to work.
pub fn control<'a>(variants: &'a [Variant], one: &Try) -> Option<&'a Variant> {
    variants.iter().find(|variant| variant.lacks == one.control)
}
