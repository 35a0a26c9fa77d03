import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.BrokerIdNotRegisteredException;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidUpdateVersionException;
import org.apache.kafka.common.errors.NoReassignmentInProgressException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/**
 * What an administrator asks of a cluster of one, with Kafka's own Java client.
 *
 * <pre>AdminWidth --broker HOST:PORT --client NAME STORY…</pre>
 */
public final class AdminWidth {
    public static void main(String[] arguments) {
        Map<String, Stories.Story> all = new LinkedHashMap<>();
        all.put("replicas", AdminWidth::replicas);
        all.put("producers", AdminWidth::producers);
        all.put("cluster", AdminWidth::cluster);
        Stories.tell(arguments, all);
    }

    /** Leaders lead, replicas stay, and what is not there is said to be not there. */
    static void replicas(Stories on) throws Exception {
        String name = on.withTopic("replicas");
        TopicPartition first = new TopicPartition(name, 0);
        TopicPartition none = new TopicPartition(name, 99);
        for (ElectionType type : ElectionType.values()) {
            Map<TopicPartition, Optional<Throwable>> told = got(on.admin.electLeaders(type, Set.of(first, none)).partitions());
            is(told.get(first).orElse(null), ElectionNotNeededException.class);
            is(told.get(none).orElse(null), UnknownTopicOrPartitionException.class);
            Stories.check(got(on.admin.electLeaders(type, null).partitions()).isEmpty(), "an election took place");
        }
        int id = got(on.admin.describeCluster().nodes()).iterator().next().id();
        got(on.admin.alterPartitionReassignments(Map.of(first, Optional.of(new NewPartitionReassignment(List.of(id))))).all());
        Map<TopicPartition, Optional<NewPartitionReassignment>> wrong = Map.of(
            first, Optional.of(new NewPartitionReassignment(List.of(id, id + 1))),
            none, Optional.of(new NewPartitionReassignment(List.of(id))),
            new TopicPartition(name, 1), Optional.empty());
        var futures = on.admin.alterPartitionReassignments(wrong).values();
        refused(futures.get(first), InvalidReplicaAssignmentException.class);
        refused(futures.get(none), UnknownTopicOrPartitionException.class);
        refused(futures.get(new TopicPartition(name, 1)), NoReassignmentInProgressException.class);
        Stories.check(got(on.admin.listPartitionReassignments().reassignments()).isEmpty(), "something moves");
        on.delete(name);
    }

    /** A partition tells its idempotent producer. */
    static void producers(Stories on) throws Exception {
        String name = on.withTopic("producers");
        on.produce(name, Stories.numbered(50, "producers", 0), "none");
        int records = 0;
        for (TopicPartition partition : Stories.every(name)) {
            var known = got(on.admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
            Stories.check(known.size() <= 1, known.size() + " producers wrote to " + partition);
            for (var producer : known) {
                records += producer.lastSequence() + 1;
                Stories.check(producer.currentTransactionStartOffset().isEmpty(), "a transaction is open in " + partition);
                Stories.check(producer.coordinatorEpoch().isEmpty(), "a coordinator wrote to " + partition);
            }
        }
        Stories.check(records == 50, "the last sequences stand for " + records + " records");
        Stories.check(got(on.admin.describeProducers(Stories.every(name)).all()).size() == Stories.PARTITIONS, "partitions are missing");
        on.delete(name);
    }

    /** The quorum, the features, the configured names, and brokers that are not there. */
    static void cluster(Stories on) throws Exception {
        var quorum = got(on.admin.describeMetadataQuorum().quorumInfo());
        int id = got(on.admin.describeCluster().nodes()).iterator().next().id();
        Stories.check(quorum.leaderId() == id, "led by " + quorum.leaderId());
        Stories.check(quorum.voters().size() == 1 && quorum.voters().get(0).replicaId() == id, "voters are " + quorum.voters());
        Stories.check(quorum.voters().get(0).logEndOffset() > 0 && quorum.highWatermark() > 0, "no log: " + quorum);
        Stories.check(quorum.observers().isEmpty(), "observers are " + quorum.observers());
        Stories.check(quorum.nodes().containsKey(id), "nodes are " + quorum.nodes());

        var features = got(on.admin.describeFeatures().featureMetadata()).finalizedFeatures();
        Stories.check(features.get("group.version").maxVersionLevel() == 1, "features are " + features);
        var dry = new UpdateFeaturesOptions().validateOnly(true);
        var off = new FeatureUpdate((short) 0, FeatureUpdate.UpgradeType.SAFE_DOWNGRADE);
        got(on.admin.updateFeatures(Map.of("group.version", off), dry).all());
        var beyond = new FeatureUpdate((short) 99, FeatureUpdate.UpgradeType.UPGRADE);
        refused(on.admin.updateFeatures(Map.of("group.version", beyond), dry).all(), InvalidUpdateVersionException.class);

        String name = on.withTopic("cluster");
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, name + "-readers");
        var set = new AlterConfigOp(new ConfigEntry("consumer.session.timeout.ms", "50000"), AlterConfigOp.OpType.SET);
        got(on.admin.incrementalAlterConfigs(Map.of(group, List.of(set))).all());
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, name);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + id);
        Stories.eventually(() -> listed(on, Set.of()).containsAll(Set.of(group, topic, broker)), "all kinds of names to be listed");
        var groups = listed(on, Set.of(ConfigResource.Type.GROUP));
        Stories.check(groups.contains(group) && !groups.contains(topic), "groups are " + groups);
        refused(on.admin.unregisterBroker(99).all(), BrokerIdNotRegisteredException.class);
        on.delete(name);
    }

    static List<ConfigResource> listed(Stories on, Set<ConfigResource.Type> types) {
        try {
            return List.copyOf(got(on.admin.listConfigResources(types, new org.apache.kafka.clients.admin.ListConfigResourcesOptions()).all()));
        } catch (Exception failure) {
            throw new RuntimeException(failure);
        }
    }

    static <T> T got(KafkaFuture<T> future) throws Exception {
        return future.get(Stories.WAIT_MS, TimeUnit.MILLISECONDS);
    }

    static void refused(KafkaFuture<?> future, Class<? extends Throwable> as) throws Exception {
        try {
            got(future);
            throw new AssertionError("not refused with " + as.getSimpleName());
        } catch (ExecutionException refusal) {
            is(refusal.getCause(), as);
        }
    }

    static void is(Throwable found, Class<? extends Throwable> wanted) {
        Stories.check(wanted.isInstance(found), found + ", not " + wanted.getSimpleName());
    }
}
