//! Client quotas: what was set, and changes of it.

use wire::messages::describe_client_quotas::{self, EntityData, ValueData};
use wire::messages::{AlteredQuotaPart, QuotaAlteration, alter_client_quotas, text};

use crate::cluster::Client;
use crate::error::{ClientError, check};

/// One part of an entity that has quotas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaPart {
    /// `user`, `client-id` or `ip`.
    pub kind: String,
    /// Its name; `None` is all that have no quota of their own.
    pub name: Option<String>,
}

/// The quotas of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaView {
    /// Whose: one part, or a user's client id.
    pub entity: Vec<QuotaPart>,
    /// Kafka's key and the value, by key.
    pub values: Vec<(String, f64)>,
}

impl Client {
    /// All quotas that were set.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn quotas(&mut self) -> Result<Vec<QuotaView>, ClientError> {
        let response = self
            .ask_any(&describe_client_quotas::Request::default())
            .await?;
        let message = response.error_message.as_ref().map(|text| text.as_str());
        check(response.error_code, message)?;
        let mut quotas: Vec<QuotaView> = response
            .entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| QuotaView {
                entity: entry.entity.into_iter().map(part).collect(),
                values: entry.values.into_iter().map(value).collect(),
            })
            .collect();
        // Kafka tells them in no order. A user stands before its client id.
        for quota in &mut quotas {
            quota.entity.sort_by(|a, b| b.kind.cmp(&a.kind));
            quota.values.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        quotas.sort_by(|a, b| a.entity.cmp(&b.entity));
        Ok(quotas)
    }

    /// Sets (`Some`) and takes away (`None`) quotas of one entity, all or none of them.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn alter_quotas(
        &mut self,
        entity: &[QuotaPart],
        changes: &[(String, Option<f64>)],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = alter_client_quotas::Request {
            entries: vec![QuotaAlteration {
                entity: entity
                    .iter()
                    .map(|part| AlteredQuotaPart {
                        entity_type: text(&part.kind),
                        entity_name: part.name.as_deref().map(text),
                        ..Default::default()
                    })
                    .collect(),
                ops: changes
                    .iter()
                    .map(|(key, value)| alter_client_quotas::OpData {
                        key: text(key),
                        value: value.unwrap_or_default(),
                        remove: value.is_none(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            validate_only,
            ..Default::default()
        };
        let response = self.ask_controller(&request).await?;
        for told in &response.entries {
            let message = told.error_message.as_ref().map(|text| text.as_str());
            check(told.error_code, message)?;
        }
        Ok(())
    }
}

fn part(told: EntityData) -> QuotaPart {
    QuotaPart {
        kind: told.entity_type.as_str().to_owned(),
        name: told.entity_name.map(|name| name.as_str().to_owned()),
    }
}

fn value(told: ValueData) -> (String, f64) {
    (told.key.as_str().to_owned(), told.value)
}
