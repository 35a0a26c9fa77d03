// @platformatic/kafka behind the stories' surface. It takes the newest version of each request that it and
// the broker share.
'use strict'

const { readFileSync } = require('node:fs')
const { dirname, join } = require('node:path')
const {
  Admin, Consumer, Producer, ConfigResourceTypes, IncrementalAlterConfigOperationTypes, ListOffsetTimestamps,
} = require('@platformatic/kafka')

/** A group member: keeps what it read once that is committed. */
class Member {
  static async join(on, topic, { limit = Infinity } = {}) {
    const member = new Member()
    member.topic = topic
    member.records = []
    member.full = false
    member.consumer = new Consumer({
      ...on.base, groupId: `${topic}-readers`, autocommit: false, maxWaitTime: 300,
      ...(on.newer ? { groupProtocol: 'consumer' } : { heartbeatInterval: 1000 }),
    })
    member.stream = await member.consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', highWaterMark: 16 })
    member.reading = member.read(limit).catch(failure => { member.failure = failure })
    return member
  }

  async read(limit) {
    for await (const r of this.stream) {
      await r.commit()
      this.records.push({
        partition: r.partition, offset: r.offset, key: String(r.key), value: String(r.value),
        headers: r.headerEntries.map(([name, value]) => [String(name), String(value)]),
      })
      this.full = this.records.length >= limit
      if (this.full) break
    }
  }

  get assigned() {
    return new Set(this.consumer.assignments?.find(a => a.topic === this.topic)?.partitions ?? [])
  }

  healthy() {
    if (this.failure) throw this.failure
    return true
  }

  async leave() {
    await this.stream.close()
    await this.reading
    this.healthy()
    await this.consumer.close(true)
  }
}

class Surface {
  codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
  noneIsEnd = false

  constructor(broker, client) {
    this.newer = client.endsWith('-848')
    this.repeats = !this.newer
    this.base = { clientId: `e2e-${client}`, bootstrapBrokers: [broker], connectTimeout: 30_000, requestTimeout: 60_000 }
    this.admin = new Admin(this.base)
  }

  async create(topic, partitions) {
    try {
      await this.admin.createTopics({ topics: [topic], partitions, replicas: 1 })
      return true
    } catch (refused) {
      if (refused.findBy?.('apiId', 'TOPIC_ALREADY_EXISTS')) return false
      throw refused
    }
  }

  delete(name) {
    return this.admin.deleteTopics({ topics: [name] })
  }

  async partitions(name) {
    if (!(await this.admin.listTopics()).includes(name)) return 0
    const { topics } = await this.admin.metadata({ topics: [name], forceUpdate: true })
    return topics.get(name)?.partitionsCount ?? 0
  }

  async produce(topic, records, codec) {
    const producer = new Producer({ ...this.base, idempotent: true })
    await producer.send({
      acks: -1, compression: codec,
      messages: records.map(r => ({
        topic, key: Buffer.from(r.key), value: Buffer.from(r.value), partition: r.partition,
        timestamp: r.timestamp && BigInt(r.timestamp),
        headers: new Map(r.headers.map(([name, value]) => [Buffer.from(name), Buffer.from(value)])),
      })),
    })
    await producer.close()
  }

  join(topic, how) {
    return Member.join(this, topic, how)
  }

  async committed(topic) {
    const [found] = await this.admin.listConsumerGroupOffsets({ groups: [`${topic}-readers`] })
    return found.topics.find(t => t.name === topic).partitions
      .reduce((sum, { committedOffset }) => sum + Math.max(0, Number(committedOffset)), 0)
  }

  async offsets(name, when, partitions) {
    const timestamp = { earliest: ListOffsetTimestamps.EARLIEST, latest: ListOffsetTimestamps.LATEST }[when] ?? BigInt(when)
    const [found] = await this.admin.listOffsets({
      topics: [{ name, partitions: Array.from({ length: partitions }, (_, partitionIndex) => ({ partitionIndex, timestamp })) }],
    })
    return found.partitions.sort((a, b) => a.partitionIndex - b.partitionIndex).map(o => Number(o.offset))
  }

  async configs(resourceName) {
    const [found] = await this.admin.describeConfigs({ resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName }] })
    return Object.fromEntries(found.configs.map(e => [e.name, e.value]))
  }

  alter(resourceName, name, value) {
    return this.admin.incrementalAlterConfigs({
      resources: [{
        resourceType: ConfigResourceTypes.TOPIC, resourceName,
        configs: [{ name, configOperation: IncrementalAlterConfigOperationTypes.SET, value }],
      }],
    })
  }

  close() {
    return this.admin.close()
  }
}

/** The package keeps its package.json to itself. */
function versionBeside(entry) {
  return JSON.parse(readFileSync(join(dirname(entry), '..', 'package.json'))).version
}

const open = async (broker, client) => new Surface(broker, client)
module.exports = { open, version: versionBeside(require.resolve('@platformatic/kafka')) }
