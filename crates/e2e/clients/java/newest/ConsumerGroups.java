import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The stories of consumer groups that the broker assigns (KIP-848), with Kafka's own Java client.
 *
 * <pre>
 * ConsumerGroups --broker HOST:PORT --client NAME STORY…
 * ConsumerGroups member BROKER TOPIC GROUP    one member, until it is killed; prints what it reads
 * </pre>
 *
 * Compiled against the newest line of kafka-clients only: older ones do not know the protocol.
 */
public final class ConsumerGroups {
    static final int PARTITIONS = Stories.PARTITIONS;

    final Stories on;
    /** What all members read, in the order in which it happened. */
    final List<Stories.Row> rows = Collections.synchronizedList(new ArrayList<>());

    ConsumerGroups(Stories on) {
        this.on = on;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 4 && arguments[0].equals("member")) {
            member(arguments[1], arguments[2], arguments[3]);
            return;
        }
        Map<String, Stories.Story> all = new LinkedHashMap<>();
        all.put("group", Stories::group);
        all.put("resume", Stories::resume);
        all.put("three", on -> new ConsumerGroups(on).three());
        all.put("static", on -> new ConsumerGroups(on).instances());
        all.put("migrate", on -> new ConsumerGroups(on).migrate());
        all.put("killed", on -> new ConsumerGroups(on).killed());
        Stories.tell(arguments, all);
    }

    // The stories.

    /** Three members share six partitions, one of them by a pattern; it finds a topic that comes later. */
    void three() throws Exception {
        String name = on.withTopic("three");
        List<Stories.Row> wanted = new ArrayList<>();
        on.more(name, wanted);
        Member first = new Member(name, "consumer").start();
        Member second = new Member(name, "consumer").start();
        Member third = new Member(name, "consumer").pattern(name + "(-later)?").start();
        List<Member> members = List.of(first, second, third);
        holds(members, 2, "three members to hold two each");
        reads(members, wanted, "three members to read all");
        checkDisjoint(members);
        Stories.eventually(() -> described(name).groupState() == GroupState.STABLE, "the group to be stable");
        ConsumerGroupDescription shown = described(name);
        Stories.check(shown.type() == GroupType.CONSUMER, "it is a " + shown.type() + " group");
        Stories.check(shown.partitionAssignor().equals("uniform"), "assigned by " + shown.partitionAssignor());
        Stories.check(shown.members().size() == 3, shown.members().size() + " members are described");
        shown.members().forEach(m -> {
            Stories.check(m.assignment().topicPartitions().size() == 2, m.consumerId() + " holds " + m.assignment());
            Stories.check(m.assignment().equals(m.targetAssignment().orElse(null)), m.consumerId() + " is to hold " + m.targetAssignment());
            Stories.check(m.memberEpoch().equals(shown.groupEpoch()), "epoch " + m.memberEpoch() + " in a group of " + shown.groupEpoch());
        });
        on.create(name + "-later");
        Stories.eventually(() -> healthy(members) && third.of(name + "-later") == PARTITIONS && third.of(name) == 0
            && first.held.size() == 3 && second.held.size() == 3, "the later topic to be read by the member with the pattern");
        on.more(name, wanted);
        reads(members, wanted, "the two others to read all");
        first.leave();
        holds(List.of(second), PARTITIONS, "the member that stays to hold the first topic alone");
        on.more(name, wanted);
        reads(members, wanted, "one member to read all");
        second.leave();
        third.leave();
        ended(name, wanted);
        on.delete(name + "-later");
    }

    /** A static member that comes back finds its partitions as it left them, and nobody noticed. */
    void instances() throws Exception {
        String name = on.withTopic("static");
        List<Stories.Row> wanted = new ArrayList<>();
        on.more(name, wanted);
        Member first = new Member(name, "consumer").instance("one").start();
        Member second = new Member(name, "consumer").instance("two").start();
        holds(List.of(first, second), 3, "two members to hold three each");
        reads(List.of(first, second), wanted, "two members to read all");
        Set<TopicPartition> before = first.held;
        Stories.eventually(() -> described(name).groupState() == GroupState.STABLE, "the group to be stable");
        int epoch = described(name).groupEpoch().orElseThrow();
        first.leave();
        on.more(name, wanted);
        Member back = new Member(name, "consumer").instance("one").start();
        holds(List.of(back, second), 3, "the member to come back");
        Stories.check(back.held.equals(before), "it left " + before + " and got " + back.held);
        Stories.check(described(name).groupEpoch().orElseThrow() == epoch, "the group moved from epoch " + epoch);
        reads(List.of(back, second), wanted, "the member that is back to read on");
        Member thief = new Member(name, "consumer").instance("one").start();
        Stories.eventually(() -> thief.failure != null, "a second member of the same name to be refused");
        Stories.check(thief.failure instanceof UnreleasedInstanceIdException, "refused with " + thief.failure);
        back.leave();
        second.leave();
        // Static members stay until their session ends; the group is not empty before.
        Stories.checkExact(List.copyOf(rows), wanted, "static");
        Stories.check(on.committed(name) == wanted.size(), "committed " + on.committed(name) + " of " + wanted.size());
        on.delete(name);
    }

    /** A group goes from classic members to the broker's protocol and back, member by member. */
    void migrate() throws Exception {
        String name = on.withTopic("migrate");
        List<Stories.Row> wanted = new ArrayList<>();
        on.more(name, wanted);
        Member first = new Member(name, "classic").start();
        Member second = new Member(name, "classic").start();
        holds(List.of(first, second), 3, "two classic members to hold three each");
        reads(List.of(first, second), wanted, "two classic members to read all");
        isOf(name, GroupType.CLASSIC);

        Member third = new Member(name, "consumer").start();
        List<Member> mixed = List.of(first, second, third);
        holds(mixed, 2, "two classic members and one other to hold two each");
        checkDisjoint(mixed);
        isOf(name, GroupType.CONSUMER);
        on.more(name, wanted);
        reads(mixed, wanted, "a mixed group to read all");
        first.leave();
        holds(List.of(second, third), 3, "one of each protocol to hold three each");
        second.leave();
        holds(List.of(third), PARTITIONS, "the first member of the new protocol to hold all");
        on.more(name, wanted);
        reads(List.of(third), wanted, "it to read all");

        Member fourth = new Member(name, "classic").start();
        holds(List.of(third, fourth), 3, "a classic member to share again");
        isOf(name, GroupType.CONSUMER);
        on.more(name, wanted);
        reads(List.of(third, fourth), wanted, "both to read all");
        third.leave();
        holds(List.of(fourth), PARTITIONS, "the classic member to hold all");
        isOf(name, GroupType.CLASSIC);
        on.more(name, wanted);
        reads(List.of(fourth), wanted, "a group that is classic again to read all");
        fourth.leave();
        ended(name, wanted);
    }

    /** A member dies without a word; after its session the others read what it had not committed. */
    void killed() throws Exception {
        String name = on.withTopic("killed");
        List<Stories.Row> wanted = new ArrayList<>();
        on.more(name, wanted);
        List<Integer> dead = Collections.synchronizedList(new ArrayList<>());
        Process victim = other(name, dead);
        try {
            Member first = new Member(name, "consumer").start();
            Member second = new Member(name, "consumer").start();
            List<Member> alive = List.of(first, second);
            holds(alive, 2, "three members to hold two each");
            int before = dead.size();
            on.more(name, wanted);
            Stories.eventually(() -> healthy(alive) && dead.size() > before, "the one to die to read something");
            victim.destroyForcibly();
            victim.waitFor();
            holds(alive, 3, "two members to take over from the dead one");
            on.more(name, wanted);
            Stories.eventually(() -> healthy(alive) && together(dead).size() == wanted.size(), "all to be read");
            first.leave();
            second.leave();
            // What the dead one read and had not committed comes again, and nothing else does.
            Set<Integer> again = new TreeSet<>(dead);
            Set<Integer> seen = new HashSet<>();
            for (Stories.Row row : rows) {
                Stories.check(seen.add(row.number()), "record " + row.number() + " came twice to members that live");
                again.remove(row.number());
            }
            int twice = new HashSet<>(dead).size() - again.size();
            Stories.check(twice <= 50, twice + " records that the dead member had read came again: more than one poll");
            Stories.check(on.committed(name) == wanted.size(), "committed " + on.committed(name) + " of " + wanted.size());
            on.admin.deleteConsumerGroups(List.of(name + "-readers")).all().get(Stories.WAIT_MS, TimeUnit.MILLISECONDS);
            on.delete(name);
        } finally {
            victim.destroyForcibly();
        }
    }

    // What they stand on.

    /** A member with a thread of its own: polls, keeps what it read, commits after each poll. */
    final class Member {
        final String topic;
        final String protocol;
        String instance;
        String pattern;
        volatile Set<TopicPartition> held = Set.of();
        volatile Throwable failure;
        volatile boolean stop;
        final Thread thread = new Thread(this::read);

        Member(String topic, String protocol) {
            this.topic = topic;
            this.protocol = protocol;
        }

        Member instance(String name) {
            instance = name;
            return this;
        }

        Member pattern(String regex) {
            pattern = regex;
            return this;
        }

        Member start() {
            thread.setDaemon(true);
            thread.start();
            return this;
        }

        void read() {
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(on.broker, topic + "-readers", protocol, instance)) {
                ConsumerRebalanceListener commits = new ConsumerRebalanceListener() {
                    @Override
                    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                        commit(consumer);
                    }

                    @Override
                    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                    }
                };
                if (pattern == null) {
                    consumer.subscribe(List.of(topic), commits);
                } else {
                    consumer.subscribe(new SubscriptionPattern(pattern), commits);
                }
                while (!stop) {
                    var batch = consumer.poll(Duration.ofMillis(100));
                    held = Set.copyOf(consumer.assignment());
                    batch.forEach(r -> rows.add(Stories.Row.of(r)));
                    if (!batch.isEmpty()) {
                        commit(consumer);
                    }
                }
                commit(consumer);
            } catch (Throwable thrown) {
                failure = thrown;
            }
        }

        int of(String name) {
            return (int) held.stream().filter(t -> t.topic().equals(name)).count();
        }

        void leave() throws InterruptedException {
            stop = true;
            thread.join(Stories.WAIT_MS);
            Stories.check(!thread.isAlive(), "a member did not stop");
            healthy(List.of(this));
            held = Set.of();
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer(String broker, String group, String protocol, String instance) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("group.id", group);
        properties.put("group.protocol", protocol);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("allow.auto.create.topics", "false");
        properties.put("metadata.max.age.ms", "1000");
        properties.put("max.poll.records", "50");
        if (instance != null) {
            properties.put("group.instance.id", instance);
        }
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Commits; a classic member in the middle of a rebalance does so again when it gives up what it holds. */
    static void commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync();
        } catch (RebalanceInProgressException later) {
            System.err.println("commit: " + later);
        }
    }

    /** A member that is another process: prints the number of each record it reads, then commits. */
    static void member(String broker, String topic, String group) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(broker, group, "consumer", null)) {
            consumer.subscribe(List.of(topic));
            while (true) {
                var batch = consumer.poll(Duration.ofMillis(100));
                batch.forEach(r -> System.out.println(Stories.Row.of(r).number()));
                System.out.flush();
                if (!batch.isEmpty()) {
                    consumer.commitSync();
                }
            }
        }
    }

    /** Starts that process; what it reads lands in `read`. */
    Process other(String topic, List<Integer> read) throws Exception {
        Process process = new ProcessBuilder(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java", "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", System.getProperty("java.class.path"),
            "ConsumerGroups", "member", on.broker, topic, topic + "-readers").redirectError(ProcessBuilder.Redirect.INHERIT).start();
        Thread reader = new Thread(() -> {
            try (BufferedReader lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.US_ASCII))) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    read.add(Integer.parseInt(line));
                }
            } catch (java.io.IOException | NumberFormatException cut) {
                // The pipe of a process that was killed ends anywhere.
            }
        });
        reader.setDaemon(true);
        reader.start();
        return process;
    }

    Set<Integer> together(List<Integer> dead) {
        Set<Integer> all = new HashSet<>(List.copyOf(dead));
        for (Stories.Row row : rows.toArray(new Stories.Row[0])) {
            all.add(row.number());
        }
        return all;
    }

    ConsumerGroupDescription described(String topic) {
        String group = topic + "-readers";
        try {
            return on.admin.describeConsumerGroups(List.of(group)).all().get(Stories.WAIT_MS, TimeUnit.MILLISECONDS).get(group);
        } catch (Exception failure) {
            throw new RuntimeException(failure);
        }
    }

    void isOf(String topic, GroupType type) {
        GroupType found = described(topic).type();
        Stories.check(found == type, "a " + found + " group, not a " + type + " one");
    }

    void holds(List<Member> members, int each, String what) throws InterruptedException {
        Stories.eventually(() -> healthy(members) && members.stream().allMatch(m -> m.held.size() == each), what);
    }

    void reads(List<Member> members, List<Stories.Row> wanted, String what) throws InterruptedException {
        Stories.eventually(() -> healthy(members) && rows.size() >= wanted.size(), what);
    }

    void checkDisjoint(List<Member> members) {
        Set<TopicPartition> all = new HashSet<>();
        members.forEach(m -> m.held.forEach(t -> Stories.check(all.add(t), t + " has two owners")));
    }

    /** Each record once and in order, all committed, the group empty and deleted. */
    void ended(String topic, List<Stories.Row> wanted) throws Exception {
        Stories.checkExact(List.copyOf(rows), wanted, topic);
        Stories.check(on.committed(topic) == wanted.size(), "committed " + on.committed(topic) + " of " + wanted.size());
        on.admin.deleteConsumerGroups(List.of(topic + "-readers")).all().get(Stories.WAIT_MS, TimeUnit.MILLISECONDS);
        on.delete(topic);
    }

    static boolean healthy(List<Member> members) {
        for (Member member : members) {
            if (member.failure != null) {
                throw new AssertionError("a member failed: " + member.failure, member.failure);
            }
        }
        return true;
    }
}
