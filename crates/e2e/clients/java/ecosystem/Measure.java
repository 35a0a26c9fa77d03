import java.io.EOFException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatRequestData;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatResponseData;
import org.apache.kafka.common.message.HeartbeatRequestData;
import org.apache.kafka.common.message.JoinGroupRequestData;
import org.apache.kafka.common.message.JoinGroupResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.SyncGroupRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Times of groups, by hand: prints figures and asserts none.
 *
 * <pre>
 * Measure groups ROUNDS BROKER…                      three members by KIP-848: to the first record, to all partitions, and
 *                                                    from the kill of one to all partitions served by the others
 * Measure heartbeats KIND GROUPS MEMBERS SECONDS BROKER   each member on a connection of its own; KIND is classic or consumer
 * Measure commit GROUP PARTITIONS BROKER             a group with a committed offset in each partition of a topic
 * </pre>
 */
public final class Measure {
    static final int PARTITIONS = 6;

    public static void main(String[] given) throws Exception {
        switch (given[0]) {
            case "groups" -> {
                List<String> brokers = List.of(given).subList(2, given.length);
                for (String broker : brokers) { // the classes are loaded and compiled before anything is timed
                    new Round(broker, "warm").start();
                }
                for (int round = 0; round < Integer.parseInt(given[1]); round++) {
                    for (String broker : brokers) {
                        new Round(broker, "start").start();
                    }
                }
                List<Thread> threads = new ArrayList<>();
                for (int round = 0; round < Integer.parseInt(given[1]); round++) {
                    for (String broker : brokers) {
                        Thread thread = new Thread(() -> new Round(broker, "killed").killed());
                        thread.start();
                        threads.add(thread);
                        Thread.sleep(500);
                    }
                }
                for (Thread thread : threads) {
                    thread.join();
                }
            }
            case "member" -> new Round(given[1], given[2]).member();
            case "heartbeats" -> new Heartbeats(given[5], given[1], Integer.parseInt(given[2]), Integer.parseInt(given[3])).run(Integer.parseInt(given[4]));
            default -> commit(given[1], Integer.parseInt(given[2]), given[3]);
        }
        System.exit(0);
    }

    static Admin admin(String broker) {
        return Admin.create(Map.of("bootstrap.servers", broker));
    }

    static void commit(String group, int partitions, String broker) throws Exception {
        try (Admin admin = admin(broker)) {
            String topic = group + "-topic";
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get(60, TimeUnit.SECONDS);
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (int p = 0; p < partitions; p++) {
                offsets.put(new TopicPartition(topic, p), new OffsetAndMetadata(0));
            }
            admin.alterConsumerGroupOffsets(group, offsets).all().get(60, TimeUnit.SECONDS);
        }
    }

    /** One group of three over a topic of its own. */
    static final class Round {
        final String broker;
        final String name;
        final String what;
        final List<Reader> readers = new ArrayList<>();
        final CountDownLatch first = new CountDownLatch(1);

        Round(String broker, String what) {
            this.broker = broker;
            this.what = what;
            this.name = what.startsWith("measured-") ? what : "measured-" + Uuid.randomUuid();
        }

        /** One member, until it is killed. */
        void member() {
            new Reader().run();
        }

        final class Reader extends Thread {
            volatile int holds;
            volatile boolean leave;

            @Override
            public void run() {
                Properties properties = new Properties();
                properties.put("bootstrap.servers", broker);
                properties.put("group.id", name);
                properties.put("group.protocol", "consumer");
                properties.put("auto.offset.reset", "earliest");
                try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                    consumer.subscribe(List.of(name));
                    while (!leave) {
                        if (!consumer.poll(Duration.ofMillis(5)).isEmpty()) {
                            first.countDown();
                        }
                        holds = consumer.assignment().size();
                    }
                    holds = 0;
                }
            }
        }

        void fill() throws Exception {
            try (Admin admin = admin(broker);
                 KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", broker), new ByteArraySerializer(), new ByteArraySerializer())) {
                admin.createTopics(List.of(new NewTopic(name, PARTITIONS, (short) 1))).all().get(60, TimeUnit.SECONDS);
                for (int p = 0; p < PARTITIONS; p++) {
                    producer.send(new ProducerRecord<>(name, p, null, new byte[] {1})).get();
                }
            }
        }

