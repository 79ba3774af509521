//! What was to be seen against what was seen.

use crate::corpus::{Attack, Try};
use crate::layers::LAYERS;
use crate::scene::Seen;
use crate::variants::{self, Variant};

/// Everything that is not as it should be.
pub fn problems(attacks: &[Attack], seen: &Seen) -> Vec<String> {
    let mut all = Vec::new();
    for attack in attacks {
        let variants = variants::of(attack);
        for one in &attack.about.tries {
            let found = of_try(attack, &variants, one, seen);
            all.extend(found.into_iter().map(|what| format!("{} {}: {what}", attack.about.number, one.name)));
        }
    }
    all
}

fn of_try(attack: &Attack, variants: &[Variant], one: &Try, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    let said = seen.answer(&attack.id, &one.name);
    if !said.starts_with(&one.answer) {
        problems.push(format!("with every layer it said `{said}`, not `{}`", one.answer));
    }
    if let Some(report) = &one.report
        && !is_reported(seen.events(&attack.id), report)
    {
        let denied = seen.events(&attack.id).join("\n  ");
        problems.push(format!("no event has `{report}`; those of its box:\n  {denied}"));
    }
    if let Some(call) = one.report.as_deref().and_then(|report| report.strip_prefix("call="))
        && !seen.audit(&attack.id).iter().any(|line| line.contains(call))
    {
        problems.push(format!("the audit log has no `{call}` of its box"));
    }
    let control = variants::control(variants, one).map(|variant| seen.answer(&variant.id, &one.name));
    if one.uncontrolled.is_none() && !control.is_some_and(works) {
        let without = one.control.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        problems.push(format!("its control, without {without}, said `{}`", control.unwrap_or_default()));
    }
    let mut through = Vec::new();
    for (layer, _) in LAYERS {
        let said =
            variants::without(variants, layer).map_or("", |variant| seen.answer(&variant.id, &one.name));
        if works(said) {
            through.push(layer);
        } else if !stopped(said) {
            problems.push(format!("without {layer} it said `{said}`"));
        }
    }
    match (&one.alone, through.is_empty()) {
        (None, false) => problems.push(format!(
            "it works without {}; find a second layer, or say in `alone` why there is none",
            through.join(" or ")
        )),
        (Some(_), true) => problems.push("it says `alone`, but no single layer lets it through".to_owned()),
        _ => {}
    }
    problems
}

/// Whether the device told of it, on a line that contains `report`.
fn is_reported(events: &[String], report: &str) -> bool {
    events.iter().any(|event| event.contains(report))
}

/// Whether an answer says that the try worked.
pub fn works(answer: &str) -> bool {
    answer.starts_with("worked")
}

/// Whether an answer says that it was stopped.
pub fn stopped(answer: &str) -> bool {
    ["refused ", "refused: ", "killed "].iter().any(|word| answer.starts_with(word))
}
