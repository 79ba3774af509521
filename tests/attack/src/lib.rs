//! Attacks that must fail: read from `corpus/`, built, tried on a device, and judged.
//!
//! Each attack is an app. It is tried with every layer of the box, once more without each of them, and without those
//! that make it work, so that a try which never could succeed is noticed. `docs/defence-in-depth.md` is what came out.
//!
//! | module | idea |
//! |---|---|
//! | [`corpus`] | what is in the folders, read strictly |
//! | [`layers`] | the layers that can be left out |
//! | [`variants`] | the boxes that an attack is tried in |
//! | [`program`] | C to static programs |
//! | [`scene`] | devices with all of them at once, and the neighbours that must not notice |
//! | [`verdict`] | what was to be seen against what was seen |
//! | [`page`] | the table for people |

pub mod corpus;
pub mod layers;
pub mod page;
pub mod program;
pub mod scene;
pub mod variants;
pub mod verdict;
