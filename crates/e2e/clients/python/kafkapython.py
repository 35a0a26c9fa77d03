"""kafka-python behind the stories' surface."""

import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from stories import WAIT_S, Record


class Client:
    version = kafka.__version__
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    def __init__(self, broker):
        self._broker = broker
        self._admin = KafkaAdminClient(bootstrap_servers=broker, client_id="e2e-kafka-python")

    def create(self, topic, partitions):
        self._admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)

    def delete(self, topic):
        self._admin.delete_topics([topic])

    def partitions(self, topic):
        if topic not in self._admin.list_topics():
            return 0
        return len(self._admin.describe_topics([topic])[0]["partitions"])

    def produce(self, topic, records, codec):
        producer = KafkaProducer(
            bootstrap_servers=self._broker, acks="all", enable_idempotence=True, linger_ms=20,
            compression_type=None if codec in (None, "none") else codec,
        )
        sent = [
            producer.send(topic, r.value, r.key, headers=r.headers, partition=r.partition, timestamp_ms=r.timestamp)
            for r in records
        ]
        producer.flush(WAIT_S)
        for future in sent:
            future.get(WAIT_S)
        producer.close()

    def read_all(self, topic, partitions, count):
        reader = Reader(self._broker, None, None)
        reader.assign([TopicPartition(topic, p) for p in range(partitions)])
        return reader.take(count)

    def reader(self, group, topic):
        return Reader(self._broker, group, topic)

    def committed(self, group, topic, partitions):
        consumer = KafkaConsumer(bootstrap_servers=self._broker, group_id=group)
        try:
            found = {p: consumer.committed(TopicPartition(topic, p)) for p in range(partitions)}
            return {p: o for p, o in found.items() if o is not None}
        finally:
            consumer.close()

    def offsets(self, topic, partitions, when):
        consumer = KafkaConsumer(bootstrap_servers=self._broker)
        asked = [TopicPartition(topic, p) for p in range(partitions)]
        try:
            if when == "earliest":
                found = consumer.beginning_offsets(asked)
            elif when == "latest":
                found = consumer.end_offsets(asked)
            else:
                timed = consumer.offsets_for_times({t: when for t in asked})
                found = {t: o.offset if o else None for t, o in timed.items()}
            return {t.partition: o for t, o in found.items()}
        finally:
            consumer.close()

    def configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self._admin.describe_configs([resource], config_filter="all")
        return {name: entry["value"] for name, entry in found["topic"][topic].items()}

    def alter(self, topic, key, value):
        self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {key: value})])


class Reader:
    def __init__(self, broker, group, topic):
        self._consumer = KafkaConsumer(
            bootstrap_servers=broker, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, max_poll_records=50, client_id="e2e-kafka-python",
        )
        if topic:
            self._consumer.subscribe([topic])

    def assign(self, partitions):
        self._consumer.assign(partitions)
        self._consumer.seek_to_beginning(*partitions)

    def poll(self):
        return [
            Record(m.key, m.value, m.headers, m.partition, m.timestamp, m.offset)
            for batch in self._consumer.poll(300).values() for m in batch
        ]

    def take(self, count):
        got, until = [], time.monotonic() + WAIT_S
        while len(got) < count and time.monotonic() < until:
            got += self.poll()
        got += self.poll()
        self.close()
        return got

    def assigned(self):
        return {t.partition for t in self._consumer.assignment()}

    def commit(self):
        self._consumer.commit()

    def close(self):
        self._consumer.close()
