//! The log of launched packages, and the register that it is the story of.
//!
//! Invariants: each record is kept before the TPM is extended by it, and the TPM is extended by each once: after a crash the
//! register is either what the log replays to, or lacks its last record, which is made up for. Anything else is somebody's
//! doing, and then nothing is measured any more, which launches nothing. An installation that is in the log already is not
//! measured again: it was launched from the same image and the same manifest since the device booted.
//!
//! Pure but for the register.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use evidence::Digest;
use evidence::packages::{self, LogError, Package, replay};

/// The register of packages.
pub trait Register {
    /// What it holds.
    ///
    /// # Errors
    /// The TPM does not say.
    fn value(&mut self) -> Result<Digest, tpm::Error>;
    /// Extends it.
    ///
    /// # Errors
    /// The TPM does not do it.
    fn extend(&mut self, by: &Digest) -> Result<(), tpm::Error>;
}

/// Why nothing can be measured.
#[derive(Debug)]
pub enum MeasureError {
    /// The log is no log.
    Log(LogError),
    /// The register is not what the log replays to.
    Register,
    /// The TPM.
    Tpm(tpm::Error),
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(e) => write!(f, "{e}"),
            Self::Register => {
                f.write_str("PCR 13 is not what the package log says: somebody else extended it")
            }
            Self::Tpm(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for MeasureError {}

impl From<tpm::Error> for MeasureError {
    fn from(error: tpm::Error) -> Self {
        Self::Tpm(error)
    }
}

impl From<LogError> for MeasureError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The box with this uid may be launched.
    Measured(u32),
    /// This record is to be kept; [`Packages::kept`] follows.
    Keep(String),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Packages {
    log: Vec<Package>,
    /// The boxes of it, whose apps may have certificates.
    measured: BTreeSet<u32>,
    /// What waits to be kept, the first one under way.
    waiting: VecDeque<(u32, Package)>,
}

impl Packages {
    /// Takes up the log as it was kept, and makes up for what a crash left out.
    ///
    /// # Errors
    /// See [`MeasureError`].
    pub fn take_up(log: &[u8], register: &mut impl Register) -> Result<Self, MeasureError> {
        let log = packages::read(log)?;
        let value = register.value()?;
        if replay(&log)? != value {
            let (last, before) = log.split_last().ok_or(MeasureError::Register)?;
            if replay(before)? != value {
                return Err(MeasureError::Register);
            }
            register.extend(&last.digest()?)?;
        }
        Ok(Self { log, measured: BTreeSet::new(), waiting: VecDeque::new() })
    }

    /// An app is to be launched.
    ///
    /// # Errors
    /// Its id or version can't be written.
    pub fn wanted(&mut self, uid: u32, package: Package) -> Result<Option<Next>, MeasureError> {
        // The box may be of another package now, of the same app.
        self.measured.remove(&uid);
        if self.log.contains(&package) {
            self.measured.insert(uid);
            return Ok(Some(Next::Measured(uid)));
        }
        package.digest()?;
        if self.waiting.iter().any(|(_, waits)| *waits == package) {
            return Ok(None);
        }
        self.waiting.push_back((uid, package));
        if self.waiting.len() > 1 { Ok(None) } else { self.next() }
    }

    /// The record that was given out is kept.
    ///
    /// # Errors
    /// The TPM can't be extended.
    pub fn kept(&mut self, register: &mut impl Register) -> Result<Vec<Next>, MeasureError> {
        let Some((uid, package)) = self.waiting.pop_front() else { return Ok(Vec::new()) };
        register.extend(&package.digest()?)?;
        self.log.push(package);
        self.measured.insert(uid);
        let mut all = vec![Next::Measured(uid)];
        all.extend(self.next()?);
        Ok(all)
    }

    fn next(&mut self) -> Result<Option<Next>, MeasureError> {
        let Some((_, package)) = self.waiting.front() else { return Ok(None) };
        Ok(Some(Next::Keep(package.record(self.log.len())?)))
    }

    /// Whether what is installed in this box is in the log.
    pub fn is_measured(&self, uid: u32) -> bool {
        self.measured.contains(&uid)
    }

    /// The log as bytes, for the service.
    pub fn text(&self) -> Vec<u8> {
        let lines = self.log.iter().enumerate().filter_map(|(number, package)| package.record(number).ok());
        lines.flat_map(|line| [line.into_bytes(), vec![b'\n']].concat()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A register in memory.
    #[derive(Clone)]
    struct Memory(Digest);

    impl Register for Memory {
        fn value(&mut self) -> Result<Digest, tpm::Error> {
            Ok(self.0)
        }

        fn extend(&mut self, by: &Digest) -> Result<(), tpm::Error> {
            self.0 = self.0.extended(by);
            Ok(())
        }
    }

    fn package(number: u8) -> Package {
        Package {
            app: format!("com.example.a{number}"),
            manifest: Digest::of(&[number]),
            root: None,
            version: "1.0.0".to_owned(),
        }
    }

    /// What the world does.
    #[derive(Clone, Debug)]
    enum Step {
        Wanted(u8),
        /// sandboxd keeps the record and says so.
        Kept,
        /// sandboxd keeps the record, and attestd dies before or after it has extended the TPM.
        Crash {
            extended: bool,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..6).prop_map(Step::Wanted),
            4 => Just(Step::Kept),
            1 => any::<bool>().prop_map(|extended| Step::Crash { extended }),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn register_is_what_the_log_replays_to_whenever_it_crashes(steps in steps()) {
            let (mut register, mut file) = (Memory(Digest::ZERO), String::new());
            let mut all = Packages::take_up(b"", &mut register).unwrap();
            let mut under_way: Option<String> = None;
            for step in steps {
                match step {
                    Step::Wanted(number) => match all.wanted(number.into(), package(number)).unwrap() {
                        Some(Next::Keep(record)) => under_way = Some(record),
                        Some(Next::Measured(uid)) => {
                            prop_assert_eq!(uid, u32::from(number));
                            let app = format!("com.example.a{number}\"");
                            prop_assert!(file.contains(&app));
                        }
                        None => {}
                    },
                    Step::Kept | Step::Crash { extended: true } if under_way.is_some() => {
                        file += &format!("{}\n", under_way.take().unwrap());
                        for next in all.kept(&mut register).unwrap() {
                            if let Next::Keep(record) = next {
                                under_way = Some(record);
                            }
                        }
                    }
                    Step::Crash { extended: false } => {
                        if let Some(record) = under_way.take() {
                            file += &format!("{record}\n");
                        }
                    }
                    _ => {}
                }
                if matches!(step, Step::Crash { .. }) {
                    under_way = None;
                    all = Packages::take_up(file.as_bytes(), &mut register).unwrap();
                }
                prop_assert_eq!(register.0, replay(&packages::read(file.as_bytes()).unwrap()).unwrap());
                prop_assert_eq!(all.text(), file.as_bytes());
                for number in (0_u32..6).filter(|number| all.is_measured(*number)) {
                    let app = format!("com.example.a{number}\"");
                    prop_assert!(file.contains(&app));
                }
            }
        }
    }

    #[test]
    fn register_that_somebody_else_extended_ends_measuring() {
        let mut register = Memory(Digest::of(b"other"));
        assert!(matches!(Packages::take_up(b"", &mut register), Err(MeasureError::Register)));
        let line = format!("{}\n", package(1).record(0).unwrap());
        assert!(matches!(Packages::take_up(line.as_bytes(), &mut register), Err(MeasureError::Register)));
        assert!(matches!(Packages::take_up(b"x", &mut register), Err(MeasureError::Log(_))));
    }

    #[test]
    fn box_is_measured_once_the_register_holds_what_is_in_it_now() {
        let mut register = Memory(Digest::ZERO);
        let mut all = Packages::take_up(b"", &mut register).unwrap();
        assert!(matches!(all.wanted(7, package(1)).unwrap(), Some(Next::Keep(_))));
        assert!(!all.is_measured(7));
        all.kept(&mut register).unwrap();
        assert!(all.is_measured(7) && !all.is_measured(8));
        let newer = Package { version: "1.0.1".to_owned(), ..package(1) };
        all.wanted(7, newer).unwrap();
        assert!(!all.is_measured(7));
        assert_eq!(all.wanted(7, package(1)).unwrap(), Some(Next::Measured(7)));
        assert!(all.is_measured(7));
    }

    #[test]
    fn package_whose_id_can_not_be_written_is_refused() {
        let mut all = Packages::default();
        let bad = Package { app: "a\"b".to_owned(), ..package(1) };
        assert!(all.wanted(1, bad).is_err());
    }
}
