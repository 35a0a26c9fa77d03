import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Runs the client stories with Kafka's own Java client and prints one JSON line per story, after one that
 * names its version.
 *
 * <pre>Stories --broker HOST:PORT --client NAME STORY…</pre>
 *
 * The same source is compiled against each line of kafka-clients, so it uses only what 2.8 and
 * 4.3 share (a client whose name ends in -848 reads by the protocol of that KIP, which 2.8 has not). It checks contents, not counts: every record once, whole, in order within its key.
 */
public final class Stories {
    static final int PARTITIONS = 6;
    /** Generous: the machine may be busy; only failures take this long. */
    static final long WAIT_MS = 120_000;
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    interface Story {
        void run(Stories on) throws Exception;
    }

    final String broker;
    final String client;
    final Admin admin;

    Stories(String broker, String client) {
        this.broker = broker;
        this.client = client;
        this.admin = Admin.create(Map.of("bootstrap.servers", broker, "client.id", "e2e-admin"));
    }

    public static void main(String[] arguments) {
        Map<String, Story> all = new LinkedHashMap<>();
        all.put("topic", Stories::topic);
        all.put("codecs", Stories::codecs);
        all.put("group", Stories::group);
        all.put("resume", Stories::resume);
        all.put("offsets", Stories::offsets);
        all.put("configs", Stories::configs);
        tell(arguments, all);
    }