        int held() {
            return readers.stream().mapToInt(reader -> reader.holds).sum();
        }

        boolean balanced() {
            return readers.stream().allMatch(reader -> reader.holds == PARTITIONS / 3);
        }

        void open() throws Exception {
            fill();
            long began = System.nanoTime();
            for (int member = 0; member < 3; member++) {
                Reader reader = new Reader();
                reader.setDaemon(true);
                readers.add(reader);
                reader.start();
            }
            first.await();
            long one = System.nanoTime();
            while (!balanced()) {
                Thread.sleep(1);
            }
            if (what.equals("start")) {
                System.out.printf("%s start: first record after %d ms, two partitions each after %d ms%n", broker, (one - began) / 1_000_000,
                    (System.nanoTime() - began) / 1_000_000);
            }
        }

        void start() throws Exception {
            open();
            for (Reader reader : readers) {
                reader.leave = true;
            }
            for (Reader reader : readers) {
                reader.join();
            }
        }

        void killed() {
            try {
                fill();
                for (int member = 0; member < 2; member++) {
                    Reader reader = new Reader();
                    reader.setDaemon(true);
                    readers.add(reader);
                    reader.start();
                }
                Process victim = new ProcessBuilder("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                    "-cp", System.getProperty("java.class.path"), "Measure", "member", broker, name).start();
                try {
                    while (!balanced()) {
                        Thread.sleep(1);
                    }
                    Thread.sleep(6000); // a heartbeat or so into its life
                } finally {
                    victim.destroyForcibly().waitFor();
                }
                long began = System.nanoTime();
                while (held() < PARTITIONS) {
                    Thread.sleep(1);
                }
                System.out.printf("%s killed: all partitions served after %d ms%n", broker, (System.nanoTime() - began) / 1_000_000);
            } catch (Exception broken) {
                throw new RuntimeException(broken);
            }
        }
    }

    /** Members of many groups that do nothing but stay, at the intervals that clients have by default. */
    static final class Heartbeats {
        static final short JOIN = 5;
        static final short SYNC = 3;
        static final short BEAT = 3;
        static final short CONSUMER = 1;
        final InetSocketAddress address;
        final String broker;
        final boolean classic;
        final int groups;
        final int each;
        final Selector selector;
        final PriorityQueue<Due> due = new PriorityQueue<>();
        final Random random = new Random(1);
        long beats;
        long errors;
        int settled;

        record Due(long at, Member member) implements Comparable<Due> {
            @Override
            public int compareTo(Due other) {
                return Long.compare(at, other.at);
            }
        }

        Heartbeats(String broker, String kind, int groups, int each) throws Exception {
            this.broker = broker;
            int colon = broker.lastIndexOf(':');
            this.address = new InetSocketAddress(broker.substring(0, colon), Integer.parseInt(broker.substring(colon + 1)));
            this.classic = kind.equals("classic");
            this.groups = groups;
            this.each = each;
            this.selector = Selector.open();
        }

        final class Member {
            final String group;
            final SocketChannel channel;
            final ByteBuffer in = ByteBuffer.allocate(1 << 14);
            String id = "";
            int epoch;
            boolean stays;
            boolean reports;
            ApiKeys asked;
            ConsumerGroupHeartbeatResponseData.Assignment assigned;

            Member(String group) throws Exception {
                this.group = group;
                this.channel = SocketChannel.open(address);
                channel.configureBlocking(false);
                channel.register(selector, SelectionKey.OP_READ, this);
                if (!classic) {
                    id = Uuid.randomUuid().toString();
                }
            }

            void send(ApiKeys key, short version, ApiMessage body) throws Exception {
                asked = key;
                short header = key.requestHeaderVersion(version);
                ByteBuffer head = MessageUtil.toByteBufferAccessor(new RequestHeaderData().setRequestApiKey(key.id).setRequestApiVersion(version)
                    .setCorrelationId(1).setClientId("beats"), header).buffer();
                ByteBuffer tail = MessageUtil.toByteBufferAccessor(body, version).buffer();
                ByteBuffer frame = ByteBuffer.allocate(4 + head.remaining() + tail.remaining());
                frame.putInt(head.remaining() + tail.remaining()).put(head).put(tail).flip();
                while (frame.hasRemaining()) {
                    channel.write(frame);
                }
            }

