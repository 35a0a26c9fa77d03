// KafkaJS behind the stories' surface. It negotiates the lowest and oldest requests of all clients here,
// and reads with its own decoder.
'use strict'

const assert = require('node:assert/strict')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4js')
const xxh = require('lz4js/xxh32')
const snappy = require('kafkajs-snappy')
const zstd = require('@bokuweb/zstd-wasm')

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

/** KafkaJS keeps headers in an object: values of one name together, in a list. */
function toObject(headers) {
  const object = {}
  for (const [name, value] of headers) object[name] = name in object ? [].concat(object[name], value) : value
  return object
}

function toList(headers) {
  return Object.entries(headers).flatMap(([name, value]) => [].concat(value).map(one => [name, String(one)]))
}

/** A group member: keeps what it read, commits each batch once it has been read whole. */
class Member {
  static async join(kafka, topic, { limit = Infinity } = {}) {
    const member = new Member()
    member.records = []
    member.assigned = new Set()
    member.full = false
    member.consumer = kafka.consumer({ groupId: `${topic}-readers`, maxBytesPerPartition: 4096, maxWaitTimeInMs: 300 })
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
        member.records.push(...batch.messages.map(m => ({
          partition: batch.partition, offset: BigInt(m.offset), key: String(m.key), value: String(m.value), headers: toList(m.headers),
        })))
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

class Surface {
  codecs = Object.keys(CODECS)
  /** KafkaJS answers the end of the partition when no record is young enough. */
  noneIsEnd = true

  constructor(broker) {
    this.kafka = new Kafka({
      clientId: 'e2e-kafkajs', brokers: [broker], logLevel: logLevel.ERROR,
      connectionTimeout: 30_000, requestTimeout: 60_000,
    })
    this.admin = this.kafka.admin()
  }

  create(topic, numPartitions) {
    return this.admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] })
  }

  delete(name) {
    return this.admin.deleteTopics({ topics: [name] })
  }

  async partitions(name) {
    if (!(await this.admin.listTopics()).includes(name)) return 0
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [name] })
    return topics[0].partitions.length
  }

  async produce(topic, records, codec) {
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const messages = records.map(r => ({ ...r, headers: toObject(r.headers), timestamp: r.timestamp && String(r.timestamp) }))
    const acknowledged = await producer.send({ topic, messages, acks: -1, compression: CODECS[codec] })
    for (const { errorCode } of acknowledged) assert.equal(errorCode, 0)
    await producer.disconnect()
  }

  join(topic, how) {
    return Member.join(this.kafka, topic, how)
  }

  async committed(topic) {
    const found = await this.admin.fetchOffsets({ groupId: `${topic}-readers`, topics: [topic] })
    return found[0].partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
  }

  async offsets(topic, when) {
    const found = typeof when === 'string'
      ? (await this.admin.fetchTopicOffsets(topic)).map(o => ({ ...o, offset: when === 'earliest' ? o.low : o.high }))
      : await this.admin.fetchTopicOffsetsByTimestamp(topic, when)
    return found.sort((a, b) => a.partition - b.partition).map(o => Number(o.offset))
  }

  async configs(name) {
    const { resources } = await this.admin.describeConfigs({
      includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name }],
    })
    return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
  }

  alter(topic, name, value) {
    return this.admin.alterConfigs({
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }],
    })
  }

  close() {
    return this.admin.disconnect()
  }
}

async function open(broker) {
  await zstd.init()
  const on = new Surface(broker)
  await on.admin.connect()
  return on
}

module.exports = { open, version: require('kafkajs/package.json').version }
