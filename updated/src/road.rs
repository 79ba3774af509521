//! Where releases come from: the service's repository, or one that was carried here.

use std::ops::Range;

use service_api::updates::Answer;
use tuf::archive::{self, Archive};
use tuf::http::{self, Base, Http};
use tuf::source::{Body, Place, Source, SourceError};

use crate::connect::Way;

/// See the module.
pub enum Road {
    /// By the service.
    Service(Box<Way>),
    /// By what was carried here.
    Carried(Archive),
}

impl Road {
    /// By the network, whose bytes may cost something.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// The repository at its end; none if the service names none.
    pub fn repository(&self, answer: &Answer) -> Option<Repository> {
        match self {
            Self::Carried(archive) => Some(Repository::Carried(archive.clone())),
            Self::Service(way) => {
                let base = base(way, answer.repository.as_str())?;
                let http = Http::new(Way::clone(way), base.below("metadata/"), base.below("targets/"));
                Some(Repository::Net(Box::new(http)))
            }
        }
    }
}

/// Where the repository is: on the service, if it is no URL of its own.
pub fn base(way: &Way, repository: &str) -> Option<Base> {
    if repository.contains("://") {
        return Base::parse(repository);
    }
    let authority = way.service.address();
    let authority = authority.strip_suffix("/tcp")?;
    Base::parse(&format!("https://{authority}/{}", repository.trim_start_matches('/')))
}

/// A repository.
pub enum Repository {
    /// On a web server.
    Net(Box<Http<Way>>),
    /// Carried here.
    Carried(Archive),
}

/// A file of it.
pub enum Opened {
    /// On its way.
    Net(Box<http::Answer>),
    /// Here.
    Carried(archive::Opened),
}

impl Source for Repository {
    type Body = Opened;

    async fn open(&mut self, place: Place<'_>, from: u64) -> Result<Option<Opened>, SourceError> {
        match self {
            Self::Net(http) => Ok(http.open(place, from).await?.map(Box::new).map(Opened::Net)),
            Self::Carried(archive) => Ok(archive.open(place, from).await?.map(Opened::Carried)),
        }
    }

    async fn open_part(&mut self, place: Place<'_>, part: Range<u64>) -> Result<Option<Opened>, SourceError> {
        match self {
            Self::Net(http) => Ok(http.open_part(place, part).await?.map(Box::new).map(Opened::Net)),
            Self::Carried(archive) => Ok(archive.open_part(place, part).await?.map(Opened::Carried)),
        }
    }
}

impl Body for Opened {
    async fn chunk(&mut self) -> Result<Option<&[u8]>, SourceError> {
        match self {
            Self::Net(answer) => answer.chunk().await,
            Self::Carried(opened) => opened.chunk().await,
        }
    }
}
