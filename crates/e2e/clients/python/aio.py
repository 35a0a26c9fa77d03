"""aiokafka behind the stories' surface: one event loop in a thread, so that heartbeats never wait."""

import asyncio
import threading
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from stories import WAIT_S, Record

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(WAIT_S)


async def made(kind, *arguments, **settings):
    thing = kind(*arguments, **settings)
    await thing.start()
    return thing


class Client:
    version = aiokafka.__version__
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    def __init__(self, broker):
        self._broker = broker
        self._admin = run(made(AIOKafkaAdminClient, bootstrap_servers=broker))

    def create(self, topic, partitions):
        answer = run(self._admin.create_topics([NewTopic(topic, partitions, 1)]))
        for _, code, *_ in answer.topic_errors:
            if code:
                raise for_code(code)()

    def delete(self, topic):
        for _, code in run(self._admin.delete_topics([topic])).topic_error_codes:
            if code:
                raise for_code(code)()

    def partitions(self, topic):
        if topic not in run(self._admin.list_topics()):
            return 0
        return len(run(self._admin.describe_topics([topic]))[0]["partitions"])

    def produce(self, topic, records, codec):
        async def all_of_them():
            producer = await made(
                AIOKafkaProducer, bootstrap_servers=self._broker, acks="all", enable_idempotence=True,
                linger_ms=20, compression_type=None if codec in (None, "none") else codec,
            )
            try:
                sent = [
                    await producer.send(topic, r.value, r.key, partition=r.partition, timestamp_ms=r.timestamp, headers=r.headers)
                    for r in records
                ]
                await asyncio.gather(*sent)
            finally:
                await producer.stop()

        run(all_of_them())

    def read_all(self, topic, partitions, count):
        reader = Reader(self._broker, None, None)
        reader.assign([TopicPartition(topic, p) for p in range(partitions)])
        return reader.take(count)

    def reader(self, group, topic):
        return Reader(self._broker, group, topic)

    def committed(self, group, topic, partitions):
        found = run(self._admin.list_consumer_group_offsets(group))
        return {t.partition: o.offset for t, o in found.items() if t.topic == topic and o.offset >= 0}

    def offsets(self, topic, partitions, when):
        asked = [TopicPartition(topic, p) for p in range(partitions)]

        async def ask():
            consumer = await made(AIOKafkaConsumer, bootstrap_servers=self._broker)
            try:
                if when == "earliest":
                    return await consumer.beginning_offsets(asked)
                if when == "latest":
                    return await consumer.end_offsets(asked)
                timed = await consumer.offsets_for_times({t: when for t in asked})
                return {t: o.offset if o else None for t, o in timed.items()}
            finally:
                await consumer.stop()

        return {t.partition: o for t, o in run(ask()).items()}

    def configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = {}
        for answer in run(self._admin.describe_configs([resource])):
            for code, message, _, _, entries in answer.resources:
                if code:
                    raise for_code(code)(message)
                found.update({entry[0]: entry[1] for entry in entries})
        return found

    def alter(self, topic, key, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: value})
        for answer in run(self._admin.alter_configs([resource])):
            for code, message, *_ in answer.resources:
                if code:
                    raise for_code(code)(message)


class Reader:
    def __init__(self, broker, group, topic):
        self._consumer = run(made(
            AIOKafkaConsumer, *([topic] if topic else []), bootstrap_servers=broker, group_id=group,
            auto_offset_reset="earliest", enable_auto_commit=False, max_poll_records=50,
        ))

    def assign(self, partitions):
        async def on_the_loop():
            self._consumer.assign(partitions)
            await self._consumer.seek_to_beginning(*partitions)

        run(on_the_loop())

    def poll(self):
        return [
            Record(m.key, m.value, m.headers, m.partition, m.timestamp, m.offset)
            for batch in run(self._consumer.getmany(timeout_ms=300)).values() for m in batch
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
        run(self._consumer.commit())

    def close(self):
        run(self._consumer.stop())
