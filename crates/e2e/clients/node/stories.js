// Runs the client stories with one Node client and prints one JSON line per story, after one that names
// the version of the client.
//
//   stories.js --broker HOST:PORT --client kafkajs|platformatic|platformatic-848 STORY…
//
// The stories are written once, here, over the small surface that each client's file (kafkajs.js,
// platformatic.js) offers. They check contents, not counts: every record once, whole, in order within
// its key. The modules are found through NODE_PATH: they are installed outside the sources.
'use strict'

const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')

const PARTITIONS = 6
const WAIT_MS = 120_000 // generous: the machine may be busy; only failures take this long
const CLIENTS = { kafkajs: './kafkajs.js', platformatic: './platformatic.js', 'platformatic-848': './platformatic.js' }

const pause = ms => new Promise(done => setTimeout(done, ms))

/** Records over 37 keys; the value starts with the record's number. Header names may repeat. */
function numbered(count, tag, start = 0) {
  return Array.from({ length: count }, (_, at) => start + at).map(i => ({
    key: `key-${i % 37}`,
    value: `${i}:${tag}:${'abcdefgh'.repeat(i % 23)}`,
    headers: [['n', String(i)], ['tag', tag], ['tag', 'again'], ['empty', '']],
  }))
}

const numberOf = value => Number(value.split(':', 1)[0])

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

class Stories {
  constructor(on) {
    this.on = on
  }

  /** A topic is created with six partitions, cannot be created twice, and is gone when deleted. */
  async topic() {
    const name = await this.withTopic('topic')
    assert.equal(await this.on.partitions(name), PARTITIONS)
    assert.equal(await this.on.create(name, PARTITIONS), false, 'the same topic was created twice')
    await this.on.delete(name)
    await eventually(async () => (await this.on.partitions(name)) === 0, 'the topic to be gone')
  }

  /** Records survive every codec, with keys and headers, in one topic. */
  async codecs() {
    const name = await this.withTopic('codecs')
    const wanted = []
    for (const codec of this.on.codecs) {
      const batch = numbered(600, codec, wanted.length)
      await this.on.produce(name, batch, codec)
      wanted.push(...batch)
    }
    const member = await this.on.join(name)
    await eventually(() => member.healthy() && member.records.length >= wanted.length, 'all records')
    await member.leave()
    checkExact(member.records, wanted, 'codecs')
    await this.on.delete(name)
  }

  /** A group of two: one joins, one leaves, and every record is read once. */
  async group() {
    const name = await this.withTopic('group')
    const wanted = []
    const more = async () => {
      const batch = numbered(600, 'group', wanted.length)
      await this.on.produce(name, batch, 'none')
      wanted.push(...batch)
    }
    await more()
    const first = await this.on.join(name)
    await eventually(() => first.healthy() && first.assigned.size === PARTITIONS && first.records.length >= wanted.length, 'the first member to read all')
    const second = await this.on.join(name)
    await eventually(() => first.healthy() && second.healthy() && first.assigned.size === 3 && second.assigned.size === 3, 'two members to hold three each')
    assert.equal(new Set([...first.assigned, ...second.assigned]).size, PARTITIONS)
    await more()
    await eventually(() => first.healthy() && second.healthy() && this.read(first, second).length >= wanted.length, 'two members to read all')
    assert(second.records.length > 0, 'the second member read nothing')
    await first.leave()
    await eventually(() => second.healthy() && second.assigned.size === PARTITIONS, 'the member that stays to hold all')
    await more()
    await eventually(() => second.healthy() && this.read(first, second).length >= wanted.length, 'the member that stays to read all')
    await second.leave()
    checkExact(this.read(first, second), wanted, 'group')
    assert.equal(await this.on.committed(name), wanted.length)
    await this.on.delete(name)
  }

