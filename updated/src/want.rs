//! What an answer of the service means for this device: which releases it takes, which it passes over, and why. Pure.
//!
//! What an attacker controls: the whole answer, if the service is his. He can choose among what was signed for this device's
//! product and catalog, and of that only what is newer than what runs.

use std::cmp::Ordering;

use bus::update_link::{App, TOGETHER_MAX};
use service_api::updates::Answer;

use crate::settings::Settings;

/// A release's document, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The whole path.
    pub path: String,
    /// The product, or the app.
    pub of: String,
    /// Its version.
    pub version: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A newer system.
    pub os: Option<Target>,
    /// Newer apps, all or none.
    pub apps: Vec<Target>,
    /// Apps that are to go.
    pub remove: Vec<String>,
    /// What is not done, by its path, and why.
    pub refused: Vec<(String, String)>,
}

/// What runs, and what was found to be of no use.
#[derive(Clone, Copy)]
pub struct Runs<'a> {
    /// The system's version; none on a device whose disk has no slots.
    pub os: Option<&'a str>,
    /// Apps.
    pub apps: &'a [App],
    /// Releases that were tried and did not last, by their paths.
    pub failed: &'a dyn Fn(&str) -> bool,
}

/// What of `answer` is to be done.
pub fn wanted(answer: &Answer, runs: Runs<'_>, settings: &Settings) -> Wanted {
    let mut wanted = Wanted::default();
    let mut spoilt = false;
    for path in answer.releases.iter().map(|path| path.as_str()) {
        let mut refuse = |why: &str| wanted.refused.push((path.to_owned(), why.to_owned()));
        let parts: Vec<&str> = path.split('/').collect();
        let target = |of: &str, file: &str| {
            let version = file.strip_suffix(".json").filter(|version| is_version(version))?;
            Some(Target { path: path.to_owned(), of: of.to_owned(), version: version.to_owned() })
        };
        match parts.as_slice() {
            ["os", product, _] if *product != settings.product.as_str() => {
                refuse("it is for another product")
            }
            ["os", product, file] => match (target(product, file), runs.os) {
                (_, None) => refuse("this device's disk has no slots"),
                (Some(target), Some(os)) if compare(&target.version, os).is_gt() => {
                    let tried = (runs.failed)(path);
                    wanted.os = wanted.os.take().or(Some(target).filter(|_| !tried));
                }
                // It runs already, or something newer does.
                (Some(_), Some(_)) => {}
                (None, _) => refuse("it is no release's path"),
            },
            ["apps", catalog, _, _] if *catalog != settings.catalog.as_str() => {
                spoilt = true;
                refuse("it is of another catalog");
            }
            ["apps", _, app, file] => match target(app, file) {
                Some(target) => {
                    let known = runs.apps.iter().find(|known| known.id == *app);
                    if known.is_none_or(|known| compare(&target.version, &known.version).is_gt()) {
                        spoilt |=
                            (runs.failed)(path) || wanted.apps.iter().any(|other| other.of == target.of);
                        wanted.apps.push(target);
                    }
                }
                None => {
                    spoilt = true;
                    refuse("it is no release's path");
                }
            },
            _ => {
                spoilt = true;
                refuse("it is no release's path");
            }
        }
    }
    if wanted.apps.len() > TOGETHER_MAX {
        let why = format!("more than {TOGETHER_MAX} apps can not be installed at once");
        wanted.refused.extend(wanted.apps.drain(..).map(|target| (target.path, why.clone())));
    }
    // All of them or none.
    if spoilt {
        wanted.apps.clear();
    }
    let goes = |id: &&str| runs.apps.iter().any(|app| app.id == **id && app.installed);
    wanted.remove = answer.remove.iter().map(|id| id.as_str()).filter(goes).map(str::to_owned).collect();
    wanted
}

/// Numbers with dots between them.
pub fn is_version(text: &str) -> bool {
    let part = |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 64 && text.split('.').all(part)
}

