"""Runs the client stories with one Python client and prints one JSON line per story, after one that names its version.

    stories.py --broker HOST:PORT --client confluent|confluent-848|kafka-python|aiokafka STORY…

The stories are written once, here, over the small surface that each client's file
(confluent.py, confluent848.py, kafkapython.py, aio.py) offers. They check contents, not counts: every record
once, whole, in order within its key.
"""

import argparse
import importlib
import json
import sys
import threading
import time
import traceback
import uuid

PARTITIONS = 6
WAIT_S = 120.0  # generous: the machine may be busy; only failures take this long
MODULES = {"confluent": "confluent", "confluent-848": "confluent848", "kafka-python": "kafkapython", "aiokafka": "aio"}


class Record:
    """One record as produced or as read; headers are a list, since names may repeat."""

    def __init__(self, key, value, headers=(), partition=None, timestamp=None, offset=None):
        self.key, self.value, self.headers = key, value, list(headers)
        self.partition, self.timestamp, self.offset = partition, timestamp, offset


def numbered(count, tag, start=0):
    """`count` records over 37 keys; the value starts with the record's number."""
    for i in range(start, start + count):
        yield Record(
            key=b"key-%d" % (i % 37),
            value=b"%d:%s:" % (i, tag.encode()) + b"abcdefgh" * (i % 23),
            headers=[("n", b"%d" % i), ("tag", tag.encode()), ("tag", b"again"), ("empty", b"")],
        )


def number_of(record):
    return int(record.value.split(b":", 1)[0])


def check_exact(got, wanted, what):
    """Every wanted record exactly once, whole, and in order within its key."""
    wanted = list(wanted)
    by_number = {number_of(r): r for r in wanted}
    seen, last = set(), {}
    for r in got:
        n = number_of(r)
        assert n in by_number, f"{what}: record {n} was never produced"
        assert n not in seen, f"{what}: record {n} came twice"
        seen.add(n)
        w = by_number[n]
        assert r.key == w.key, f"{what}: record {n} has key {r.key!r}, not {w.key!r}"
        assert r.value == w.value, f"{what}: record {n} has another value"
        assert list(r.headers) == list(w.headers), f"{what}: record {n} has headers {r.headers!r}, not {w.headers!r}"
        assert last.get(r.key, -1) < n, f"{what}: record {n} of key {r.key!r} after {last[r.key]}"
        last[r.key] = n
    missing = sorted(set(by_number) - seen)
    assert not missing, f"{what}: {len(missing)} records are missing, first {missing[:5]}"


def check_offsets(got, what):
    """Offsets within each partition run without a hole from where they start."""
    at = {}
    for r in got:
        if r.partition in at:
            assert r.offset == at[r.partition] + 1, f"{what}: partition {r.partition} jumps from {at[r.partition]} to {r.offset}"
        at[r.partition] = r.offset


class Member:
    """A group member with a thread of its own: polls, keeps what it read, commits after each poll."""

    def __init__(self, client, group, topic, limit=None, **how):
        self.records, self.assigned, self.failure = [], frozenset(), None
        self._stop, self._limit = threading.Event(), limit
        self._reader = client.reader(group, topic, **how)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.is_set():
                batch = self._reader.poll()
                self.assigned = frozenset(self._reader.assigned())
                self.records.extend(batch)
                if batch:
                    self._reader.commit()
                if self._limit and len(self.records) >= self._limit:
                    break
        except Exception as failure:  # reported by whoever waits on this member
            self.failure = failure
            traceback.print_exc()
        finally:
            try:
                self._reader.close()
            except Exception as failure:
                self.failure = self.failure or failure

    def leave(self):
        self._stop.set()
        self.join()

    def join(self):
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "a member did not stop"
        if self.failure:
            raise self.failure


def wait_until(true, what, members):
    until = time.monotonic() + WAIT_S
    while not true():
        for member in members:
            if member.failure:
                raise member.failure
        if time.monotonic() > until:
            state = [(sorted(m.assigned), len(m.records)) for m in members]
            raise AssertionError(f"waited {WAIT_S:.0f} s for {what}; members hold {state}")
        time.sleep(0.02)


