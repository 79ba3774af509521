//! Feeds: streams of release sets of a product, as `stable` and `evaluation`. A group follows one, or stays at one of its entries.
//!
//! ```text
//! GET, POST  /v1/catalogs/{catalog}/products/{product}/feeds                  Vec<Feed>; NewFeed → Feed
//! GET, POST  /v1/catalogs/{catalog}/products/{product}/feeds/{feed}/entries   Vec<FeedEntry>; NewFeedEntry → FeedEntry
//! GET, PUT, DELETE  /v1/catalogs/{catalog}/products/{product}/groups/{group}/feed    Follows; Follow → Follows
//! ```
//!
//! An entry that is put into a feed becomes a deployment for each group that follows it and is not pinned, with the feed's waves.

use crate::deployments::{WAVES_MAX, Wave};
use crate::updates::APPS_MAX;
use crate::{Few, Name, Text};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// A feed to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewFeed {
    /// Its name.
    pub name: Name,
    /// What it is for.
    #[serde(default)]
    pub description: Text<256>,
    /// Waves of its deployments, the last of 100 percent; without any, all devices at once.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Wave>, max_items = 16))]
    pub waves: Few<Wave, WAVES_MAX>,
}

/// A feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Feed {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub description: Text<256>,
    /// Waves of its deployments.
    pub waves: Vec<Wave>,
    /// Since when, seconds since 1970.
    pub created: u64,
    /// Groups that follow it.
    pub groups: Vec<Follows>,
}

/// An entry to be put into a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewFeedEntry {
    /// Releases, by their targets: one of the system at most, and one of each app. What a group's last deployment had besides stays.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Text<256>>, max_items = 200))]
    pub releases: Few<Text<256>, APPS_MAX>,
    /// What is new.
    #[serde(default)]
    pub notes: Text<256>,
}

/// An entry of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct FeedEntry {
    /// Its number in the feed, from 1.
    pub number: u64,
    /// Releases.
    pub releases: Vec<Text<256>>,
    /// What is new.
    pub notes: Text<256>,
    /// Since when, seconds since 1970.
    pub created: u64,
    /// Deployments that it became when it was put there.
    #[serde(default)]
    pub deployments: Vec<u64>,
}

/// What a group is to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Follow {
    /// The feed.
    pub feed: Name,
    /// The entry to stay at; the newest, and those that come, if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u64>,
}

/// What a group follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Follows {
    /// The group.
    pub group: Name,
    /// The feed.
    pub feed: Name,
    /// The entry that it stays at.
    pub pinned: Option<u64>,
}