            void begin() throws Exception {
                if (classic) {
                    ByteBuffer subscription = ConsumerProtocol.serializeSubscription(new ConsumerPartitionAssignor.Subscription(List.of("beaten")));
                    byte[] bytes = new byte[subscription.remaining()];
                    subscription.get(bytes);
                    JoinGroupRequestData.JoinGroupRequestProtocolCollection protocols = new JoinGroupRequestData.JoinGroupRequestProtocolCollection();
                    protocols.add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("range").setMetadata(bytes));
                    send(ApiKeys.JOIN_GROUP, JOIN, new JoinGroupRequestData().setGroupId(group).setSessionTimeoutMs(45000).setRebalanceTimeoutMs(300000)
                        .setMemberId(id).setProtocolType("consumer").setProtocols(protocols));
                } else {
                    ConsumerGroupHeartbeatRequestData beat = new ConsumerGroupHeartbeatRequestData().setGroupId(group).setMemberId(id).setMemberEpoch(epoch);
                    if (epoch == 0) {
                        beat.setRebalanceTimeoutMs(300000).setSubscribedTopicNames(List.of("beaten")).setTopicPartitions(List.of());
                    } else if (reports) {
                        List<ConsumerGroupHeartbeatRequestData.TopicPartitions> owned = new ArrayList<>();
                        assigned.topicPartitions().forEach(topic -> owned.add(new ConsumerGroupHeartbeatRequestData.TopicPartitions()
                            .setTopicId(topic.topicId()).setPartitions(topic.partitions())));
                        beat.setTopicPartitions(owned);
                        reports = false;
                    }
                    send(ApiKeys.CONSUMER_GROUP_HEARTBEAT, CONSUMER, beat);
                }
            }

            void beat() throws Exception {
                if (classic) {
                    send(ApiKeys.HEARTBEAT, BEAT, new HeartbeatRequestData().setGroupId(group).setGenerationId(epoch).setMemberId(id));
                } else {
                    begin();
                }
            }

            void later(long ms) {
                due.add(new Due(System.nanoTime() + ms * 1_000_000, this));
            }

            void stay() {
                if (!stays) {
                    stays = true;
                    settled++;
                }
                later(classic ? 3000 : 5000);
            }

            void answer(ByteBuffer frame) throws Exception {
                short version = switch (asked) {
                    case JOIN_GROUP -> JOIN;
                    case SYNC_GROUP -> SYNC;
                    case HEARTBEAT -> BEAT;
                    default -> CONSUMER;
                };
                frame.getInt(); // the request's number
                if (asked.responseHeaderVersion(version) > 0) {
                    frame.get(); // no tagged fields
                }
                ByteBufferAccessor bytes = new ByteBufferAccessor(frame);
                switch (asked) {
                    case JOIN_GROUP -> {
                        JoinGroupResponseData said = new JoinGroupResponseData(bytes, version);
                        id = said.memberId();
                        if (said.errorCode() != 0) {
                            failed(said.errorCode(), Errors.MEMBER_ID_REQUIRED);
                            begin();
                            return;
                        }
                        epoch = said.generationId();
                        List<SyncGroupRequestData.SyncGroupRequestAssignment> all = new ArrayList<>();
                        said.members().forEach(member -> all.add(new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(member.memberId()).setAssignment(new byte[0])));
                        send(ApiKeys.SYNC_GROUP, SYNC, new SyncGroupRequestData().setGroupId(group).setGenerationId(epoch).setMemberId(id).setAssignments(all));
                    }
                    case SYNC_GROUP -> {
                        short error = new org.apache.kafka.common.message.SyncGroupResponseData(bytes, version).errorCode();
                        if (error != 0) {
                            failed(error, Errors.REBALANCE_IN_PROGRESS);
                            begin();
                        } else {
                            stay();
                        }
                    }
                    case HEARTBEAT -> {
                        short error = new org.apache.kafka.common.message.HeartbeatResponseData(bytes, version).errorCode();
                        beats++;
                        if (error != 0) {
                            failed(error, Errors.REBALANCE_IN_PROGRESS);
                            begin();
                        } else {
                            stay();
                        }
                    }
                    default -> {
                        ConsumerGroupHeartbeatResponseData said = new ConsumerGroupHeartbeatResponseData(bytes, version);
                        beats++;
                        if (said.errorCode() != 0) {
                            failed(said.errorCode(), Errors.NONE);
                            epoch = 0;
                            later(1000);
                            return;
                        }
                        epoch = said.memberEpoch();
                        if (said.assignment() != null) {
                            assigned = said.assignment();
                            reports = true;
                            later(10); // a client reports at once what it took
                            return;
                        }
                        stay();
                    }
                }
            }

