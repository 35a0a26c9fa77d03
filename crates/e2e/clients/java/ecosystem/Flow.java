import java.io.BufferedReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongUnaryOperator;
import java.util.stream.Collectors;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * An application of Kafka Streams over the flights, and what its results must be.
 *
 * <pre>
 * Flow fill BROKER FILE FROM TO     makes the topics and the table (if FROM is 0), and produces those rows
 * Flow run BROKER STATE             runs until it is ended; prints how many rows it has joined so far
 * Flow check BROKER FILE TO MODE    waits until nothing is left to do, then compares; MODE: exact, again
 * </pre>
 *
 * Flights are joined with a table of their destinations (one repartition topic), grouped by the name that
 * the table gives (another), and three results are kept in stores with changelogs:
 * <ul>
 * <li>{@code counts}: flights in each week. A row that is processed again is counted again, so this equals
 *   the truth if nothing died, and is never below it otherwise.
 * <li>{@code rows}: which flights were in each week, as a set. A row that comes again changes nothing, so
 *   this equals the truth whatever died.
 * <li>{@code worst}: the flight that arrived latest. A maximum, so the same holds.
 * </ul>
 */
public final class Flow {
    static final String APPLICATION = "flow";
    static final String FLIGHTS = "flow-flights";
    static final String PLACES = "flow-places";
    static final List<String> RESULTS = List.of("flow-counts", "flow-rows", "flow-worst");
    static final Duration WEEK = Duration.ofDays(7);
    /** No flight is ever late: what is processed again after a crash must not be dropped for its age. */
    static final Duration GRACE = Duration.ofDays(9000);
    static final long WAIT_MS = 120_000;
    /** Where the table's places come from: no story goes further. */
    static final int ROWS_MAX = 30_000;
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] given) throws Exception {
        switch (given[0]) {
            case "fill" -> fill(given[1], Path.of(given[2]), Integer.parseInt(given[3]), Integer.parseInt(given[4]));
            case "run" -> run(given[1], given[2]);
            default -> check(given[1], Path.of(given[2]), Integer.parseInt(given[3]), given[4].equals("exact"));
        }
        System.exit(0);
    }

    /** A flight, as far as it matters here. */
    record Flight(String tail, int row, long time, String dest, int delay, String json) {
        static Flight of(String line) {
            try {
                int tab = line.indexOf('\t');
                JsonNode seen = JSON.readTree(line.substring(tab + 1));
                return new Flight(line.substring(0, tab), seen.get("row").asInt(), Instant.parse(seen.get("time_hour").asText()).toEpochMilli(),
                    seen.get("dest").asText(), seen.get("arr_delay").asInt(-1000), line.substring(tab + 1));
            } catch (java.io.IOException unreadable) {
                throw new java.io.UncheckedIOException(unreadable);
            }
        }
    }

    static List<Flight> read(Path file, int from, int to) throws Exception {
        try (BufferedReader lines = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
            return lines.lines().skip(from).limit(to - from).map(Flight::of).collect(Collectors.toList());
        }
    }

    static String name(String dest) {
        return "Airport of " + dest;
    }

    static void fill(String broker, Path file, int from, int to) throws Exception {
        List<Flight> flights = read(file, from, to);
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("linger.ms", "5");
        properties.put("reconnect.backoff.max.ms", "500");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker));
             KafkaProducer<String, String> producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            if (from == 0) {
                List<NewTopic> topics = new ArrayList<>();
                // Flights of 2013 are older than any default retention.
                topics.add(new NewTopic(FLIGHTS, 4, (short) 1).configs(Map.of("retention.ms", "-1")));
                topics.add(new NewTopic(PLACES, 4, (short) 1).configs(Map.of("cleanup.policy", "compact")));
                RESULTS.forEach(name -> topics.add(new NewTopic(name, 4, (short) 1).configs(Map.of("retention.ms", "-1"))));
                admin.createTopics(topics).all().get(WAIT_MS, TimeUnit.MILLISECONDS);
                Set<String> places = new TreeSet<>();
                read(file, 0, ROWS_MAX).forEach(flight -> places.add(flight.dest()));
                for (String version : List.of("a name given up", "")) {
                    for (String dest : places) {
                        producer.send(new ProducerRecord<>(PLACES, null, 1L, dest, version.isEmpty() ? name(dest) : version));
                    }
                    producer.flush();
                }
            }
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Flight flight : flights) {
                sent.add(producer.send(new ProducerRecord<>(FLIGHTS, null, flight.time(), flight.tail(), flight.json())));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get(WAIT_MS, TimeUnit.MILLISECONDS);
            }
        }
    }

    static Topology topology(AtomicLong joined) {
        StreamsBuilder builder = new StreamsBuilder();
        var text = Serdes.String();
        KStream<String, String> flights = builder.stream(FLIGHTS, Consumed.with(text, text));
        var places = builder.table(PLACES, Consumed.with(text, text));
        // name -> "row TAB delay"
        KStream<String, String> named = flights
            .map((tail, json) -> {
                Flight flight = Flight.of(tail + "\t" + json);
                return org.apache.kafka.streams.KeyValue.pair(flight.dest(), flight.row() + "\t" + flight.delay());
            })
            .leftJoin(places, (flight, name) -> (name == null ? "a place without a name" : name) + "\t" + flight)
            .map((dest, value) -> {
                String[] words = value.split("\t", 2);
                return org.apache.kafka.streams.KeyValue.pair(words[0], words[1]);
            })
            .repartition();
        named.foreach((name, value) -> {
            long so = joined.incrementAndGet();
            if (so % 250 == 0) {
                System.out.println(so);
                System.out.flush();
            }
        });
        TimeWindowedKStream<String, String> weeks = named.groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(WEEK, GRACE));
        weeks.count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
            .toStream((week, count) -> key(week)).mapValues(String::valueOf).to(RESULTS.get(0), Produced.with(text, text));
        weeks.aggregate(() -> "", (name, value, rows) -> with(rows, Integer.parseInt(value.substring(0, value.indexOf('\t')))),
                Materialized.<String, String, WindowStore<Bytes, byte[]>>as("rows").withKeySerde(text).withValueSerde(text))
            .toStream((week, rows) -> key(week)).to(RESULTS.get(1), Produced.with(text, text));
        builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("worst"), text, text).withCachingEnabled());
        named.process(Worst::new, "worst").to(RESULTS.get(2), Produced.with(text, text));
        return builder.build();
    }

    static String key(Windowed<String> week) {
        return week.key() + "@" + week.window().start();
    }

    /** A set of rows, written as a sorted list, with one more. */
    static String with(String rows, int row) {
        int[] all = rows.isEmpty() ? new int[0] : Arrays.stream(rows.split(",")).mapToInt(Integer::parseInt).toArray();
        int at = Arrays.binarySearch(all, row);
        if (at >= 0) {
            return rows;
        }
        List<String> more = Arrays.stream(all).mapToObj(String::valueOf).collect(Collectors.toCollection(ArrayList::new));
        more.add(-at - 1, String.valueOf(row));
        return String.join(",", more);
    }

    /** Of two flights, the one that arrived later; of two as late, the earlier row. */
    static String worse(String one, String other) {
        String[] a = one.split("\t");
        String[] b = other.split("\t");
        int later = Integer.compare(Integer.parseInt(a[1]), Integer.parseInt(b[1]));
        return later > 0 || later == 0 && Integer.parseInt(a[0]) <= Integer.parseInt(b[0]) ? one : other;
    }

    static final class Worst implements Processor<String, String, String, String> {
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, String> store;

        @Override
        public void init(ProcessorContext<String, String> context) {
            this.context = context;
            this.store = context.getStateStore("worst");
        }

        @Override
        public void process(Record<String, String> record) {
            String before = store.get(record.key());
            String now = before == null ? record.value() : worse(before, record.value());
            store.put(record.key(), now);
            context.forward(record.withValue(now));
        }
    }

    static void run(String broker, String state) throws Exception {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, APPLICATION);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 300);
        properties.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 300);
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 500);
        // What was killed is missed soon, and starts from the beginning where it had committed nothing.
        properties.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
        properties.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 1000);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        AtomicLong joined = new AtomicLong();
        KafkaStreams streams = new KafkaStreams(topology(joined), properties);
        streams.setUncaughtExceptionHandler(thrown -> {
            thrown.printStackTrace();
            System.err.flush();
            Runtime.getRuntime().halt(1);
            return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        Thread.currentThread().join();
    }

    static void check(String broker, Path file, int to, boolean exact) throws Exception {
        Map<String, Long> counts = new TreeMap<>();
        Map<String, String> rows = new TreeMap<>();
        Map<String, String> worst = new TreeMap<>();
        LongUnaryOperator week = time -> time - time % WEEK.toMillis();
        for (Flight flight : read(file, 0, to)) {
            String name = name(flight.dest());
            String key = name + "@" + week.applyAsLong(flight.time());
            counts.merge(key, 1L, Long::sum);
            rows.merge(key, String.valueOf(flight.row()), (all, one) -> with(all, Integer.parseInt(one)));
            worst.merge(name, flight.row() + "\t" + flight.delay(), Flow::worse);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker, "reconnect.backoff.max.ms", "500"))) {
            drained(admin, to);
            Map<String, String> seenCounts = last(broker, RESULTS.get(0));
            Map<String, String> seenRows = last(broker, RESULTS.get(1));
            Map<String, String> seenWorst = last(broker, RESULTS.get(2));
            same("rows", rows, seenRows);
            same("worst", worst, seenWorst);
            if (!counts.keySet().equals(seenCounts.keySet())) {
                throw new AssertionError("counts of other weeks: " + seenCounts.size() + ", not " + counts.size());
            }
            long more = 0;
            for (var one : counts.entrySet()) {
                long seen = Long.parseLong(seenCounts.get(one.getKey()));
                if (seen < one.getValue() || exact && seen != one.getValue()) {
                    throw new AssertionError(one.getKey() + ": counted " + seen + ", not " + one.getValue());
                }
                more += seen - one.getValue();
            }
            internals(admin);
            System.out.println(rows.size() + " weeks of " + worst.size() + " places from " + to + " flights, " + more + " counted again");
        }
    }

    /** Waits until the application has committed the end of everything it reads, twice the same. */
    static void drained(Admin admin, int rows) throws Exception {
        long until = System.currentTimeMillis() + WAIT_MS;
        Map<TopicPartition, Long> before = Map.of();
        while (true) {
            Set<TopicPartition> read = new java.util.HashSet<>();
            for (String topic : admin.listTopics().names().get()) {
                if (topic.equals(FLIGHTS) || topic.equals(PLACES) || topic.startsWith(APPLICATION + "-") && topic.endsWith("-repartition")) {
                    for (int p = 0; p < 4; p++) {
                        read.add(new TopicPartition(topic, p));
                    }
                }
            }
            Map<TopicPartition, Long> ends = offsets(admin, read, OffsetSpec.latest());
            Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(APPLICATION).partitionsToOffsetAndMetadata().get();
            long lag = ends.entrySet().stream().mapToLong(end -> {
                OffsetAndMetadata at = committed.get(end.getKey());
                return end.getValue() - (at == null ? 0 : at.offset());
            }).sum();
            if (lag == 0 && ends.size() == 16 && ends.equals(before)) {
                long flights = ends.entrySet().stream().filter(end -> end.getKey().topic().equals(FLIGHTS)).mapToLong(Map.Entry::getValue).sum();
                if (flights != rows) {
                    throw new AssertionError(flights + " flights in the topic, not " + rows);
                }
                return;
            }
            if (System.currentTimeMillis() > until) {
                throw new AssertionError("still " + lag + " behind, over " + ends + " with " + committed);
            }
            before = ends;
            Thread.sleep(200);
        }
    }

    static Map<TopicPartition, Long> offsets(Admin admin, Set<TopicPartition> of, OffsetSpec spec) throws Exception {
        Map<TopicPartition, Long> found = new HashMap<>();
        admin.listOffsets(of.stream().collect(Collectors.toMap(p -> p, p -> spec))).all().get().forEach((p, at) -> found.put(p, at.offset()));
        return found;
    }

    /** The last value of each key. */
    static Map<String, String> last(String broker, String topic) {
        Map<String, String> values = new TreeMap<>();
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> every = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(p -> every.add(new TopicPartition(topic, p.partition())));
            consumer.assign(every);
            consumer.seekToBeginning(every);
            Map<TopicPartition, Long> ends = consumer.endOffsets(every);
            while (every.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                consumer.poll(Duration.ofMillis(200)).forEach(r -> values.put(r.key(), r.value()));
            }
        }
        return values;
    }

    static <V> void same(String what, Map<String, V> wanted, Map<String, V> got) {
        Map<String, String> differ = new LinkedHashMap<>();
        Set<String> keys = new TreeSet<>(wanted.keySet());
        keys.addAll(got.keySet());
        for (String key : keys) {
            if (!java.util.Objects.equals(wanted.get(key), got.get(key))) {
                differ.put(key, wanted.get(key) + " became " + got.get(key));
            }
        }
        if (!differ.isEmpty()) {
            var first = differ.entrySet().iterator().next();
            throw new AssertionError(what + ": " + differ.size() + " of " + wanted.size() + " differ, first " + first);
        }
    }

    /** The topics that Streams made for itself are what it asked for, and read repartitions are purged. */
    static void internals(Admin admin) throws Exception {
        List<ConfigResource> made = admin.listTopics().names().get().stream()
            .filter(topic -> topic.endsWith("-changelog") || topic.endsWith("-repartition"))
            .map(topic -> new ConfigResource(ConfigResource.Type.TOPIC, topic)).toList();
        Map<String, String> policies = new TreeMap<>();
        admin.describeConfigs(made).all().get().forEach((topic, config) -> policies.put(topic.name(), config.get("cleanup.policy").value()));
        List<String> found = List.copyOf(policies.values());
        if (policies.size() != 6 || found.stream().filter(p -> p.equals("compact")).count() != 2
            || found.stream().filter(p -> p.equals("delete")).count() != 2) {
            throw new AssertionError("internal topics are " + policies);
        }
        Set<TopicPartition> read = new java.util.HashSet<>();
        policies.keySet().stream().filter(topic -> topic.endsWith("-repartition")).forEach(topic -> {
            for (int p = 0; p < 4; p++) {
                read.add(new TopicPartition(topic, p));
            }
        });
        long until = System.currentTimeMillis() + WAIT_MS;
        while (offsets(admin, read, OffsetSpec.earliest()).values().stream().mapToLong(Long::longValue).sum() == 0) {
            if (System.currentTimeMillis() > until) {
                throw new AssertionError("nothing of the repartition topics was purged");
            }
            Thread.sleep(200);
        }
    }
}