def with_topic(client, name):
    topic = f"e2e-{name}-{uuid.uuid4().hex[:10]}"
    client.create(topic, PARTITIONS)
    shown(client, topic)
    return topic


def shown(client, topic):
    """Waits for a topic: a broker may answer before its metadata shows what it made."""
    until = time.monotonic() + WAIT_S
    while client.partitions(topic) == 0:
        assert time.monotonic() < until, "the topic never shows"
        time.sleep(0.05)


def topic(client):
    """A topic is created with six partitions, cannot be created twice, and is gone when deleted."""
    name = with_topic(client, "topic")
    assert client.partitions(name) == PARTITIONS, f"{client.partitions(name)} partitions"
    try:
        client.create(name, PARTITIONS)
    except Exception as refused:
        assert "exists" in str(refused).lower().replace("_", ""), f"created twice: {refused!r}"
    else:
        raise AssertionError("the same topic was created twice")
    client.delete(name)
    until = time.monotonic() + WAIT_S
    while client.partitions(name):
        assert time.monotonic() < until, "the topic outlives its deletion"
        time.sleep(0.1)


def codecs(client):
    """Records survive every codec the client has, with keys and headers, in one topic."""
    name, wanted, start = with_topic(client, "codecs"), [], 0
    for codec in client.codecs:
        batch = list(numbered(600, codec, start))
        client.produce(name, batch, codec)
        wanted += batch
        start += 600
    got = client.read_all(name, PARTITIONS, len(wanted))
    check_exact(got, wanted, "codecs")
    check_offsets(got, "codecs")
    client.delete(name)


def group(client):
    """A group of two: one joins, one leaves, and every record is read once."""
    name = with_topic(client, "group")
    id_, wanted = f"{name}-readers", []

    def more():
        batch = list(numbered(600, "group", len(wanted)))
        client.produce(name, batch, None)
        wanted.extend(batch)

    more()
    first = Member(client, id_, name)
    members = [first]
    total = lambda: sum(len(m.records) for m in members)
    wait_until(lambda: len(first.assigned) == PARTITIONS and total() >= len(wanted), "the first member to read all", members)
    second = Member(client, id_, name)
    members.append(second)
    wait_until(lambda: len(first.assigned) == 3 and len(second.assigned) == 3, "two members to hold three each", members)
    assert not first.assigned & second.assigned, "a partition has two owners"
    more()
    wait_until(lambda: total() >= len(wanted), "two members to read all", members)
    assert second.records, "the second member read nothing"
    first.leave()
    wait_until(lambda: len(second.assigned) == PARTITIONS, "the member that stays to hold all", [second])
    more()
    wait_until(lambda: total() >= len(wanted), "the member that stays to read all", [second])
    second.leave()
    check_exact(first.records + second.records, wanted, "group")
    committed = client.committed(id_, name, PARTITIONS)
    assert sum(committed.values()) == len(wanted), f"committed {committed}"
    client.delete(name)


def resume(client):
    """A reader that commits and stops is continued exactly where it was."""
    name = with_topic(client, "resume")
    wanted = list(numbered(900, "resume"))
    client.produce(name, wanted, None)
    first = Member(client, f"{name}-readers", name, limit=250)
    first.join()
    read = len(first.records)
    assert read < len(wanted), "the first reader took everything at once"
    committed = client.committed(f"{name}-readers", name, PARTITIONS)
    assert sum(o for o in committed.values() if o > 0) == read, f"read {read}, committed {committed}"
    second = Member(client, f"{name}-readers", name)
    wait_until(lambda: len(second.records) >= len(wanted) - read, "the rest", [second])
    second.leave()
    check_exact(first.records + second.records, wanted, "resume")
    client.delete(name)


