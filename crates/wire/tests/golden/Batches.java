// Writes batches.txt: record batches as Kafka's own client builds them, one for each codec.
//
//   java -cp 'kafka-clients-4.3.0.jar:slf4j-api.jar:zstd-jni.jar:snappy-java.jar:lz4-java.jar' Batches.java > batches.txt
//
// All hold the same four records, base offset 10: see tests/golden.rs.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;

public class Batches {
    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        System.out.println("# record batches, by Batches.java with kafka-clients 4.3.0");
        Compression[] codecs = {
            Compression.NONE, Compression.gzip().build(), Compression.snappy().build(),
            Compression.lz4().build(), Compression.zstd().build()
        };
        for (Compression codec : codecs) {
            ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(
                buffer, RecordBatch.CURRENT_MAGIC_VALUE, codec, TimestampType.CREATE_TIME, 10L,
                -1L, 77L, (short) 3, 2147483646, true, false, 5, buffer.capacity());
            builder.append(1000L, bytes("key"), bytes("value"));
            builder.append(900L, null, bytes("x".repeat(500)));
            builder.append(5000L, bytes(""), null, new Header[] {
                new RecordHeader("h", bytes("1")), new RecordHeader("h", (byte[]) null),
                new RecordHeader("ü", bytes("")) });
            builder.append(5000L, (byte[]) null, (byte[]) null);
            MemoryRecords records = builder.build();
            ByteBuffer out = records.buffer();
            byte[] all = new byte[out.remaining()];
            out.get(all);
            System.out.println("\n[" + codec.type().name + "]\n" + HexFormat.of().formatHex(all) + "  batch");
        }
    }
}
