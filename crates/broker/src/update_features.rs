//! UpdateFeatures: the levels that the cluster agrees on.
//!
//! One level can be moved: `group.version`, between 0 and 1, which switches consumer groups
//! (KIP-848) off and on. The others have one level here and keep it.

use metadata::{Command, Refusal};
use wire::ErrorCode;
use wire::ids::BrokerId;
use wire::messages::text;
use wire::messages::update_features::{
    FeatureUpdateKey, Request as Asked, Response, UpdatableFeatureResult,
};

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::features::{self, GROUP_VERSION};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Moves all or none.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let version = request.version();
        let outcome = update(&context, &asked, version).await;
        request.answer(&told(&asked, version, outcome))
    }))
}

async fn update(context: &Context, asked: &Asked, version: i16) -> Result<(), Refusal> {
    let image = context.node.image();
    for update in &asked.feature_updates {
        let kind = match (version, update.allow_downgrade) {
            (0, true) => SAFE_DOWNGRADE,
            (0, false) => UPGRADE,
            _ => update.upgrade_type,
        };
        let now = features::level(&image, update.feature.as_str());
        check(update, now, kind, context.node.id).map_err(|reason| Refusal {
            code: ErrorCode::InvalidUpdateVersion,
            message: format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {} for feature {}. {reason}",
                update.max_version_level, update.feature
            ),
        })?;
    }
    if asked.validate_only {
        return Ok(());
    }
    for update in &asked.feature_updates {
        let (name, level) = (update.feature.as_str(), update.max_version_level);
        if level != features::level(&image, name) {
            let name = name.to_owned();
            context
                .node
                .propose(Command::SetFeature { name, level })
                .await?;
        }
    }
    Ok(())
}

/// Why it cannot be, by Kafka's rules first and then by ours.
fn check(update: &FeatureUpdateKey, now: i16, kind: i8, id: BrokerId) -> Result<(), String> {
    let wanted = update.max_version_level;
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&kind) {
        return Err("The controller does not support the given upgrade type.".into());
    }
    if wanted < 0 {
        return Err("A feature version cannot be less than 0.".into());
    }
    let Some((lowest, highest)) = features::range(update.feature.as_str()) else {
        return Err(format!(
            "Local controller {id} does not support this feature."
        ));
    };
    if !(lowest..=highest).contains(&wanted) {
        return Err(format!(
            "Local controller {id} only supports versions {lowest}-{highest}"
        ));
    }
    if wanted < now && kind == UPGRADE {
        return Err(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade."
                .into(),
        );
    }
    if wanted > now && kind != UPGRADE {
        return Err("Can't downgrade to a newer version.".into());
    }
    if wanted != now && update.feature.as_str() != GROUP_VERSION {
        return Err(format!("Its level here is {now}, and no other."));
    }
    Ok(())
}

fn told(asked: &Asked, version: i16, outcome: Result<(), Refusal>) -> Response {
    match outcome {
        Err(refusal) => Response {
            error_code: refusal.code.code(),
            error_message: Some(text(&refusal.message)),
            ..Response::default()
        },
        // From version 2 on one error speaks for all.
        Ok(()) if version >= 2 => Response::default(),
        Ok(()) => Response {
            results: asked
                .feature_updates
                .iter()
                .map(|update| UpdatableFeatureResult {
                    feature: text(update.feature.as_str()),
                    ..UpdatableFeatureResult::default()
                })
                .collect(),
            ..Response::default()
        },
    }
}
