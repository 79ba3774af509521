//! Single steps, and histories of a group of devices.

use super::*;
use proptest::prelude::*;
use service_api::DeviceId;
use service_api::updates::Check;

fn wave(percent: u8) -> Wave {
    Wave { percent, success_percent: 50, error_percent: 10, approval: false }
}

fn rollout(waves: &[Wave], open: usize, counts: Counts) -> Rollout<'_> {
    Rollout { state: State::Running, waves, open, counts }
}

fn counts(chosen: u64, complete: u64, failed: u64, rolled_back: u64) -> Counts {
    Counts { chosen, told: chosen, complete, failed, rolled_back }
}

fn device(number: u32) -> DeviceId {
    crate::secrets::sha256(&number.to_be_bytes()).parse().unwrap()
}

#[test]
fn wave_follows_when_enough_are_well_and_stops_when_too_many_are_not() {
    let waves = [wave(10), wave(100)];
    assert_eq!(rollout(&waves, 1, counts(10, 4, 0, 0)).next(), None);
    assert_eq!(rollout(&waves, 1, counts(10, 5, 0, 0)).next(), Some(Next::Open));
    assert_eq!(rollout(&waves, 1, counts(10, 5, 1, 0)).next(), Some(Next::Open));
    assert!(matches!(rollout(&waves, 1, counts(10, 8, 1, 1)).next(), Some(Next::Stop(_))));
    assert_eq!(rollout(&waves, 2, counts(100, 50, 0, 0)).next(), Some(Next::Finish));
    // A wave without a device, in a small group, holds nobody up.
    assert_eq!(rollout(&waves, 1, counts(0, 0, 0, 0)).next(), Some(Next::Open));
    let asked = [Wave { approval: true, ..wave(10) }, wave(100)];
    assert_eq!(rollout(&asked, 1, counts(10, 5, 0, 0)).next(), Some(Next::Wait));
    // Errors stop it while it waits as well.
    let waiting = Rollout { state: State::Waiting, ..rollout(&asked, 1, counts(10, 5, 0, 2)) };
    assert!(matches!(waiting.next(), Some(Next::Stop(_))));
}

#[test]
fn waves_that_do_not_rise_to_all_are_refused() {
    assert_eq!(check(&[wave(1), wave(50), wave(100)]), Ok(()));
    for bad in [
        vec![],
        vec![wave(0), wave(100)],
        vec![wave(50)],
        vec![wave(50), wave(50), wave(100)],
        vec![wave(101)],
    ] {
        assert!(check(&bad).is_err(), "{bad:?}");
    }
    assert!(check(&[Wave { error_percent: 101, ..wave(100) }]).is_err());
}

#[test]
fn device_that_went_back_is_not_sent_there_again_and_one_that_runs_it_stays() {
    let waves = [wave(100)];
    for state in [State::Running, State::Paused, State::Finished, State::Replaced, State::Stopped] {
        let rollout = Rollout { state, ..rollout(&waves, 1, Counts::default()) };
        assert!(!rollout.entitles(0, Some(Some(Stage::RolledBack))), "{state:?}");
        assert!(rollout.entitles(9999, Some(Some(Stage::Complete))), "{state:?}");
        assert_eq!(rollout.entitles(0, Some(Some(Stage::Pending))), state != State::Stopped, "{state:?}");
        let new = !matches!(state, State::Paused | State::Stopped);
        assert_eq!(rollout.entitles(0, None), new, "{state:?}");
    }
}

#[test]
fn places_are_spread_evenly_and_anew_for_each_deployment() {
    let first =
        |deployment| (0..10_000).filter(|n| place(deployment, &device(*n)) < 1000).collect::<Vec<_>>();
    let (one, two) = (first(1), first(2));
    for chosen in [&one, &two] {
        assert!((900..1100).contains(&chosen.len()), "{}", chosen.len());
    }
    let both = one.iter().filter(|device| two.contains(device)).count();
    assert!((50..150).contains(&both), "{both}");
}

#[test]
fn deployment_is_as_far_as_its_releases() {
    use Stage::{Complete, Failed, Fetching, Pending, RolledBack};
    assert_eq!(overall(&[Some(Complete), None]), None);
    assert_eq!(overall(&[Some(Complete), Some(Fetching), Some(Pending)]), Some(Pending));
    assert_eq!(overall(&[Some(Complete), Some(Complete)]), Some(Complete));
    assert_eq!(overall(&[Some(Failed), Some(RolledBack)]), Some(RolledBack));
    assert_eq!(overall(&[Some(Failed), Some(Complete)]), Some(Failed));
}

fn runs(os: &str, app: &str) -> Check {
    let check = serde_json::json!({"os": os, "root_hash": "0a".repeat(32),
        "apps": [{"app": "org.example.pump", "version": app}]});
    serde_json::from_value(check).unwrap()
}

