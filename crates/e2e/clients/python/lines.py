"""Carries a file of `key TAB value` lines through a topic with confluent-kafka.

    lines.py BROKER produce FILE TOPIC ACKED      appends `row TAB partition TAB offset` per acknowledged record
    lines.py BROKER read TOPIC GROUP COUNT OUT    two members; writes `partition TAB offset TAB key TAB value`

The broker may be killed while this runs: an acknowledged record is one whose delivery report says
so, and nothing else. Readers commit what they wrote out, and stop after COUNT records in all.
"""

import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer

WAIT_S = 300.0


def produce(broker, path, topic, acked_path):
    producer = Producer({
        "bootstrap.servers": broker, "acks": "all", "enable.idempotence": True, "compression.type": "zstd",
        "linger.ms": 5, "message.timeout.ms": int(WAIT_S * 1000), "retry.backoff.max.ms": 500,
        "reconnect.backoff.max.ms": 500,
    })
    failures = []
    with open(path, "rb") as lines, open(acked_path, "w", encoding="ascii") as acked:
        for row, line in enumerate(lines):
            key, value = line.rstrip(b"\n").split(b"\t", 1)

            def told(error, message, row=row):
                if error:
                    failures.append(f"row {row}: {error}")
                else:
                    acked.write(f"{row}\t{message.partition()}\t{message.offset()}\n")

            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=told)
                    break
                except BufferError:
                    producer.poll(0.1)
            if row % 500 == 0:
                producer.poll(0)
        left = producer.flush(WAIT_S)
    if left or failures:
        sys.exit(f"{left} records not delivered, failures {failures[:3]}")


class Member:
    def __init__(self, broker, topic, group, out, shared):
        self.rows, self._out, self._shared = 0, out, shared
        self._consumer = Consumer({
            "bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "check.crcs": True, "reconnect.backoff.max.ms": 500,
        })
        self._consumer.subscribe([topic], on_revoke=lambda *_: self._commit())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._shared["stop"].is_set():
            message = self._consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                print(message.error(), file=sys.stderr)
                continue
            with self._shared["lock"]:
                self._out.write(b"%d\t%d\t%s\t%s\n" % (message.partition(), message.offset(), message.key(), message.value()))
                self._shared["count"] += 1
                if self._shared["count"] >= self._shared["wanted"]:
                    self._shared["stop"].set()
            self.rows += 1
            if self.rows % 2000 == 0:
                self._commit()
        self._commit()
        self._consumer.close()

    def _commit(self):
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as refused:  # during a rebalance; the revocation commits again
            print(f"commit: {refused}", file=sys.stderr)

    def join(self):
        self._thread.join()


def read(broker, topic, group, count, out_path):
    shared = {"lock": threading.Lock(), "stop": threading.Event(), "count": 0, "wanted": int(count)}
    with open(out_path, "wb") as out:
        members = [Member(broker, topic, group, out, shared) for _ in range(2)]
        if not shared["stop"].wait(WAIT_S):
            shared["stop"].set()
            time.sleep(0)
        for member in members:
            member.join()
    if shared["count"] < shared["wanted"]:
        sys.exit(f"only {shared['count']} of {count} records came")


if __name__ == "__main__":
    {"produce": produce, "read": read}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
