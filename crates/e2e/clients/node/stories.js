// Runs the client stories with KafkaJS and prints one JSON line per story.
//
//   stories.js --broker HOST:PORT [--client kafkajs] STORY…
//
// KafkaJS negotiates the lowest and oldest requests of all clients here, and reads with its own
// decoder. The stories check contents, not counts: every record once, whole, in order within its key.
// The modules are found through NODE_PATH: they are installed outside the sources.
'use strict'

const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4js')
const xxh = require('lz4js/xxh32')
const snappy = require('kafkajs-snappy')
const zstd = require('@bokuweb/zstd-wasm')

const PARTITIONS = 6
const WAIT_MS = 120_000 // generous: the machine may be busy; only failures take this long

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => independent(Buffer.from(lz4.compress(encoder.buffer))),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

/**
 * lz4js leaves the frame's "blocks are independent" bit unset, and Kafka refuses such frames. Every
 * batch here fits in the first block, so the bit may be set; the header checksum then changes.
 */
function independent(frame) {
  frame[4] |= 0x20
  frame[6] = (xxh.hash(0, frame, 4, 2) >> 8) & 0xff
  return frame
}

const pause = ms => new Promise(done => setTimeout(done, ms))

/** Records over 37 keys; the value starts with the record's number. */
function numbered(count, tag, start = 0) {
  return Array.from({ length: count }, (_, at) => start + at).map(i => ({
    key: `key-${i % 37}`,
    value: `${i}:${tag}:${'abcdefgh'.repeat(i % 23)}`,
    headers: { n: String(i), tag: [tag, 'again'], empty: '' },
  }))
}

const numberOf = value => Number(value.split(':', 1)[0])

function plain(partition, message) {
  const headers = {}
  for (const [name, value] of Object.entries(message.headers)) {
    headers[name] = Array.isArray(value) ? value.map(String) : String(value)
  }
  return {
    partition,
    offset: BigInt(message.offset),
    key: String(message.key),
    value: String(message.value),
    headers,
  }
}

/** Every wanted record exactly once, whole, in order within its key, offsets without a hole. */
function checkExact(got, wanted, what) {
  const left = new Map(wanted.map(r => [numberOf(r.value), r]))
  const last = new Map()
  for (const r of got) {
    const n = numberOf(r.value)
    const w = left.get(n)
    assert(w, `${what}: record ${n} came twice or was never produced`)
    left.delete(n)
    assert.equal(r.key, w.key)
    assert.equal(r.value, w.value)
    assert.deepEqual(r.headers, w.headers)
    assert((last.get(r.key) ?? -1) < n, `${what}: record ${n} after ${last.get(r.key)} of the same key`)
    last.set(r.key, n)
  }
  assert.equal(left.size, 0, `${what}: ${left.size} records are missing, first ${[...left.keys()].slice(0, 5)}`)
}

async function eventually(holds, what) {
  const until = Date.now() + WAIT_MS
  while (!(await holds())) {
    assert(Date.now() < until, `waited ${WAIT_MS / 1000} s for ${what}`)
    await pause(20)
  }
}

/** A group member: keeps what it read, commits each batch once it has been read whole. */
class Member {
  static async join(on, topic, { limit = Infinity } = {}) {
    const member = new Member()
    member.records = []
    member.assigned = new Set()
    member.full = false
    member.consumer = on.kafka.consumer({ groupId: `${topic}-readers`, maxBytesPerPartition: 4096, maxWaitTimeInMs: 300 })
    member.consumer.on(member.consumer.events.GROUP_JOIN, ({ payload }) => {
      member.assigned = new Set(payload.memberAssignment[topic] ?? [])
    })
    member.consumer.on(member.consumer.events.CRASH, ({ payload }) => { member.failure = payload.error })
    await member.consumer.connect()
    await member.consumer.subscribe({ topics: [topic], fromBeginning: true })
    await member.consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 1,
      eachBatch: async ({ batch }) => {
        if (member.full) return
        member.records.push(...batch.messages.map(m => plain(batch.partition, m)))
        const next = String(BigInt(batch.lastOffset()) + 1n)
        await member.consumer.commitOffsets([{ topic, partition: batch.partition, offset: next }])
        member.full = member.records.length >= limit
      },
    })
    return member
  }

  healthy() {
    if (this.failure) throw this.failure
    return true
  }

  async leave() {
    await this.consumer.disconnect()
    this.assigned = new Set()
    this.healthy()
  }
}