#[test]
fn release_is_complete_where_it_or_a_newer_one_runs() {
    use Stage::{Complete, Failed, Fetching, RolledBack, Trial};
    let of = |running: &str, said| {
        let check = runs(running, running);
        let os = standing(&check, "os/pump/1.9.json", said);
        assert_eq!(os, standing(&check, "apps/one/org.example.pump/1.9.json", said));
        os
    };
    for (running, said, is) in [
        ("1.8", None, None),
        ("1.8", Some(Fetching), Some(Fetching)),
        ("1.8", Some(Complete), None),
        ("1.9", None, Some(Complete)),
        ("1.9.0", Some(Failed), Some(Complete)),
        ("1.9", Some(Trial), Some(Trial)),
        ("1.10", None, Some(Complete)),
        ("1.10", Some(Fetching), Some(Complete)),
        ("1.10", Some(Trial), Some(Complete)),
        ("1.10", Some(RolledBack), Some(RolledBack)),
    ] {
        assert_eq!(of(running, said), is, "{running} {said:?}");
    }
    // An app of a developer's, or none.
    assert_eq!(standing(&runs("1", "2-beta"), "apps/one/org.example.pump/1.json", None), None);
    assert_eq!(standing(&runs("1", "1"), "apps/one/org.example.other/1.json", None), None);
}

#[test]
fn removal_is_complete_where_the_app_is_not() {
    let check = runs("1", "1");
    assert_eq!(removal(&check, "org.example.pump"), None);
    assert_eq!(removal(&check, "org.example.other"), Some(Stage::Complete));
}

fn waves() -> impl Strategy<Value = Vec<Wave>> {
    let wave = |percent| {
        (0..=100_u8, 0..=100_u8, any::<bool>()).prop_map(move |(success_percent, error_percent, approval)| {
            Wave { percent, success_percent, error_percent, approval }
        })
    };
    proptest::collection::btree_set(1..100_u8, 0..5)
        .prop_flat_map(move |shares| shares.into_iter().chain([100]).map(wave).collect::<Vec<_>>())
}

/// What happens to a group of devices.
#[derive(Clone, Debug)]
enum Event {
    /// A device asks, and says how far it is.
    Asks(usize, Option<Stage>),
    Pauses,
    Resumes,
    Approves,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let stage = proptest::option::of(proptest::sample::select(Stage::ALL.to_vec()));
    let event = prop_oneof![
        20 => (0..40_usize, stage).prop_map(|(device, stage)| Event::Asks(device, stage)),
        1 => Just(Event::Pauses),
        1 => Just(Event::Resumes),
        1 => Just(Event::Approves),
    ];
    proptest::collection::vec(event, 0..300)
}

proptest! {
    #[test]
    fn history_keeps_what_devices_were_told_and_never_goes_back(waves in waves(), events in events(), number in 1..1000_u64) {
        prop_assert_eq!(check(&waves), Ok(()));
        let devices: Vec<DeviceId> = (0..40).map(device).collect();
        let mut told: Vec<Option<Option<Stage>>> = vec![None; devices.len()];
        let (mut state, mut open) = (State::Running, 1);
        let counts = |told: &[Option<Option<Stage>>], open: usize| {
            let now = Rollout { state: State::Running, waves: &waves, open, counts: Counts::default() };
            let chosen = devices.iter().filter(|device| place(number, device) < now.open_places()).count();
            let of = |stage| told.iter().filter(|told| **told == Some(Some(stage))).count() as u64;
            Counts {
                chosen: chosen as u64,
                told: told.iter().flatten().count() as u64,
                complete: of(Stage::Complete),
                failed: of(Stage::Failed),
                rolled_back: of(Stage::RolledBack),
            }
        };
        for event in events {
            let before = (state, open, told.clone());
            let now = Rollout { state, waves: &waves, open, counts: counts(&told, open) };
            match event {
                Event::Asks(at, stage) => {
                    let entitled = now.entitles(place(number, &devices[at]), told[at]);
                    if entitled && told[at].is_none() {
                        prop_assert!(place(number, &devices[at]) < now.open_places(), "told before its wave");
                        told[at] = Some(None);
                    }
                    if told[at].is_some() {
                        told[at] = Some(stage);
                    }
                }
                Event::Pauses if matches!(state, State::Running | State::Waiting) => state = State::Paused,
                Event::Resumes if state == State::Paused => state = State::Running,
                Event::Approves if matches!(state, State::Running | State::Waiting) && open < waves.len() => {
                    (state, open) = (State::Running, open + 1);
                }
                _ => (),
            }
            let now = Rollout { state, waves: &waves, open, counts: counts(&told, open) };
            match now.next() {
                Some(Next::Open) => open += 1,
                Some(Next::Wait) => state = State::Waiting,
                Some(Next::Stop(_)) => state = State::Stopped,
                Some(Next::Finish) => state = State::Finished,
                None => (),
            }
            prop_assert!((1..=waves.len()).contains(&open), "a wave that is not there");
            prop_assert!(open >= before.1 && open <= before.1 + 2, "waves follow one another");
            prop_assert!(before.0 != State::Stopped || state == State::Stopped, "it began again");
            // Whoever runs it is meant to run it, whatever happened.
            let now = Rollout { state, waves: &waves, open, counts: Counts::default() };
            for (at, told) in told.iter().enumerate() {
                if matches!(told, Some(Some(Stage::Complete | Stage::Trial))) {
                    prop_assert!(now.entitles(place(number, &devices[at]), *told));
                }
            }
        }
    }
}