def migrate(client):
    """A group goes from a classic member to the broker's protocol (KIP-848) and back, and loses nothing."""
    name = with_topic(client, "migrate")
    id_, wanted, members = f"{name}-readers", [], []

    def enters(protocol):
        members.append(Member(client, id_, name, protocol=protocol))
        return members[-1]

    def reads(what):
        batch = list(numbered(600, "migrate", len(wanted)))
        client.produce(name, batch, None)
        wanted.extend(batch)
        wait_until(lambda: sum(len(m.records) for m in members) >= len(wanted), f"{what} to read all", members)

    def share(first, second):
        wait_until(lambda: len(first.assigned) == 3 and len(second.assigned) == 3, "two members to hold three each", members)
        assert not first.assigned & second.assigned, "a partition has two owners"

    alone = lambda member: wait_until(lambda: len(member.assigned) == PARTITIONS, "one member to hold all", members)
    first = enters("classic")
    alone(first)
    reads("a classic member")
    second = enters("consumer")
    share(first, second)
    reads("one of each protocol")
    first.leave()
    alone(second)
    reads("a member of the new protocol")
    third = enters("classic")
    share(second, third)
    reads("one of each protocol, again")
    second.leave()
    alone(third)
    reads("a group that is classic again")
    third.leave()
    check_exact([r for m in members for r in m.records], wanted, "migrate")
    committed = client.committed(id_, name, PARTITIONS)
    assert sum(committed.values()) == len(wanted), f"committed {committed}"
    client.delete(name)


def offsets(client):
    """Earliest, latest and by-time offsets, also inside a compressed batch."""
    for codec in [None] + [c for c in client.codecs if c != "none"][:1]:
        name = with_topic(client, "offsets")
        base = int(time.time() * 1000) - 3_600_000
        records = [
            Record(b"k", b"%d:t" % i, partition=i % PARTITIONS, timestamp=base + i * 1000) for i in range(60)
        ]
        client.produce(name, records, codec)
        every = lambda offset: {p: offset for p in range(PARTITIONS)}
        for when, wanted in [
            ("earliest", every(0)),
            ("latest", every(10)),
            (base, every(0)),
            (base + 30_000, every(5)),
            (base + 30_500, {**every(5), 0: 6}),
            (base + 59_000, {**every(None), 5: 9}),
            (base + 60_000, every(None)),
        ]:
            got = client.offsets(name, PARTITIONS, when)
            shown = when if isinstance(when, str) else f"base + {when - base} ms"
            assert got == wanted, f"offsets at {shown} ({codec}): {got}, not {wanted}"
        client.delete(name)


def configs(client):
    """A topic's settings are described, altered, seen altered."""
    name = with_topic(client, "configs")
    before = client.configs(name)
    for key in ["cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas", "compression.type"]:
        assert key in before, f"{key} is not described"
    assert before["retention.ms"] == "604800000", before["retention.ms"]
    client.alter(name, "retention.ms", "86400000")
    until = time.monotonic() + WAIT_S
    while client.configs(name)["retention.ms"] != "86400000":
        assert time.monotonic() < until, "the altered setting never shows"
        time.sleep(0.1)
    assert client.configs(name)["cleanup.policy"] == before["cleanup.policy"]
    client.delete(name)


STORIES = {f.__name__: f for f in [topic, codecs, group, resume, migrate, offsets, configs]}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--broker", required=True)
    arguments.add_argument("--client", required=True, choices=sorted(MODULES))
    arguments.add_argument("story", nargs="+", choices=sorted(STORIES))
    given = arguments.parse_args()
    client = importlib.import_module(MODULES[given.client]).Client(given.broker)
    print(json.dumps({"client": given.client, "version": client.version}), flush=True)
    failed = False
    for name in given.story:
        started, error = time.monotonic(), None
        try:
            STORIES[name](client)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            traceback.print_exc()
        failed = failed or error is not None
        line = {"client": given.client, "story": name, "ok": error is None, "ms": round((time.monotonic() - started) * 1000)}
        if error is not None:
            line["error"] = error
        print(json.dumps(line), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