    /** Tells the stories that the arguments name, and ends the process. */
    static void tell(String[] arguments, Map<String, Story> all) {
        String broker = null;
        String client = "java";
        List<String> names = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--broker": broker = arguments[++i]; break;
                case "--client": client = arguments[++i]; break;
                default: names.add(arguments[i]);
            }
        }
        Stories on = new Stories(broker, client);
        System.out.println("{\"client\":" + quoted(client) + ",\"version\":" + quoted(org.apache.kafka.common.utils.AppInfoParser.getVersion()) + "}");
        boolean failed = false;
        for (String name : names.isEmpty() ? all.keySet() : names) {
            long started = System.nanoTime();
            Throwable failure = null;
            try {
                all.get(name).run(on);
            } catch (Throwable thrown) {
                thrown.printStackTrace();
                failure = thrown;
                failed = true;
            }
            long ms = (System.nanoTime() - started) / 1_000_000;
            System.out.println("{\"client\":" + quoted(client) + ",\"story\":" + quoted(name) + ",\"ok\":" + (failure == null)
                + ",\"ms\":" + ms + (failure == null ? "" : ",\"error\":" + quoted(failure.toString())) + "}");
            System.out.flush();
        }
        on.admin.close(Duration.ofSeconds(5));
        System.exit(failed ? 1 : 0);
    }

    // The stories.

    /** A topic is created with six partitions, cannot be created twice, and is gone when deleted. */
    void topic() throws Exception {
        String name = withTopic("topic");
        check(partitions(name) == PARTITIONS, partitions(name) + " partitions");
        try {
            create(name);
            throw new AssertionError("the same topic was created twice");
        } catch (ExecutionException refused) {
            check(refused.getCause() instanceof org.apache.kafka.common.errors.TopicExistsException, "created twice: " + refused);
        }
        delete(name);
        eventually(() -> partitions(name) == 0, "the topic to be gone");
    }

    /** Records survive every codec the client has, with keys and headers, in one topic. */
    void codecs() throws Exception {
        String name = withTopic("codecs");
        List<Row> wanted = new ArrayList<>();
        for (String codec : CODECS) {
            List<Row> batch = numbered(600, codec, wanted.size());
            produce(name, batch, codec);
            wanted.addAll(batch);
        }
        List<Row> got = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            List<TopicPartition> every = every(name);
            consumer.assign(every);
            consumer.seekToBeginning(every);
            long until = System.currentTimeMillis() + WAIT_MS;
            while (got.size() < wanted.size() && System.currentTimeMillis() < until) {
                consumer.poll(Duration.ofMillis(300)).forEach(r -> got.add(Row.of(r)));
            }
            consumer.poll(Duration.ofMillis(300)).forEach(r -> got.add(Row.of(r)));
        }
        checkExact(got, wanted, "codecs");
        checkOffsets(got, "codecs");
        delete(name);
    }

    /** A group of two: one joins, one leaves, and every record is read once. */
    void group() throws Exception {
        String name = withTopic("group");
        List<Row> wanted = new ArrayList<>();
        more(name, wanted);
        Member first = new Member(name, 0);
        eventually(() -> first.healthy() && first.assigned.size() == PARTITIONS && first.rows.size() >= wanted.size(),
            "the first member to read all");
        Member second = new Member(name, 0);
        eventually(() -> first.healthy() && second.healthy() && first.assigned.size() == 3 && second.assigned.size() == 3,
            "two members to hold three each");
        Set<Integer> both = new HashSet<>(first.assigned);
        both.addAll(second.assigned);
        check(both.size() == PARTITIONS, "a partition has two owners");
        more(name, wanted);
        eventually(() -> first.healthy() && second.healthy() && first.rows.size() + second.rows.size() >= wanted.size(),
            "two members to read all");
        check(!second.rows.isEmpty(), "the second member read nothing");
        first.leave();
        eventually(() -> second.healthy() && second.assigned.size() == PARTITIONS, "the member that stays to hold all");
        more(name, wanted);
        eventually(() -> second.healthy() && first.rows.size() + second.rows.size() >= wanted.size(),
            "the member that stays to read all");
        second.leave();
        List<Row> got = new ArrayList<>(first.rows);
        got.addAll(second.rows);
        checkExact(got, wanted, "group");
        check(committed(name) == wanted.size(), "committed " + committed(name) + " of " + wanted.size());
        delete(name);
    }

    /** A reader that commits and stops is continued exactly where it was. */
    void resume() throws Exception {
        String name = withTopic("resume");
        List<Row> wanted = numbered(900, "resume", 0);
        produce(name, wanted, "none");
        Member first = new Member(name, 250);
        first.join();
        int read = first.rows.size();
        check(read < wanted.size(), "the first reader took everything at once");
        check(committed(name) == read, "read " + read + ", committed " + committed(name));
        Member second = new Member(name, 0);
        eventually(() -> second.healthy() && second.rows.size() >= wanted.size() - read, "the rest");
        second.leave();
        List<Row> got = new ArrayList<>(first.rows);
        got.addAll(second.rows);
        checkExact(got, wanted, "resume");
        delete(name);
    }

    /** Earliest, latest and by-time offsets, also inside a compressed batch. */
    void offsets() throws Exception {
        for (String codec : List.of("none", "gzip")) {
            String name = withTopic("offsets");
            long base = System.currentTimeMillis() - 3_600_000;
            List<Row> rows = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                rows.add(new Row("k".getBytes(), (i + ":t").getBytes(), List.of(), i % PARTITIONS, base + i * 1000L, -1));
            }
            produce(name, rows, codec);
            offsetsAre(name, OffsetSpec.earliest(), "earliest", 0, 0, 0, 0, 0, 0);
            offsetsAre(name, OffsetSpec.latest(), "latest", 10, 10, 10, 10, 10, 10);
            offsetsAre(name, OffsetSpec.forTimestamp(base), "base", 0, 0, 0, 0, 0, 0);
            offsetsAre(name, OffsetSpec.forTimestamp(base + 30_000), "base + 30 s", 5, 5, 5, 5, 5, 5);
            offsetsAre(name, OffsetSpec.forTimestamp(base + 30_500), "base + 30.5 s", 6, 5, 5, 5, 5, 5);
            offsetsAre(name, OffsetSpec.forTimestamp(base + 59_000), "base + 59 s", -1, -1, -1, -1, -1, 9);
            offsetsAre(name, OffsetSpec.forTimestamp(base + 60_000), "base + 60 s", -1, -1, -1, -1, -1, -1);
            delete(name);
        }
    }

    /** A topic's settings are described, altered, seen altered. */
    void configs() throws Exception {
        String name = withTopic("configs");
        Map<String, String> before = settings(name);
        for (String key : List.of("cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas", "compression.type")) {
            check(before.containsKey(key), key + " is not described");
        }
        check("604800000".equals(before.get("retention.ms")), "retention.ms is " + before.get("retention.ms"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "86400000"), AlterConfigOp.OpType.SET)))).all().get(WAIT_MS, TimeUnit.MILLISECONDS);
        eventually(() -> "86400000".equals(settings(name).get("retention.ms")), "the altered setting to show");
        check(before.get("cleanup.policy").equals(settings(name).get("cleanup.policy")), "another setting changed");
        delete(name);
    }

    // What they stand on.

    /** One record as produced or as read. */
    static final class Row {
        final byte[] key;
        final byte[] value;
        final List<Map.Entry<String, String>> headers;
        final int partition;
        final long timestamp;
        final long offset;

        Row(byte[] key, byte[] value, List<Map.Entry<String, String>> headers, int partition, long timestamp, long offset) {
            this.key = key;
            this.value = value;
            this.headers = headers;
            this.partition = partition;
            this.timestamp = timestamp;
            this.offset = offset;
        }

        static Row of(org.apache.kafka.clients.consumer.ConsumerRecord<byte[], byte[]> record) {
            List<Map.Entry<String, String>> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                headers.add(Map.entry(header.key(), new String(header.value())));
            }
            return new Row(record.key(), record.value(), headers, record.partition(), record.timestamp(), record.offset());
        }

        int number() {
            return Integer.parseInt(new String(value).split(":", 2)[0]);
        }
    }

    /** A group member with a thread of its own: polls, keeps what it read, commits after each poll. */
    final class Member {
        final List<Row> rows = java.util.Collections.synchronizedList(new ArrayList<>());
        volatile Set<Integer> assigned = Set.of();
        volatile Throwable failure;
        volatile boolean stop;
        final Thread thread;

        /** Reads until told to leave, or, with a limit above zero, until it has read that many. */
        Member(String topic, int limit) {
            thread = new Thread(() -> {
                try (KafkaConsumer<byte[], byte[]> consumer = consumer(topic + "-readers")) {
                    consumer.subscribe(List.of(topic));
                    while (!stop && (limit == 0 || rows.size() < limit)) {
                        var batch = consumer.poll(Duration.ofMillis(300));
                        Set<Integer> held = new HashSet<>();
                        consumer.assignment().forEach(t -> held.add(t.partition()));
                        assigned = held;
                        batch.forEach(r -> rows.add(Row.of(r)));
                        if (!batch.isEmpty()) {
                            consumer.commitSync();
                        }
                    }
                } catch (Throwable thrown) {
                    thrown.printStackTrace();
                    failure = thrown;
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        boolean healthy() {
            if (failure != null) {
                throw new AssertionError("a member failed: " + failure);
            }
            return true;
        }

        void leave() throws InterruptedException {
            stop = true;
            join();
        }

        void join() throws InterruptedException {
            thread.join(WAIT_MS);
            check(!thread.isAlive(), "a member did not stop");
            healthy();
        }
    }

    /** Records over 37 keys; the value starts with the record's number. */
    static List<Row> numbered(int count, String tag, int start) {
        List<Row> rows = new ArrayList<>();
        for (int i = start; i < start + count; i++) {
            rows.add(new Row(("key-" + i % 37).getBytes(), (i + ":" + tag + ":" + "abcdefgh".repeat(i % 23)).getBytes(),
                List.of(Map.entry("n", "" + i), Map.entry("tag", tag), Map.entry("tag", "again"), Map.entry("empty", "")), -1, -1, -1));
        }
        return rows;
    }

    void more(String topic, List<Row> wanted) throws Exception {
        List<Row> batch = numbered(600, "group", wanted.size());
        produce(topic, batch, "none");
        wanted.addAll(batch);
    }

    void produce(String topic, List<Row> rows, String codec) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        properties.put("compression.type", codec);
        properties.put("linger.ms", "20");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (Row row : rows) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, row.partition < 0 ? null : row.partition,
                    row.timestamp < 0 ? null : row.timestamp, row.key, row.value);
                row.headers.forEach(h -> record.headers().add(h.getKey(), h.getValue().getBytes()));
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> one : sent) {
                check(one.get(WAIT_MS, TimeUnit.MILLISECONDS).offset() >= 0, "a record was acknowledged without an offset");
            }
        }
    }

    KafkaConsumer<byte[], byte[]> consumer(String group) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("allow.auto.create.topics", "false");
        properties.put("max.poll.records", "50");
        if (group != null) {
            properties.put("group.id", group);
        }
        if (client.endsWith("-848")) {
            properties.put("group.protocol", "consumer");
        }
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    String withTopic(String story) throws Exception {
        String name = "e2e-" + story + "-" + UUID.randomUUID().toString().substring(0, 8);
        create(name);
        // A broker may answer before its metadata shows what it made.
        eventually(() -> partitions(name) != 0, "the topic to show");
        return name;
    }

    void create(String name) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, PARTITIONS, (short) 1))).all().get(WAIT_MS, TimeUnit.MILLISECONDS);
    }

    void delete(String name) throws Exception {
        admin.deleteTopics(List.of(name)).all().get(WAIT_MS, TimeUnit.MILLISECONDS);
    }

    int partitions(String name) {
        try {
            if (!admin.listTopics().names().get(WAIT_MS, TimeUnit.MILLISECONDS).contains(name)) {
                return 0;
            }
        } catch (Exception failure) {
            throw new RuntimeException(failure);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            var found = consumer.partitionsFor(name);
            return found == null ? 0 : found.size();
        } catch (org.apache.kafka.common.errors.UnknownTopicOrPartitionException gone) {
            return 0;
        }
    }

    Map<String, String> settings(String topic) {
        try {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            Config config = admin.describeConfigs(List.of(resource)).all().get(WAIT_MS, TimeUnit.MILLISECONDS).get(resource);
            Map<String, String> found = new HashMap<>();
            config.entries().forEach(e -> found.put(e.name(), e.value()));
            return found;
        } catch (Exception failure) {
            throw new RuntimeException(failure);
        }
    }

    long committed(String topic) throws Exception {
        var found = admin.listConsumerGroupOffsets(topic + "-readers").partitionsToOffsetAndMetadata().get(WAIT_MS, TimeUnit.MILLISECONDS);
        return found.values().stream().mapToLong(o -> o.offset()).sum();
    }

    void offsetsAre(String topic, OffsetSpec spec, String shown, long... wanted) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        every(topic).forEach(t -> asked.put(t, spec));
        var answers = admin.listOffsets(asked).all().get(WAIT_MS, TimeUnit.MILLISECONDS);
        long[] got = new long[PARTITIONS];
        answers.forEach((t, o) -> got[t.partition()] = o.offset());
        check(Arrays.equals(got, wanted), "offsets at " + shown + ": " + Arrays.toString(got) + ", not " + Arrays.toString(wanted));
    }

    static List<TopicPartition> every(String topic) {
        List<TopicPartition> every = new ArrayList<>();
        for (int p = 0; p < PARTITIONS; p++) {
            every.add(new TopicPartition(topic, p));
        }
        return every;
    }

    static void checkExact(List<Row> got, List<Row> wanted, String what) {
        Map<Integer, Row> byNumber = new TreeMap<>();
        wanted.forEach(r -> byNumber.put(r.number(), r));
        Map<String, Integer> last = new HashMap<>();
        for (Row row : got) {
            int n = row.number();
            Row w = byNumber.remove(n);
            check(w != null, what + ": record " + n + " came twice or was never produced");
            check(Arrays.equals(row.key, w.key) && Arrays.equals(row.value, w.value), what + ": record " + n + " changed");
            check(row.headers.equals(w.headers), what + ": record " + n + " has headers " + row.headers + ", not " + w.headers);
            Integer before = last.put(new String(row.key), n);
            check(before == null || before < n, what + ": record " + n + " after " + before + " of the same key");
        }
        check(byNumber.isEmpty(), what + ": " + byNumber.size() + " records are missing, first "
            + byNumber.keySet().stream().limit(5).toList());
    }

    static void checkOffsets(List<Row> got, String what) {
        Map<Integer, Long> at = new HashMap<>();
        for (Row row : got) {
            Long before = at.put(row.partition, row.offset);
            check(before == null || before + 1 == row.offset, what + ": partition " + row.partition + " jumps from " + before + " to " + row.offset);
        }
    }

    static void eventually(BooleanSupplier true_, String what) throws InterruptedException {
        long until = System.currentTimeMillis() + WAIT_MS;
        while (!true_.getAsBoolean()) {
            check(System.currentTimeMillis() < until, "waited " + WAIT_MS / 1000 + " s for " + what);
            Thread.sleep(20);
        }
    }

    static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(' ');
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
