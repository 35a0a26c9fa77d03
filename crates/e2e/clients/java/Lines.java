import java.io.BufferedOutputStream;
import java.io.BufferedWriter;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Carries a file of {@code key TAB value} lines through a topic with Kafka's own Java client.
 *
 * <pre>
 * Lines BROKER produce FILE TOPIC ACKED      writes `row TAB partition TAB offset` per acknowledged record
 * Lines BROKER read TOPIC GROUP COUNT OUT    two members; writes `partition TAB offset TAB key TAB value`
 * </pre>
 *
 * The broker may be killed while this runs: an acknowledged record is one whose callback says so.
 * Readers commit what they wrote out, and stop after COUNT records in all.
 */
public final class Lines {
    static final int WAIT_MS = 300_000;

    public static void main(String[] given) throws Exception {
        if (given[1].equals("produce")) {
            produce(given[0], Path.of(given[2]), given[3], Path.of(given[4]));
        } else {
            read(given[0], given[2], given[3], Long.parseLong(given[4]), Path.of(given[5]));
        }
    }

    static void produce(String broker, Path file, String topic, Path acked) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        properties.put("compression.type", "zstd");
        properties.put("linger.ms", "5");
        properties.put("delivery.timeout.ms", WAIT_MS);
        properties.put("max.block.ms", WAIT_MS);
        properties.put("reconnect.backoff.max.ms", "500");
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (BufferedWriter told = Files.newBufferedWriter(acked, StandardCharsets.US_ASCII);
             KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
             var lines = Files.lines(file)) {
            AtomicLong rows = new AtomicLong();
            lines.forEachOrdered(line -> {
                long row = rows.getAndIncrement();
                int tab = line.indexOf('\t');
                producer.send(new ProducerRecord<>(topic, line.substring(0, tab).getBytes(StandardCharsets.UTF_8),
                    line.substring(tab + 1).getBytes(StandardCharsets.UTF_8)), (metadata, refused) -> {
                        try {
                            if (refused != null) {
                                failure.compareAndSet(null, refused);
                            } else {
                                told.write(row + "\t" + metadata.partition() + "\t" + metadata.offset() + "\n");
                            }
                        } catch (java.io.IOException broken) {
                            failure.compareAndSet(null, broken);
                        }
                    });
            });
            producer.flush();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    static void read(String broker, String topic, String group, long count, Path out) throws Exception {
        AtomicLong left = new AtomicLong(count);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        long until = System.currentTimeMillis() + WAIT_MS;
        try (OutputStream rows = new BufferedOutputStream(Files.newOutputStream(out))) {
            List<Thread> members = new ArrayList<>();
            for (int member = 0; member < 2; member++) {
                Thread thread = new Thread(() -> {
                    try {
                        member(broker, topic, group, left, until, rows);
                    } catch (Throwable thrown) {
                        failure.compareAndSet(null, thrown);
                    }
                });
                thread.start();
                members.add(thread);
            }
            for (Thread thread : members) {
                thread.join();
            }
        }
        if (failure.get() != null) {
            throw new RuntimeException(failure.get());
        }
        if (left.get() > 0) {
            throw new AssertionError(left + " records did not come");
        }
    }

    static void member(String broker, String topic, String group, AtomicLong left, long until, OutputStream rows) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        properties.put("group.id", group);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "2000");
        properties.put("reconnect.backoff.max.ms", "500");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                    commit(consumer);
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                }
            });
            while (left.get() > 0 && System.currentTimeMillis() < until) {
                var batch = consumer.poll(Duration.ofMillis(200));
                synchronized (rows) {
                    for (var record : batch) {
                        rows.write((record.partition() + "\t" + record.offset() + "\t").getBytes(StandardCharsets.US_ASCII));
                        rows.write(record.key());
                        rows.write('\t');
                        rows.write(record.value());
                        rows.write('\n');
                    }
                }
                left.addAndGet(-batch.count());
                if (!batch.isEmpty()) {
                    commit(consumer);
                }
            }
            commit(consumer);
        }
    }

    static void commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync();
        } catch (KafkaException refused) { // during a rebalance; the revocation commits again
            System.err.println("commit: " + refused);
        }
    }
}
