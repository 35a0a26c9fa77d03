import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A compacted topic as a table: many records over fewer keys, of which the last of each key must stay.
 *
 * <pre>
 * Table fill BROKER TOPIC RECORDS KEYS      record i has the key {@code i * 7919 mod KEYS} and the value i
 * Table check BROKER TOPIC RECORDS KEYS     reads all: prints how many records there are; each key's last is right
 * </pre>
 *
 * KEYS must have no factor in common with 7919, so that each KEYS records in a row have every key once.
 */
public final class Table {
    static final long STEP = 7919;
    static final int WAIT_MS = 300_000;

    public static void main(String[] given) throws Exception {
        long records = Long.parseLong(given[3]);
        int keys = Integer.parseInt(given[4]);
        if (given[0].equals("fill")) {
            fill(given[1], given[2], records, keys);
        } else {
            check(given[1], given[2], records, keys);
        }
        System.exit(0);
    }

    static byte[] key(long record, int keys) {
        return String.format("key-%08d", record * STEP % keys).getBytes();
    }

    static byte[] value(long record) {
        return (record + " of the values of its key").getBytes();
    }

    static void fill(String broker, String topic, long records, int keys) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1).configs(Map.of("cleanup.policy", "compact",
                "segment.bytes", "4194304", "min.cleanable.dirty.ratio", "0.1", "max.compaction.lag.ms", "1000"))))
                .all().get(WAIT_MS, TimeUnit.MILLISECONDS);
        }
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("acks", "all");
        properties.put("linger.ms", "5");
        properties.put("batch.size", "65536");
        properties.put("delivery.timeout.ms", WAIT_MS);
        properties.put("max.block.ms", WAIT_MS);
        properties.put("reconnect.backoff.max.ms", "500");
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (long record = 0; record < records && failure.get() == null; record++) {
                producer.send(new ProducerRecord<>(topic, key(record, keys), value(record)), (metadata, refused) -> {
                    if (refused != null) {
                        failure.compareAndSet(null, refused);
                    }
                });
            }
            producer.flush();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    static void check(String broker, String topic, long records, int keys) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("check.crcs", "true");
        // The last records hold every key once: what each key's last value is, is known without a table.
        long[] last = new long[keys];
        long seen = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long before = -1;
            while (consumer.position(partition) < end) {
                for (var record : consumer.poll(Duration.ofMillis(300))) {
                    String text = new String(record.value());
                    long number = Long.parseLong(text.substring(0, text.indexOf(' ')));
                    // One partition, one producer that retries without repeating: offsets are numbers.
                    if (record.offset() <= before || record.offset() != number || !java.util.Arrays.equals(record.key(), key(number, keys))
                        || !java.util.Arrays.equals(record.value(), value(number))) {
                        throw new AssertionError("offset " + record.offset() + " after " + before + " holds " + new String(record.key()) + ": " + text);
                    }
                    before = record.offset();
                    last[(int) (number * STEP % keys)] = number + 1;
                    seen++;
                }
            }
            if (end != records) {
                throw new AssertionError("the end is " + end + ", not " + records);
            }
        }
        for (long record = records - keys; record < records; record++) {
            long got = last[(int) (record * STEP % keys)] - 1;
            if (got != record) {
                throw new AssertionError(new String(key(record, keys)) + ": the last value is " + got + ", not " + record);
            }
        }
        System.out.println(seen);
    }
}