class Stories {
  constructor(broker) {
    this.kafka = new Kafka({
      clientId: 'e2e-kafkajs', brokers: [broker], logLevel: logLevel.ERROR,
      connectionTimeout: 30_000, requestTimeout: 60_000,
    })
    this.admin = this.kafka.admin()
  }

  /** A topic is created with six partitions, cannot be created twice, and is gone when deleted. */
  async topic() {
    const name = await this.withTopic('topic')
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [name] })
    assert.equal(topics[0].partitions.length, PARTITIONS)
    assert.equal(await this.create(name), false, 'the same topic was created twice')
    await this.delete(name)
    await eventually(async () => !(await this.admin.listTopics()).includes(name), 'the topic to be gone')
  }

  /** Records survive every codec, with keys and headers, in one topic. */
  async codecs() {
    const name = await this.withTopic('codecs')
    const wanted = []
    for (const codec of Object.keys(CODECS)) {
      const batch = numbered(600, codec, wanted.length)
      await this.produce(name, batch, codec)
      wanted.push(...batch)
    }
    const member = await Member.join(this, name)
    await eventually(() => member.healthy() && member.records.length >= wanted.length, 'all records')
    await member.leave()
    checkExact(member.records, wanted, 'codecs')
    await this.delete(name)
  }

  /** A group of two: one joins, one leaves, and every record is read once. */
  async group() {
    const name = await this.withTopic('group')
    const wanted = []
    const more = async () => {
      const batch = numbered(600, 'group', wanted.length)
      await this.produce(name, batch, 'none')
      wanted.push(...batch)
    }
    await more()
    const first = await Member.join(this, name)
    await eventually(() => first.healthy() && first.assigned.size === PARTITIONS && first.records.length >= wanted.length, 'the first member to read all')
    const second = await Member.join(this, name)
    await eventually(() => first.healthy() && second.healthy() && first.assigned.size === 3 && second.assigned.size === 3, 'two members to hold three each')
    assert.equal(new Set([...first.assigned, ...second.assigned]).size, PARTITIONS)
    await more()
    await eventually(() => first.healthy() && second.healthy() && first.records.length + second.records.length >= wanted.length, 'two members to read all')
    assert(second.records.length > 0, 'the second member read nothing')
    await first.leave()
    await eventually(() => second.healthy() && second.assigned.size === PARTITIONS, 'the member that stays to hold all')
    await more()
    await eventually(() => second.healthy() && first.records.length + second.records.length >= wanted.length, 'the member that stays to read all')
    await second.leave()
    checkExact([...first.records, ...second.records], wanted, 'group')
    assert.equal(await this.committed(name), wanted.length)
    await this.delete(name)
  }

  /** A reader that commits and stops is continued exactly where it was. */
  async resume() {
    const name = await this.withTopic('resume')
    const wanted = []
    while (wanted.length < 900) { // several batches: KafkaJS takes what a fetch returns as a whole
      const batch = numbered(100, 'resume', wanted.length)
      await this.produce(name, batch, 'none')
      wanted.push(...batch)
    }
    const first = await Member.join(this, name, { limit: 250 })
    await eventually(() => first.healthy() && first.full, 'the first reader')
    await first.leave()
    const read = first.records.length
    assert(read < wanted.length, 'the first reader took everything at once')
    assert.equal(await this.committed(name), read)
    const second = await Member.join(this, name)
    await eventually(() => second.healthy() && second.records.length >= wanted.length - read, 'the rest')
    await second.leave()
    checkExact([...first.records, ...second.records], wanted, 'resume')
    await this.delete(name)
  }

  /** Earliest, latest and by-time offsets, also inside a compressed batch. */
  async offsets() {
    for (const codec of ['none', 'gzip']) {
      const name = await this.withTopic('offsets')
      const base = Date.now() - 3_600_000
      await this.produce(name, Array.from({ length: 60 }, (_, i) => ({
        key: 'k', value: `${i}:t`, partition: i % PARTITIONS, timestamp: String(base + i * 1000),
      })), codec)
      const ends = await this.admin.fetchTopicOffsets(name)
      for (const { partition, low, high } of ends) {
        assert.deepEqual([low, high], ['0', '10'], `offsets of partition ${partition}`)
      }
      // KafkaJS answers the end of the partition when no record is young enough.
      for (const [after, wanted] of [
        [0, [0, 0, 0, 0, 0, 0]],
        [30_000, [5, 5, 5, 5, 5, 5]],
        [30_500, [6, 5, 5, 5, 5, 5]],
        [59_000, [10, 10, 10, 10, 10, 9]],
        [60_000, [10, 10, 10, 10, 10, 10]],
      ]) {
        const found = await this.admin.fetchTopicOffsetsByTimestamp(name, base + after)
        const got = found.sort((a, b) => a.partition - b.partition).map(o => Number(o.offset))
        assert.deepEqual(got, wanted, `offsets at base + ${after} ms (${codec})`)
      }
      await this.delete(name)
    }
  }

  /** A topic's settings are described, altered, seen altered. */
  async configs() {
    const name = await this.withTopic('configs')
    const settings = async () => {
      const { resources } = await this.admin.describeConfigs({
        includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name }],
      })
      return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
    }
    const before = await settings()
    for (const key of ['cleanup.policy', 'retention.ms', 'max.message.bytes', 'min.insync.replicas', 'compression.type']) {
      assert(key in before, `${key} is not described`)
    }
    assert.equal(before['retention.ms'], '604800000')
    await this.admin.alterConfigs({
      resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: 'retention.ms', value: '86400000' }] }],
    })
    await eventually(async () => (await settings())['retention.ms'] === '86400000', 'the altered setting to show')
    assert.equal((await settings())['cleanup.policy'], before['cleanup.policy'])
    await this.delete(name)
  }

  // What they stand on.

  async withTopic(story) {
    const name = `e2e-${story}-${randomUUID().slice(0, 8)}`
    assert(await this.create(name))
    // A broker may answer before its metadata shows what it made.
    await eventually(async () => (await this.admin.listTopics()).includes(name), 'the topic to show')
    return name
  }

  create(name) {
    return this.admin.createTopics({ topics: [{ topic: name, numPartitions: PARTITIONS, replicationFactor: 1 }] })
  }

  delete(name) {
    return this.admin.deleteTopics({ topics: [name] })
  }

  async produce(topic, messages, codec) {
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const acknowledged = await producer.send({ topic, messages, acks: -1, compression: CODECS[codec] })
    for (const { errorCode } of acknowledged) assert.equal(errorCode, 0)
    await producer.disconnect()
  }

  async committed(topic) {
    const found = await this.admin.fetchOffsets({ groupId: `${topic}-readers`, topics: [topic] })
    return found[0].partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
  }
}

async function main(given) {
  let broker, client = 'kafkajs'
  const names = []
  while (given.length) {
    const word = given.shift()
    if (word === '--broker') broker = given.shift()
    else if (word === '--client') client = given.shift()
    else names.push(word)
  }
  await zstd.init()
  const on = new Stories(broker)
  await on.admin.connect()
  let failed = false
  for (const story of names.length ? names : ['topic', 'codecs', 'group', 'resume', 'offsets', 'configs']) {
    const started = Date.now()
    const line = { client, story, ok: true, ms: 0 }
    try {
      await on[story]()
    } catch (failure) {
      console.error(failure)
      line.ok = false
      line.error = `${failure.name}: ${failure.message}`
      failed = true
    }
    line.ms = Date.now() - started
    console.log(JSON.stringify(line))
  }
  await on.admin.disconnect()
  process.exit(failed ? 1 : 0)
}

main(process.argv.slice(2)).catch(failure => {
  console.error(failure)
  process.exit(2)
})
