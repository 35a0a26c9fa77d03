"""confluent-kafka (librdkafka) behind the stories' surface."""

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec,
)

from stories import WAIT_S, Record


class Client:
    protocol = "classic"
    version = f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    def __init__(self, broker):
        self._base = {"bootstrap.servers": broker, "client.id": "e2e-confluent"}
        self._admin = AdminClient(self._base)

    def create(self, topic, partitions):
        self._admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT_S)

    def delete(self, topic):
        self._admin.delete_topics([topic])[topic].result(WAIT_S)

    def partitions(self, topic):
        metadata = self._admin.list_topics(timeout=WAIT_S)
        return len(metadata.topics[topic].partitions) if topic in metadata.topics else 0

    def produce(self, topic, records, codec):
        producer = Producer({
            **self._base, "acks": "all", "enable.idempotence": True,
            "compression.type": codec or "none", "linger.ms": 20, "message.timeout.ms": int(WAIT_S * 1000),
        })
        failures = []
        told = lambda error, message: failures.append(error) if error else None
        for r in records:
            given = {"partition": r.partition} if r.partition is not None else {}
            if r.timestamp is not None:
                given["timestamp"] = r.timestamp
            producer.produce(topic, r.value, r.key, headers=r.headers, on_delivery=told, **given)
            producer.poll(0)
        left = producer.flush(WAIT_S)
        assert not left and not failures, f"{left} not delivered, failures {failures[:3]}"

    def read_all(self, topic, partitions, count):
        reader = Reader(self._base, f"{topic}-all", None, self.protocol)
        reader.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        return reader.take(count)

    def reader(self, group, topic, protocol=None):
        return Reader(self._base, group, topic, protocol or self.protocol)

    def committed(self, group, topic, partitions):
        consumer = Consumer({**self._base, "group.id": group})
        try:
            found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=WAIT_S)
            return {t.partition: t.offset for t in found if t.offset >= 0}
        finally:
            consumer.close()

    def offsets(self, topic, partitions, when):
        spec = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest}.get(when)
        spec = spec() if spec else OffsetSpec.for_timestamp(when)
        asked = self._admin.list_offsets({TopicPartition(topic, p): spec for p in range(partitions)})
        found = {t.partition: f.result(WAIT_S).offset for t, f in asked.items()}
        return {p: None if o < 0 else o for p, o in found.items()}

    def configs(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = list(self._admin.describe_configs([resource]).values())[0].result(WAIT_S)
        return {name: entry.value for name, entry in found.items()}

    def alter(self, topic, key, value):
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        list(self._admin.incremental_alter_configs([resource]).values())[0].result(WAIT_S)


class Reader:
    def __init__(self, base, group, topic, protocol):
        # By the newer protocol the broker sets the session timeout, and the client refuses to.
        session = {"session.timeout.ms": 45000} if protocol == "classic" else {}
        self._consumer = Consumer({
            **base, **session, "group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "check.crcs": True, "enable.partition.eof": False,
        })
        if topic:
            self._consumer.subscribe([topic])

    def assign(self, partitions):
        self._consumer.assign(partitions)

    def poll(self):
        batch = []
        for m in self._consumer.consume(50, 0.3):
            if m.error():
                if m.error().code() == KafkaError._PARTITION_EOF or m.error().retriable():
                    continue
                raise RuntimeError(str(m.error()))
            batch.append(Record(m.key(), m.value(), m.headers() or [], m.partition(), m.timestamp()[1], m.offset()))
        return batch

    def take(self, count):
        import time
        got, until = [], time.monotonic() + WAIT_S
        while len(got) < count and time.monotonic() < until:
            got += self.poll()
        got += self.poll()  # one more look: nothing may follow
        self.close()
        return got

    def assigned(self):
        return {t.partition for t in self._consumer.assignment()}

    def commit(self):
        self._consumer.commit(asynchronous=False)

    def close(self):
        self._consumer.close()