/// The order of versions: "1.4" is "1.4.0". What is no version is older than all that are.
pub fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| {
        let mut numbers: Vec<u32> = text.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        is_version(text).then_some(numbers)
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_api::{Few, Text};

    fn answer(releases: &[&str], remove: &[&str]) -> Answer {
        let texts = |list: &[&str]| list.iter().map(|text| Text::<256>::shown(text)).collect::<Vec<_>>();
        let remove = remove.iter().map(|text| Text::<128>::shown(text)).collect();
        Answer {
            generation: 1,
            order: None,
            repository: Text::shown("repository"),
            releases: Few::new(texts(releases)).unwrap(),
            remove: Few::new(remove).unwrap(),
            windows: Few::default(),
            check_after_s: 60,
            permit: Text::default(),
        }
    }

    fn settings() -> Settings {
        "product = \"box\"\ncatalog = \"acme\"\n".parse().unwrap()
    }

    fn app(id: &str, version: &str, installed: bool) -> App {
        App { id: id.to_owned(), version: version.to_owned(), installed, ..App::default() }
    }

    fn of(answer: &Answer, failed: &[&str]) -> Wanted {
        let apps = [app("com.example.a", "1.9", true), app("com.example.b", "2.0", false)];
        let failed = |path: &str| failed.contains(&path);
        wanted(answer, Runs { os: Some("1.9.0"), apps: &apps, failed: &failed }, &settings())
    }

    #[test]
    fn newer_releases_are_wanted_and_older_or_the_same_are_not() {
        let all = of(
            &answer(
                &["os/box/1.10.json", "apps/acme/com.example.a/1.10.json", "apps/acme/com.example.c/1.json"],
                &[],
            ),
            &[],
        );
        assert_eq!(all.os.unwrap().version, "1.10");
        assert_eq!(
            all.apps.iter().map(|app| app.of.as_str()).collect::<Vec<_>>(),
            ["com.example.a", "com.example.c"]
        );
        let none = of(
            &answer(
                &["os/box/1.9.json", "apps/acme/com.example.a/1.8.json", "apps/acme/com.example.b/2.json"],
                &[],
            ),
            &[],
        );
        assert_eq!(none, Wanted::default());
        assert!(of(&answer(&["os/box/1.8.json"], &[]), &[]).os.is_none());
    }

    #[test]
    fn releases_of_another_product_or_catalog_are_refused_whatever_the_service_says() {
        let none = of(
            &answer(
                &["os/other/9.json", "apps/rival/com.example.a/9.json", "apps/acme/com.example.c/1.json"],
                &[],
            ),
            &[],
        );
        assert!(none.os.is_none() && none.apps.is_empty());
        assert_eq!(none.refused.len(), 2);
    }

    #[test]
    fn release_that_did_not_last_is_not_wanted_again_nor_are_those_with_it() {
        let both = ["os/box/2.json", "apps/acme/com.example.a/2.json", "apps/acme/com.example.c/1.json"];
        let left = of(&answer(&both, &[]), &["os/box/2.json", "apps/acme/com.example.c/1.json"]);
        assert!(left.os.is_none() && left.apps.is_empty());
    }

    #[test]
    fn only_what_came_by_an_update_goes() {
        let gone = of(&answer(&[], &["com.example.a", "com.example.b", "com.example.c"]), &[]);
        assert_eq!(gone.remove, ["com.example.a"]);
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for path in ["os/box", "os/box/x.json", "os/box/1.2", "apps/acme/1.json", "../os/box/9.json", ""] {
            let none = of(&answer(&[path], &[]), &[]);
            assert!(none.os.is_none() && none.apps.is_empty() && none.refused.len() == 1, "{path}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        for (a, b, order) in [
            ("1.10", "1.9", Ordering::Greater),
            ("1.4", "1.4.0", Ordering::Equal),
            ("2", "10", Ordering::Less),
            ("1.0-beta", "0.1", Ordering::Less),
            ("0", "0.0.1", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
        }
    }
}
