//! The feature levels of this build: which are supported, and which the cluster has agreed on.
//!
//! Java acts on a published level, not on version ranges, so a level stands here only when its
//! behaviour does: transaction.version stays out until its protocol is served (D12).

use metadata::Image;
use wire::api_versions::{FinalizedFeature, SupportedFeature};

/// The feature that switches KIP-848 on, at level 1.
pub const GROUP_VERSION: &str = "group.version";

/// What can be agreed on.
pub const SUPPORTED: &[SupportedFeature<'static>] = &[
    // Kafka 4.3 is metadata.version 30; 7 is the lowest that 4.x brokers start with.
    SupportedFeature {
        name: "metadata.version",
        min: 7,
        max: 30,
    },
    SupportedFeature {
        name: "kraft.version",
        min: 0,
        max: 1,
    },
    SupportedFeature {
        name: GROUP_VERSION,
        min: 0,
        max: 1,
    },
];

/// The level of a feature that nobody has moved.
fn first_level(name: &str) -> i16 {
    match name {
        "metadata.version" => 30,
        GROUP_VERSION => 1,
        _ => 0,
    }
}

/// Lowest and highest level of a feature that is known.
pub fn range(name: &str) -> Option<(i16, i16)> {
    let known = SUPPORTED.iter().find(|feature| feature.name == name);
    known.map(|feature| (feature.min, feature.max))
}

/// The level the cluster has agreed on; 0 is off.
pub fn level(image: &Image, name: &str) -> i16 {
    image.feature(name).unwrap_or_else(|| first_level(name))
}

/// What is agreed on and not off.
pub fn finalized(image: &Image) -> Vec<FinalizedFeature<'static>> {
    let levels = SUPPORTED.iter().map(|feature| {
        let level = level(image, feature.name);
        FinalizedFeature {
            name: feature.name,
            min: level,
            max: level,
        }
    });
    levels.filter(|feature| feature.max > 0).collect()
}