  /** A reader that commits and stops is continued exactly where it was. */
  async resume() {
    const name = await this.withTopic('resume')
    const wanted = []
    while (wanted.length < 900) { // several batches: KafkaJS takes what a fetch returns as a whole
      const batch = numbered(100, 'resume', wanted.length)
      await this.on.produce(name, batch, 'none')
      wanted.push(...batch)
    }
    const first = await this.on.join(name, { limit: 250 })
    await eventually(() => first.healthy() && first.full, 'the first reader')
    await first.leave()
    const read = first.records.length
    assert(read < wanted.length, 'the first reader took everything at once')
    assert.equal(await this.on.committed(name), read)
    const second = await this.on.join(name)
    await eventually(() => second.healthy() && second.records.length >= wanted.length - read, 'the rest')
    await second.leave()
    checkExact(this.read(first, second), wanted, 'resume')
    await this.on.delete(name)
  }

  /** Earliest, latest and by-time offsets, also inside a compressed batch. */
  async offsets() {
    for (const codec of ['none', 'gzip']) {
      const name = await this.withTopic('offsets')
      const base = Date.now() - 3_600_000
      await this.on.produce(name, Array.from({ length: 60 }, (_, i) => ({
        key: 'k', value: `${i}:t`, partition: i % PARTITIONS, timestamp: base + i * 1000, headers: [],
      })), codec)
      const none = this.on.noneIsEnd ? 10 : -1
      for (const [when, wanted] of [
        ['earliest', [0, 0, 0, 0, 0, 0]],
        ['latest', [10, 10, 10, 10, 10, 10]],
        [0, [0, 0, 0, 0, 0, 0]],
        [30_000, [5, 5, 5, 5, 5, 5]],
        [30_500, [6, 5, 5, 5, 5, 5]],
        [59_000, [none, none, none, none, none, 9]],
        [60_000, [none, none, none, none, none, none]],
      ]) {
        const got = await this.on.offsets(name, typeof when === 'string' ? when : base + when, PARTITIONS)
        assert.deepEqual(got, wanted, `offsets at base + ${when} ms (${codec})`)
      }
      await this.on.delete(name)
    }
  }

  /** A topic's settings are described, altered, seen altered. */
  async configs() {
    const name = await this.withTopic('configs')
    const settings = () => this.on.configs(name)
    const before = await settings()
    for (const key of ['cleanup.policy', 'retention.ms', 'max.message.bytes', 'min.insync.replicas', 'compression.type']) {
      assert(key in before, `${key} is not described`)
    }
    assert.equal(before['retention.ms'], '604800000')
    await this.on.alter(name, 'retention.ms', '86400000')
    await eventually(async () => (await settings())['retention.ms'] === '86400000', 'the altered setting to show')
    assert.equal((await settings())['cleanup.policy'], before['cleanup.policy'])
    await this.on.delete(name)
  }

  /**
   * What the members read together. Of a client that hands a record out again after a rebalance, the
   * repetitions (same partition, same offset) are left out; docs/clients.md names it.
   */
  read(...members) {
    const all = members.flatMap(m => m.records)
    if (!this.on.repeats) return all
    const seen = new Set()
    return all.filter(r => {
      const place = `${r.partition}/${r.offset}`
      return !seen.has(place) && seen.add(place)
    })
  }

  async withTopic(story) {
    const name = `e2e-${story}-${randomUUID().slice(0, 8)}`
    assert(await this.on.create(name, PARTITIONS))
    // A broker may answer before its metadata shows what it made.
    await eventually(async () => (await this.on.partitions(name)) > 0, 'the topic to show')
    return name
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
  const { open, version } = require(CLIENTS[client])
  console.log(JSON.stringify({ client, version }))
  const surface = await open(broker, client)
  const on = new Stories(surface)
  let failed = false
  for (const story of names) {
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
  await surface.close()
  process.exit(failed ? 1 : 0)
}

main(process.argv.slice(2)).catch(failure => {
  console.error(failure)
  process.exit(2)
})
