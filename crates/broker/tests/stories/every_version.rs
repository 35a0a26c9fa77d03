//! Advertised means served: each key and version of the table gets a request, and its answer
//! decodes at that version.

use wire::api::{ApiKey, TABLE};
use wire::messages::{self, Request};

use crate::stage::Stage;

/// Sends the default request of its kind and reads the answer.
macro_rules! served {
    ($client:ident, $key:ident, $version:ident, $($variant:ident => $module:ident),* $(,)?) => {
        match $key {
            $(ApiKey::$variant => {
                let mut request = messages::$module::Request::default();
                prepare(&mut request as &mut dyn std::any::Any, $version);
                $client.ask($version, &request).await;
            })*
        }
    };
}

/// Requests whose default is not one the codec can write, or is refused by closing.
fn prepare(request: &mut dyn std::any::Any, version: i16) {
    if let Some(request) = request.downcast_mut::<messages::api_versions::Request>() {
        request.client_software_name = messages::text("story");
        request.client_software_version = messages::text("1");
    }
    if let Some(request) = request.downcast_mut::<messages::metadata::Request>() {
        request.topics = Some(Vec::new());
        request.allow_auto_topic_creation = true;
    }
    if let Some(request) = request.downcast_mut::<messages::produce::Request>() {
        request.acks = 1;
    }
    if let Some(request) = request.downcast_mut::<messages::fetch::Request>() {
        request.replica_id = -1;
        request.session_epoch = -1;
    }
    if let Some(request) = request.downcast_mut::<messages::offset_for_leader_epoch::Request>() {
        request.replica_id = -1;
    }
    if let Some(request) = request.downcast_mut::<messages::offset_fetch::Request>()
        && version < 8
    {
        request.topics = Some(Vec::new());
    }
}

fn is_request<T: Request>() {}

#[test]
fn every_advertised_version_is_answered_at_that_version() {
    // protocol.md 8.6
    is_request::<messages::metadata::Request>();
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for api in TABLE {
            for version in api.min..=api.max {
                let key = api.key;
                served!(client, key, version,
                    Produce => produce,
                    Fetch => fetch,
                    ListOffsets => list_offsets,
                    Metadata => metadata,
                    OffsetCommit => offset_commit,
                    OffsetFetch => offset_fetch,
                    FindCoordinator => find_coordinator,
                    JoinGroup => join_group,
                    Heartbeat => heartbeat,
                    LeaveGroup => leave_group,
                    SyncGroup => sync_group,
                    DescribeGroups => describe_groups,
                    ListGroups => list_groups,
                    ApiVersions => api_versions,
                    InitProducerId => init_producer_id,
                    OffsetForLeaderEpoch => offset_for_leader_epoch,
                    DeleteGroups => delete_groups,
                    OffsetDelete => offset_delete,
                    CreateTopics => create_topics,
                    DeleteTopics => delete_topics,
                    CreatePartitions => create_partitions,
                    DescribeConfigs => describe_configs,
                    AlterConfigs => alter_configs,
                    IncrementalAlterConfigs => incremental_alter_configs,
                    DescribeCluster => describe_cluster,
                    DeleteRecords => delete_records,
                    DescribeLogDirs => describe_log_dirs,
                    ConsumerGroupHeartbeat => consumer_group_heartbeat,
                    ConsumerGroupDescribe => consumer_group_describe,
                    ElectLeaders => elect_leaders,
                    AlterPartitionReassignments => alter_partition_reassignments,
                    ListPartitionReassignments => list_partition_reassignments,
                    UpdateFeatures => update_features,
                    DescribeProducers => describe_producers,
                    UnregisterBroker => unregister_broker,
                    ListConfigResources => list_config_resources,
                    DescribeClientQuotas => describe_client_quotas,
                    AlterClientQuotas => alter_client_quotas,
                    DescribeUserScramCredentials => describe_user_scram_credentials,
                    DescribeQuorum => describe_quorum,
                    DescribeTopicPartitions => describe_topic_partitions,
                );
            }
        }
        let metrics = stage.broker.metrics();
        assert_eq!(
            metrics.connections_closed.len(),
            0,
            "{:?}",
            metrics.connections_closed
        );
    });
}