            void failed(short error, Errors expected) {
                if (error != expected.code()) {
                    errors++;
                    if (errors < 4) {
                        System.out.println(group + ": " + Errors.forCode(error));
                    }
                }
                if (stays) {
                    stays = false;
                    settled--;
                }
            }

            void readable() throws Exception {
                if (channel.read(in) < 0) {
                    throw new EOFException(group);
                }
                in.flip();
                while (in.remaining() >= 4 && in.remaining() >= 4 + in.getInt(in.position())) {
                    int length = in.getInt();
                    ByteBuffer frame = in.slice(in.position(), length);
                    in.position(in.position() + length);
                    answer(frame);
                }
                in.compact();
            }
        }

        void pump(long until, boolean untilSettled) throws Exception {
            int wanted = untilSettled ? groups * each : Integer.MAX_VALUE;
            while (System.nanoTime() < until && settled < wanted) {
                long now = System.nanoTime();
                while (!due.isEmpty() && due.peek().at() <= now) {
                    due.poll().member().beat();
                }
                selector.select(1);
                for (SelectionKey key : selector.selectedKeys()) {
                    ((Member) key.attachment()).readable();
                }
                selector.selectedKeys().clear();
            }
        }

        /** Time on the processor of the process that listens there, in milliseconds. */
        static long spent(String broker) throws Exception {
            String pid = System.getProperty("broker.pid");
            String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) * 10;
        }

        void run(int seconds) throws Exception {
            try (Admin admin = admin(broker)) {
                if (!admin.listTopics().names().get().contains("beaten")) {
                    admin.createTopics(List.of(new NewTopic("beaten", 10, (short) 1))).all().get(60, TimeUnit.SECONDS);
                }
                // Asking for a coordinator makes the topic of offsets, as every client's first request does.
                admin.listConsumerGroupOffsets("beats").partitionsToOffsetAndMetadata().get(60, TimeUnit.SECONDS);
            }
            long began = System.nanoTime();
            for (int group = 0; group < groups; group++) {
                for (int member = 0; member < each; member++) {
                    new Member("beats-" + (classic ? "classic-" : "consumer-") + group).begin();
                }
                pump(System.nanoTime() + 2_000_000, false);
            }
            pump(System.nanoTime() + 180_000_000_000L, true);
            System.out.printf("%s %s: %d of %d members settled after %d ms%n", broker, classic ? "classic" : "consumer", settled, groups * each, (System.nanoTime() - began) / 1_000_000);
            // Clients did not all start at once.
            List<Due> all = new ArrayList<>(due);
            due.clear();
            all.forEach(one -> one.member().later(random.nextInt(classic ? 3000 : 5000)));
            pump(System.nanoTime() + 6_000_000_000L, false);
            for (int part = 0; part < 3; part++) {
                long from = System.nanoTime();
                long before = beats;
                long cpu = spent(broker);
                pump(from + seconds * 1_000_000_000L / 3, false);
                double took = (System.nanoTime() - from) / 1e9;
                System.out.printf("%s %s: %.0f heartbeats/s, %.1f %% of one core, %d settled, %d errors%n", broker, classic ? "classic" : "consumer",
                    (beats - before) / took, (spent(broker) - cpu) / took / 10, settled, errors);
            }
        }
    }
}
