//! `gabion feed`: streams of releases that groups follow, or stay at an entry of.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use service_api::feeds::{Feed, FeedEntry, Follow, Follows, NewFeed, NewFeedEntry};
use service_api::{Few, Name, Text};

use super::deployment::Waves;
use super::{line, session, show, told};
use crate::output::{is_json, printable};

/// What `gabion feed` does.
#[derive(Subcommand)]
pub(crate) enum FeedAsked {
    /// List a product's feeds, and the groups that follow them.
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Make a feed.
    Add {
        #[command(flatten)]
        of: Of,
        /// Its name, as stable or evaluation.
        feed: Name,
        /// In which its deployments go.
        #[command(flatten)]
        waves: Waves,
    },
    /// Put releases into a feed: groups that follow it and are not pinned get them.
    Publish {
        #[command(flatten)]
        of: Of,
        /// The feed.
        feed: Name,
        /// Releases, as `gabion image list` has them.
        #[arg(required = true)]
        releases: Vec<String>,
        /// What is new.
        #[arg(long, default_value = "")]
        notes: String,
    },
    /// Show a feed's entries, newest first.
    Show {
        #[command(flatten)]
        of: Of,
        /// The feed.
        feed: Name,
    },
    /// Have a group follow a feed: it gets the newest entry, and those that come.
    Follow {
        #[command(flatten)]
        of: Of,
        /// The group.
        group: Name,
        /// The feed.
        feed: Name,
    },
    /// Have a group stay at an entry of a feed.
    Pin {
        #[command(flatten)]
        of: Of,
        /// The group.
        group: Name,
        /// The feed.
        feed: Name,
        /// The entry's number.
        entry: u64,
    },
    /// Have a group follow no feed any more; what it was told stays.
    Leave {
        #[command(flatten)]
        of: Of,
        /// The group.
        group: Name,
    },
}

/// A product.
#[derive(Args)]
pub(crate) struct Of {
    /// The catalog.
    catalog: Name,
    /// The product.
    product: Name,
}

impl Of {
    fn path(&self, rest: &str) -> String {
        format!("/v1/catalogs/{}/products/{}/{rest}", self.catalog, self.product)
    }
}

/// `gabion feed`. False: the service said no.
pub(crate) fn run(asked: FeedAsked) -> Result<bool> {
    told(act(asked))
}

fn act(asked: FeedAsked) -> Result<()> {
    let client = session::resume()?;
    match asked {
        FeedAsked::List { of } => {
            let feeds: Vec<Feed> = client.get(&of.path("feeds"))?;
            if is_json() { show(&feeds) } else { feeds.iter().try_for_each(|feed| line(&text(feed))) }
        }
        FeedAsked::Add { of, feed, waves } => {
            let new = NewFeed { name: feed, description: Text::default(), waves: waves.all()? };
            line(&text(&client.post::<Feed>(&of.path("feeds"), Some(&new))?))
        }
        FeedAsked::Publish { of, feed, releases, notes } => {
            let releases = releases.into_iter().map(Text::try_from).collect::<Result<Vec<_>, _>>()?;
            let releases = Few::new(releases).context("too many releases")?;
            let new = NewFeedEntry { releases, notes: Text::try_from(notes).context("--notes")? };
            let entry: FeedEntry = client.post(&of.path(&format!("feeds/{feed}/entries")), Some(&new))?;
            line(&entry_text(&entry))
        }
        FeedAsked::Show { of, feed } => {
            let entries: Vec<FeedEntry> = client.get(&of.path(&format!("feeds/{feed}/entries")))?;
            if is_json() {
                show(&entries)
            } else {
                entries.iter().try_for_each(|entry| line(&entry_text(entry)))
            }
        }
        FeedAsked::Follow { of, group, feed } => follow(&client, &of, &group, &Follow { feed, pinned: None }),
        FeedAsked::Pin { of, group, feed, entry } => {
            follow(&client, &of, &group, &Follow { feed, pinned: Some(entry) })
        }
        FeedAsked::Leave { of, group } => {
            client.act("DELETE", &of.path(&format!("groups/{group}/feed")), None::<&()>)
        }
    }
}

fn follow(client: &super::client::Client, of: &Of, group: &Name, follow: &Follow) -> Result<()> {
    client.act("PUT", &of.path(&format!("groups/{group}/feed")), Some(follow))
}

fn text(feed: &Feed) -> String {
    let waves = feed.waves.iter().map(|wave| wave.percent.to_string()).collect::<Vec<_>>().join(",");
    let groups = feed.groups.iter().map(|Follows { group, pinned, .. }| match pinned {
        Some(entry) => format!(" {group}@{entry}"),
        None => format!(" {group}"),
    });
    format!("{}: waves {waves}; followed by{}", feed.name, groups.collect::<String>())
}

fn entry_text(entry: &FeedEntry) -> String {
    let releases = entry.releases.iter().map(|release| format!(" {release}")).collect::<String>();
    let deployments = entry.deployments.iter().map(|number| format!(" {number}")).collect::<String>();
    let deployed = if deployments.is_empty() { deployments } else { format!("; deployments{deployments}") };
    format!("{}{releases}{deployed}  {}", entry.number, printable(entry.notes.as_str()))
}
