package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const partitions = 6

// Generous: the machine may be busy; only failures take this long.
const wait = 120 * time.Second

// What surface.offsets is asked for, besides milliseconds since 1970; they are Kafka's own numbers.
const (
	earliest = -2
	latest   = -1
)

// surface is what the stories need of a client.
type surface interface {
	// codecs are the codecs that the client has, "none" first.
	codecs() []string
	create(c context.Context, topic string) error
	delete(c context.Context, topic string) error
	// count is the number of a topic's partitions, 0 if there is no such topic.
	count(c context.Context, topic string) (int, error)
	// exists tells whether an error says that the topic is there already.
	exists(err error) bool
	// produce waits for every acknowledgement; a partition or timestamp is used where a record has one.
	produce(c context.Context, topic string, records []record, codec string) error
	// readAll reads every partition from its start until so many records came, and looks once more.
	readAll(c context.Context, topic string, count int) ([]record, error)
	// join reads and commits in a group until told to leave or, with a limit above zero, until it has
	// read that many.
	join(c context.Context, group, topic string, limit int) member
	// committed is the sum of a group's offsets.
	committed(c context.Context, group, topic string) (int64, error)
	// offsets answers none, or the end of the partition if endIsNone, where no record is young enough.
	offsets(c context.Context, topic string, when int64) ([partitions]int64, error)
	endIsNone() bool
	configs(c context.Context, topic string) (map[string]string, error)
	alter(c context.Context, topic, key, value string) error
}

// none stands for "no record is young enough".
const none = -1

// record is one record as produced or as read.
type record struct {
	key, value string
	headers    []header
	partition  int32 // as the client chooses if below zero
	offset     int64
	time       time.Time
}

type header struct{ key, value string }

// member is one reader of a group.
type member interface {
	holds() []int32
	count() int
	failure() error
	all() []record
	leave() error
	ended() <-chan struct{}
}

// shelf is what every client's member keeps, behind one lock.
type shelf struct {
	lock   sync.Mutex
	held   map[int32]bool
	read   []record
	failed error
	stop   context.CancelFunc
	done   chan struct{}
}

func newShelf(stop context.CancelFunc) shelf {
	return shelf{held: map[int32]bool{}, stop: stop, done: make(chan struct{})}
}

func (m *shelf) count() int             { m.lock.Lock(); defer m.lock.Unlock(); return len(m.read) }
func (m *shelf) all() []record          { m.lock.Lock(); defer m.lock.Unlock(); return m.read }
func (m *shelf) failure() error         { m.lock.Lock(); defer m.lock.Unlock(); return m.failed }
func (m *shelf) leave() error           { m.stop(); <-m.done; return m.failure() }
func (m *shelf) ended() <-chan struct{} { return m.done }

func (m *shelf) holds() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	var held []int32
	for p := range m.held {
		held = append(held, p)
	}
	return held
}

// keep puts away records that were committed.
func (m *shelf) keep(records ...record) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.read = append(m.read, records...)
}

// fail keeps the first failure.
func (m *shelf) fail(err error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.failed == nil {
		m.failed = err
	}
}

// hold takes partitions on or, with held false, gives them up.
func (m *shelf) hold(held bool, changed ...int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, p := range changed {
		if held {
			m.held[p] = true
		} else {
			delete(m.held, p)
		}
	}
}

var stories = map[string]func(context.Context, surface) error{
	"topic": topic, "codecs": codecs, "group": group, "resume": resume, "offsets": offsets, "configs": configs,
}

// A topic is created with six partitions, cannot be created twice, and is gone when deleted.
func topic(c context.Context, on surface) error {
	name, err := withTopic(c, on, "topic")
	if err != nil {
		return err
	}
	if n, err := on.count(c, name); n != partitions {
		return fmt.Errorf("%d partitions: %v", n, err)
	}
	if err := on.create(c, name); !on.exists(err) {
		return fmt.Errorf("created twice: %v", err)
	}
	if err := on.delete(c, name); err != nil {
		return err
	}
	return eventually("the topic to be gone", func() (bool, error) { n, err := on.count(c, name); return n == 0, err })
}

// Records survive every codec the client has, with keys and headers, in one topic.
func codecs(c context.Context, on surface) error {
	name, err := withTopic(c, on, "codecs")
	if err != nil {
		return err
	}
	var wanted []record
	for _, codec := range on.codecs() {
		batch := numbered(600, codec, len(wanted))
		if err := on.produce(c, name, batch, codec); err != nil {
			return err
		}
		wanted = append(wanted, batch...)
	}
	got, err := on.readAll(c, name, len(wanted))
	if err != nil {
		return err
	}
	if err := checkExact(got, wanted, "codecs"); err != nil {
		return err
	}
	return on.delete(c, name)
}

