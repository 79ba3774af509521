//! `docs/defence-in-depth.md`: the layers, and which attacks the rest still stops when one of them is missing.

use crate::corpus::{Attack, Elsewhere, Try, place};
use crate::layers::{LAYERS, OTHERS};
use crate::scene::Seen;
use crate::variants::{self, Variant};
use crate::verdict::works;
use std::fmt::Write;

const HEAD: &str = "# Defence in depth: each layer taken away alone

An attack that only one layer stops is one mistake away from working. So every attack of `tests/attack/corpus` is tried
on a device in QEMU with all layers of its box, and once more without each of them, in a build for tests that no release
can be made with (`sys/src/weak.rs`). This page is written by that run, and the test fails when it is not what was seen:

```sh norun: it is the test that writes this page
GABION_WRITE=1 cargo test -p gabion-attack-test
```

";

const HOW: &str = "
## How to read the tables

A row is one try of an attack. *Refused by* is the layer that answers when all are there. A column is a layer that was
taken away: a dot means that the try is refused as before; names are the layers that stop it then, all of which must be
gone too for it to work; an error is what it was told where no control can show which layer says so; **works** means that
nothing else stops it, and the notes below the table say why there is no second layer. In the controls, which leave out
the layers in the last column, each try must work, so that a test that could never succeed is noticed.
";

/// The page.
pub fn write(attacks: &[Attack], elsewhere: &[Elsewhere], seen: &Seen) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## The layers\n\n| layer | what it is |\n|---|---|\n");
    for (layer, what) in LAYERS.iter().chain(&OTHERS) {
        let _ = writeln!(page, "| `{layer}` | {what} |");
    }
    page.push_str(HOW);
    for attack in attacks {
        one_attack(&mut page, attack, seen);
    }
    lists(&mut page, elsewhere);
    page
}

fn one_attack(page: &mut String, attack: &Attack, seen: &Seen) {
    let about = &attack.about;
    let variants = variants::of(attack);
    let _ = writeln!(
        page,
        "\n## {}: {}\n\nFrom: {}.\n",
        about.number,
        about.what,
        about.source.trim_end_matches('.')
    );
    let layers: Vec<String> = LAYERS.iter().map(|(layer, _)| format!("`{layer}`")).collect();
    let _ = writeln!(page, "| try | refused by | {} | control without |", layers.join(" | "));
    let _ = writeln!(page, "|---|---|{}---|", "---|".repeat(LAYERS.len()));
    for one in &about.tries {
        let cells: Vec<String> =
            LAYERS.iter().map(|(layer, _)| cell(attack, &variants, one, layer, seen)).collect();
        let control = one.control.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{}` | {} | {} | {control} |", one.name, one.layer, cells.join(" | "));
    }
    let notes = about.tries.iter().flat_map(|one| {
        let alone = one.alone.as_ref().map(|why| format!("* `{}` has one layer: {why}.\n", one.name));
        let quiet = one.unreported.as_ref().map(|why| format!("* `{}` is in no event: {why}.\n", one.name));
        let never = one.uncontrolled.as_ref().map(|why| format!("* `{}` has no control: {why}.\n", one.name));
        alone.into_iter().chain(quiet).chain(never)
    });
    let notes: String = notes.collect();
    if !notes.is_empty() {
        let _ = write!(page, "\n{notes}");
    }
}

fn cell(attack: &Attack, variants: &[Variant], one: &Try, layer: &str, seen: &Seen) -> String {
    let Some(variant) = variants::without(variants, layer) else { return "?".to_owned() };
    let answer = seen.answer(&variant.id, &one.name);
    let others: Vec<&str> = one.control.iter().map(String::as_str).filter(|other| *other != layer).collect();
    match () {
        () if works(answer) => "**works**".to_owned(),
        () if layer != one.layer && answer == seen.answer(&attack.id, &one.name) => "·".to_owned(),
        // Without all of `control` it works, without this one alone it does not: so it is the others that stop it.
        () if one.control.contains(layer) => others.join(", "),
        () => format!("`{}`", answer.split_once(' ').map_or(answer, |(_, what)| what)),
    }
}

fn lists(page: &mut String, elsewhere: &[Elsewhere]) {
    let mut all: Vec<&Elsewhere> = elsewhere.iter().collect();
    all.sort_by_key(|attack| place(&attack.number));
    page.push_str("\n## Shown by other tests\n\n| attack | what | test |\n|---|---|---|\n");
    for attack in &all {
        if let Some([file, test]) = &attack.test {
            let _ = writeln!(page, "| {} | {} | `{file}`, `{test}` |", attack.number, attack.what);
        }
    }
    page.push_str("\n## Cannot be tried yet\n\n| attack | what | waits for |\n|---|---|---|\n");
    for attack in &all {
        if let Some(why) = &attack.pending {
            let _ = writeln!(page, "| {} | {} | {why} |", attack.number, attack.what);
        }
    }
}
