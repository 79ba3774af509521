//! What is taken over, stage by stage.

use super::*;
use Stage::{Complete, Failed, Pending, RolledBack, Trial};

const OS: &str = "os/pump/1.9.json";
const PUMP: &str = "apps/one/org.example.pump/1.9.json";
const OTHER: &str = "apps/one/org.example.other/1.json";

fn targets(all: &[&str]) -> Vec<Text<256>> {
    all.iter().map(|target| Text::shown(target)).collect()
}

fn runs(os: &str, pump: &str) -> Check {
    let check = serde_json::json!({"os": os, "root_hash": "0a".repeat(32),
        "apps": [{"app": "org.example.pump", "version": pump}]});
    serde_json::from_value(check).unwrap()
}

fn outcome(release: &str, stage: Stage, reason: &str) -> Outcome {
    Outcome { release: Text::shown(release), stage, reason: Text::shown(reason), at_s: 0, fetched: 7 }
}

fn said(all: &[(&str, Stage)]) -> Account {
    let mut account = Account::default();
    for (release, stage) in all {
        let reason = if *stage == Complete { "" } else { "a reason" };
        account.hear([outcome(release, *stage, reason)].iter());
    }
    account
}

fn earlier(all: &[(&str, Stage)], stopped: bool) -> Earlier {
    Earlier { account: said(all), stopped }
}

/// How far a device that runs 1.8 is with the system as it is told of it: where that is the deployment's own, and where it is not.
fn taken(stage: Stage, stopped: bool) -> [Option<Stage>; 2] {
    let all = targets(&[OS]);
    let begun = Account::begin(&all, &[earlier(&[(OS, stage)], stopped)]);
    [&all[..], &[]].map(|own| begun.standing(&runs("1.8", "1.8"), &all, own)[0])
}

#[test]
fn stage_is_taken_over_as_the_device_holds_to_it() {
    assert_eq!(taken(Pending, false), [Some(Pending); 2]);
    assert_eq!(taken(Trial, true), [Some(Trial); 2]);
    assert_eq!(taken(Complete, false), [None; 2], "it is gone");
    assert_eq!(taken(Failed, false), [Some(Failed), Some(Complete)]);
    assert_eq!(taken(RolledBack, false), [Some(Failed), Some(Complete)]);
    // It was taken off that one.
    assert_eq!(taken(Pending, true), [None; 2]);
    assert_eq!(taken(Failed, true), [None; 2]);
    assert_eq!(taken(RolledBack, true), [Some(Failed), Some(Complete)]);
}

#[test]
fn release_that_went_back_and_runs_after_all_is_complete() {
    let all = targets(&[OS]);
    let begun = Account::begin(&all, &[earlier(&[(OS, RolledBack)], false)]);
    for os in ["1.9", "1.10"] {
        assert_eq!(begun.standing(&runs(os, "1"), &all, &all), [Some(Complete)], "{os}");
    }
}

#[test]
fn newest_account_of_a_release_counts_and_its_reason_stays() {
    let all = targets(&[OS, PUMP]);
    let (first, second) = (earlier(&[(OS, RolledBack)], false), earlier(&[(PUMP, Pending)], false));
    let begun = Account::begin(&all, &[second, first.clone()]);
    assert_eq!((begun.release.as_str(), begun.reason.as_str()), (PUMP, "a reason"));
    let why = "os/pump/1.9.json rolled-back before: a reason";
    let mut next = Account::begin(&all, &[Earlier { account: begun, stopped: false }]);
    next.hear([outcome(PUMP, Complete, "")].iter());
    assert_eq!((next.release.as_str(), next.reason.as_str(), next.fetched), (PUMP, why, 7));
    let begun = Account::begin(&all, &[earlier(&[(OS, Complete)], false), first]);
    assert_eq!((begun.said[OS].clone(), begun.reason.as_str()), (Said::Is(Complete), ""));
}

#[test]
fn app_that_went_back_keeps_the_others_off_until_the_device_says_something_else() {
    let all = targets(&[OTHER, PUMP, OS]);
    let mut begun = Account::begin(&all, &[earlier(&[(PUMP, RolledBack)], false)]);
    let standing = |begun: &Account, pump| begun.standing(&runs("1.8", pump), &all, &all[..1]);
    assert_eq!(standing(&begun, "1.8"), [Some(Failed), Some(Complete), None]);
    assert_eq!(standing(&begun, "1.9"), [None, Some(Complete), None]);
    begun.said.insert(PUMP.to_owned(), Said::Is(Pending));
    assert_eq!(standing(&begun, "1.8"), [None, Some(Pending), None]);
}

#[test]
fn outcome_that_is_said_again_is_still_from_before() {
    let all = targets(&[OS]);
    let mut begun = Account::begin(&all, &[earlier(&[(OS, RolledBack)], false)]);
    let known = begun.clone();
    let [fetched, back] = [outcome(OS, Pending, ""), outcome(OS, RolledBack, "a reason")];
    assert!(!begun.hear([&fetched, &back].into_iter()));
    assert_eq!(begun, known);
    assert!(begun.hear([&fetched].into_iter()));
    assert!(begun.hear([&back].into_iter()));
    assert_eq!(begun.said[OS], Said::Is(RolledBack));
}

#[test]
fn account_of_an_older_service_is_read() {
    let kept = r#"{"a":"failed","b":{"before":"rolled-back","why":"no network"}}"#;
    let read: BTreeMap<String, Said> = serde_json::from_str(kept).unwrap();
    assert_eq!(read["a"], Said::Is(Failed));
    assert_eq!(read["b"], Said::Before { before: RolledBack, why: "no network".to_owned() });
    assert_eq!(serde_json::to_string(&read).unwrap(), kept);
}