// A group of two: one joins, one leaves, and every record is read once.
func group(c context.Context, on surface) error {
	name, err := withTopic(c, on, "group")
	if err != nil {
		return err
	}
	var wanted []record
	more := func() error {
		batch := numbered(600, "group", len(wanted))
		wanted = append(wanted, batch...)
		return on.produce(c, name, batch, "none")
	}
	if err := more(); err != nil {
		return err
	}
	readers := name + "-readers"
	first := on.join(c, readers, name, 0)
	if err := eventually("the first member to read all", func() (bool, error) {
		return len(first.holds()) == partitions && first.count() >= len(wanted), first.failure()
	}); err != nil {
		return err
	}
	second := on.join(c, readers, name, 0)
	if err := eventually("two members to hold three each", func() (bool, error) {
		return len(first.holds()) == 3 && len(second.holds()) == 3, errors.Join(first.failure(), second.failure())
	}); err != nil {
		return err
	}
	owned := map[int32]bool{}
	for _, p := range append(first.holds(), second.holds()...) {
		owned[p] = true
	}
	if len(owned) != partitions {
		return errors.New("a partition has two owners")
	}
	if err := more(); err != nil {
		return err
	}
	if err := eventually("two members to read all", func() (bool, error) {
		return first.count()+second.count() >= len(wanted), errors.Join(first.failure(), second.failure())
	}); err != nil {
		return err
	}
	if second.count() == 0 {
		return errors.New("the second member read nothing")
	}
	if err := first.leave(); err != nil {
		return err
	}
	if err := eventually("the member that stays to hold all", func() (bool, error) {
		return len(second.holds()) == partitions, second.failure()
	}); err != nil {
		return err
	}
	if err := more(); err != nil {
		return err
	}
	if err := eventually("the member that stays to read all", func() (bool, error) {
		return first.count()+second.count() >= len(wanted), second.failure()
	}); err != nil {
		return err
	}
	if err := second.leave(); err != nil {
		return err
	}
	if err := checkExact(append(first.all(), second.all()...), wanted, "group"); err != nil {
		return err
	}
	if n, err := on.committed(c, readers, name); err != nil || n != int64(len(wanted)) {
		return fmt.Errorf("committed %d of %d: %v", n, len(wanted), err)
	}
	return on.delete(c, name)
}

// A reader that commits and stops is continued exactly where it was.
func resume(c context.Context, on surface) error {
	name, err := withTopic(c, on, "resume")
	if err != nil {
		return err
	}
	var wanted []record
	for len(wanted) < 900 { // several batches: some clients take what a fetch returns as a whole
		batch := numbered(100, "resume", len(wanted))
		if err := on.produce(c, name, batch, "none"); err != nil {
			return err
		}
		wanted = append(wanted, batch...)
	}
	readers := name + "-readers"
	first := on.join(c, readers, name, 250)
	select {
	case <-first.ended():
	case <-time.After(wait):
		return errors.New("the first reader does not end")
	}
	if first.failure() != nil {
		return first.failure()
	}
	read := first.count()
	if read >= len(wanted) {
		return errors.New("the first reader took everything at once")
	}
	if n, err := on.committed(c, readers, name); err != nil || n != int64(read) {
		return fmt.Errorf("read %d, committed %d: %v", read, n, err)
	}
	second := on.join(c, readers, name, 0)
	if err := eventually("the rest", func() (bool, error) { return second.count() >= len(wanted)-read, second.failure() }); err != nil {
		return err
	}
	if err := second.leave(); err != nil {
		return err
	}
	if err := checkExact(append(first.all(), second.all()...), wanted, "resume"); err != nil {
		return err
	}
	return on.delete(c, name)
}

