//! The apps of `sdk/examples` are what `gabion build` and `gabion run` take.

use packing::recipe::Recipe;
use sdk_test::tree;

const APPS: [&str; 4] = ["c/sensor", "c/thermostat", "python/thermostat", "rust/thermostat"];

#[test]
fn examples_have_a_manifest_and_a_recipe_that_are_accepted() {
    for app in APPS {
        let folder = tree("sdk/examples").join(app);
        let text = std::fs::read_to_string(folder.join("manifest.toml")).unwrap();
        let checked = policy::check(&text, &policy::Board::default());
        if let Err(problems) = checked {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{app}: {}", problems.join("\n"));
        }
        let recipe = Recipe::parse(&std::fs::read_to_string(folder.join("app.list")).unwrap()).unwrap();
        // `gabion build` builds no program of this tree by its name.
        assert!(recipe.programs.is_empty(), "{app}");
        for (from, _) in &recipe.files {
            assert!(from.starts_with("build/") || folder.join(from).is_file(), "{app}: {from}");
        }
        let program = text.split("exec = [").nth(1).unwrap().split('"').nth(1).unwrap();
        let made = recipe.files.iter().any(|(_, to)| to == program);
        assert!(made, "{app}: {program}");
    }
}

#[test]
fn thermostats_ask_for_the_same_but_for_who_speaks_tls() {
    let uses = |app: &str| {
        let text = std::fs::read_to_string(tree("sdk/examples").join(app).join("manifest.toml")).unwrap();
        let from = text.find("[uses]").unwrap();
        text[from..].to_owned()
    };
    assert_eq!(uses("c/thermostat"), uses("rust/thermostat"));
    assert_eq!(uses("c/thermostat"), uses("python/thermostat"));
}