// Earliest, latest and by-time offsets, also inside a compressed batch.
func offsets(c context.Context, on surface) error {
	for _, codec := range on.codecs()[:2] {
		name, err := withTopic(c, on, "offsets")
		if err != nil {
			return err
		}
		base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		var records []record
		for i := range 60 {
			records = append(records, record{
				key: "k", value: fmt.Sprintf("%d:t", i), partition: int32(i % partitions), time: base.Add(time.Duration(i) * time.Second),
			})
		}
		if err := on.produce(c, name, records, codec); err != nil {
			return err
		}
		start := base.UnixMilli()
		for _, asked := range []struct {
			shown  string
			when   int64
			wanted [partitions]int64
		}{
			{"earliest", earliest, [partitions]int64{}},
			{"latest", latest, [partitions]int64{10, 10, 10, 10, 10, 10}},
			{"base", start, [partitions]int64{}},
			{"base + 30 s", start + 30_000, [partitions]int64{5, 5, 5, 5, 5, 5}},
			{"base + 30.5 s", start + 30_500, [partitions]int64{6, 5, 5, 5, 5, 5}},
			{"base + 59 s", start + 59_000, [partitions]int64{none, none, none, none, none, 9}},
			{"base + 60 s", start + 60_000, [partitions]int64{none, none, none, none, none, none}},
		} {
			got, err := on.offsets(c, name, asked.when)
			for p := range asked.wanted {
				if asked.wanted[p] == none && on.endIsNone() {
					asked.wanted[p] = 10
				}
			}
			if err != nil || got != asked.wanted {
				return fmt.Errorf("offsets at %s (%s): %v, not %v: %v", asked.shown, codec, got, asked.wanted, err)
			}
		}
		if err := on.delete(c, name); err != nil {
			return err
		}
	}
	return nil
}

// A topic's settings are described, altered, seen altered.
func configs(c context.Context, on surface) error {
	name, err := withTopic(c, on, "configs")
	if err != nil {
		return err
	}
	before, err := on.configs(c, name)
	if err != nil {
		return err
	}
	for _, key := range []string{"cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas", "compression.type"} {
		if _, there := before[key]; !there {
			return fmt.Errorf("%s is not described", key)
		}
	}
	if before["retention.ms"] != "604800000" {
		return fmt.Errorf("retention.ms is %s", before["retention.ms"])
	}
	if err := on.alter(c, name, "retention.ms", "86400000"); err != nil {
		return err
	}
	if err := eventually("the altered setting to show", func() (bool, error) {
		now, err := on.configs(c, name)
		return now["retention.ms"] == "86400000" && now["cleanup.policy"] == before["cleanup.policy"], err
	}); err != nil {
		return err
	}
	return on.delete(c, name)
}

// numbered makes records over 37 keys; the value starts with the record's number.
func numbered(count int, tag string, start int) []record {
	var records []record
	for i := start; i < start+count; i++ {
		records = append(records, record{
			key:       fmt.Sprintf("key-%d", i%37),
			value:     fmt.Sprintf("%d:%s:%s", i, tag, strings.Repeat("abcdefgh", i%23)),
			headers:   []header{{"n", strconv.Itoa(i)}, {"tag", tag}, {"tag", "again"}, {"empty", ""}},
			partition: -1,
		})
	}
	return records
}

func number(r record) int {
	before, _, _ := bytes.Cut([]byte(r.value), []byte(":"))
	n, err := strconv.Atoi(string(before))
	if err != nil {
		return -1
	}
	return n
}

// checkExact: every wanted record once, whole, in order within its key, offsets rising.
func checkExact(got, wanted []record, what string) error {
	left, last, at := map[int]record{}, map[string]int{}, map[int32]int64{}
	for _, r := range wanted {
		left[number(r)] = r
	}
	for _, r := range got {
		n := number(r)
		w, there := left[n]
		if !there {
			return fmt.Errorf("%s: record %d came twice or was never produced", what, n)
		}
		delete(left, n)
		if r.key != w.key || r.value != w.value || fmt.Sprint(r.headers) != fmt.Sprint(w.headers) {
			return fmt.Errorf("%s: record %d changed: %v %v", what, n, r.headers, w.headers)
		}
		if before, seen := last[r.key]; seen && before >= n {
			return fmt.Errorf("%s: record %d after %d of the same key", what, n, before)
		}
		if before, seen := at[r.partition]; seen && before >= r.offset {
			return fmt.Errorf("%s: partition %d goes from offset %d to %d", what, r.partition, before, r.offset)
		}
		last[r.key], at[r.partition] = n, r.offset
	}
	if len(left) > 0 {
		return fmt.Errorf("%s: %d records are missing", what, len(left))
	}
	return nil
}

func withTopic(c context.Context, on surface, story string) (string, error) {
	random := make([]byte, 5)
	_, _ = rand.Read(random)
	name := "e2e-" + story + "-" + hex.EncodeToString(random)
	if err := on.create(c, name); err != nil {
		return "", err
	}
	return name, shown(c, on, name)
}

// shown waits for a topic: a broker may answer before its metadata shows what it made.
func shown(c context.Context, on surface, name string) error {
	return eventually("the topic to show", func() (bool, error) {
		n, err := on.count(c, name)
		return n > 0, err
	})
}

func eventually(what string, holds func() (bool, error)) error {
	for until := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		ok, err := holds()
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("waited %s for %s", wait, what)
		}
	}
}
