// Stories runs the client stories with franz-go and prints one JSON line per story.
//
//	stories --broker HOST:PORT [--client franz-go] STORY…
//	stories --broker HOST:PORT --create TOPIC    makes a topic, for clients that cannot
//	stories --broker HOST:PORT --delete TOPIC
//
// franz-go follows the newest protocol and pipelines more than the others. The stories check
// contents, not counts: every record once, whole, in order within its key.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 6

// Generous: the machine may be busy; only failures take this long.
const wait = 120 * time.Second

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()},
	{"gzip", kgo.GzipCompression()},
	{"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()},
	{"zstd", kgo.ZstdCompression()},
}

type stories struct {
	broker string
	base   *kgo.Client
	admin  *kadm.Client
}

func main() {
	broker, client, names := "", "franz-go", []string{}
	create, delete := "", ""
	for at := 1; at < len(os.Args); at++ {
		switch os.Args[at] {
		case "--broker":
			at++
			broker = os.Args[at]
		case "--client":
			at++
			client = os.Args[at]
		case "--create":
			at++
			create = os.Args[at]
		case "--delete":
			at++
			delete = os.Args[at]
		default:
			names = append(names, os.Args[at])
		}
	}
	base, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	on := &stories{broker, base, kadm.NewClient(base)}
	if create != "" || delete != "" {
		context, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if create != "" {
			err = errors.Join(on.create(context, create), on.shown(context, create))
		} else {
			err = on.delete(context, delete)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	all := map[string]func(context.Context) error{
		"topic": on.topic, "codecs": on.codecs, "group": on.group, "resume": on.resume, "offsets": on.offsets, "configs": on.configs,
	}
	if len(names) == 0 {
		names = []string{"topic", "codecs", "group", "resume", "offsets", "configs"}
	}
	failed := false
	for _, name := range names {
		started := time.Now()
		context, cancel := context.WithTimeout(context.Background(), 3*wait)
		line := map[string]any{"client": client, "story": name, "ok": true}
		if err := all[name](context); err != nil {
			line["ok"], line["error"], failed = false, err.Error(), true
		}
		cancel()
		line["ms"] = time.Since(started).Milliseconds()
		_ = json.NewEncoder(os.Stdout).Encode(line)
	}
	if failed {
		os.Exit(1)
	}
}

// A topic is created with six partitions, cannot be created twice, and is gone when deleted.
func (on *stories) topic(c context.Context) error {
	name, err := on.withTopic(c, "topic")
	if err != nil {
		return err
	}
	if n, _ := on.count(c, name); n != partitions {
		return fmt.Errorf("%d partitions", n)
	}
	if err := on.create(c, name); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("created twice: %v", err)
	}
	if err := on.delete(c, name); err != nil {
		return err
	}
	return eventually("the topic to be gone", func() (bool, error) { n, err := on.count(c, name); return n == 0, err })
}

// Records survive every codec the client has, with keys and headers, in one topic.
func (on *stories) codecs(c context.Context) error {
	name, err := on.withTopic(c, "codecs")
	if err != nil {
		return err
	}
	var wanted, got []*kgo.Record
	for _, one := range codecs {
		batch := numbered(600, one.name, len(wanted))
		if err := on.produce(c, name, batch, one.codec); err != nil {
			return err
		}
		wanted = append(wanted, batch...)
	}
	every := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		every[p] = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(on.broker), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: every}))
	if err != nil {
		return err
	}
	defer reader.Close()
	for until := time.Now().Add(wait); len(got) < len(wanted) && time.Now().Before(until); {
		batch, err := poll(c, reader)
		if err != nil {
			return err
		}
		got = append(got, batch...)
	}
	more, err := poll(c, reader)
	if err != nil {
		return err
	}
	if err := checkExact(append(got, more...), wanted, "codecs"); err != nil {
		return err
	}
	return on.delete(c, name)
}

// A group of two: one joins, one leaves, and every record is read once.
func (on *stories) group(c context.Context) error {
	name, err := on.withTopic(c, "group")
	if err != nil {
		return err
	}
	var wanted []*kgo.Record
	more := func() error {
		batch := numbered(600, "group", len(wanted))
		wanted = append(wanted, batch...)
		return on.produce(c, name, batch, kgo.NoCompression())
	}
	if err := more(); err != nil {
		return err
	}
	first := on.join(c, name, 0)
	if err := eventually("the first member to read all", func() (bool, error) {
		return first.holds() == partitions && first.count() >= len(wanted), first.failure()
	}); err != nil {
		return err
	}
	second := on.join(c, name, 0)
	if err := eventually("two members to hold three each", func() (bool, error) {
		return first.holds() == 3 && second.holds() == 3, errors.Join(first.failure(), second.failure())
	}); err != nil {
		return err
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
		return second.holds() == partitions, second.failure()
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
	if err := checkExact(append(first.records, second.records...), wanted, "group"); err != nil {
		return err
	}
	if n, err := on.committed(c, name); err != nil || n != int64(len(wanted)) {
		return fmt.Errorf("committed %d of %d: %v", n, len(wanted), err)
	}
	return on.delete(c, name)
}

// A reader that commits and stops is continued exactly where it was.
func (on *stories) resume(c context.Context) error {
	name, err := on.withTopic(c, "resume")
	if err != nil {
		return err
	}
	wanted := numbered(900, "resume", 0)
	if err := on.produce(c, name, wanted, kgo.NoCompression()); err != nil {
		return err
	}
	first := on.join(c, name, 250)
	<-first.done
	if first.failure() != nil {
		return first.failure()
	}
	read := first.count()
	if read >= len(wanted) {
		return errors.New("the first reader took everything at once")
	}
	if n, err := on.committed(c, name); err != nil || n != int64(read) {
		return fmt.Errorf("read %d, committed %d: %v", read, n, err)
	}
	second := on.join(c, name, 0)
	if err := eventually("the rest", func() (bool, error) { return second.count() >= len(wanted)-read, second.failure() }); err != nil {
		return err
	}
	if err := second.leave(); err != nil {
		return err
	}
	if err := checkExact(append(first.records, second.records...), wanted, "resume"); err != nil {
		return err
	}
	return on.delete(c, name)
}

// Earliest, latest and by-time offsets, also inside a compressed batch.
func (on *stories) offsets(c context.Context) error {
	for _, one := range codecs[:2] {
		name, err := on.withTopic(c, "offsets")
		if err != nil {
			return err
		}
		base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		var records []*kgo.Record
		for i := range 60 {
			records = append(records, &kgo.Record{
				Key: []byte("k"), Value: fmt.Appendf(nil, "%d:t", i), Partition: int32(i % partitions), Timestamp: base.Add(time.Duration(i) * time.Second),
			})
		}
		if err := on.produce(c, name, records, one.codec, kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
			return err
		}
		by := func(after int64) func() (kadm.ListedOffsets, error) {
			return func() (kadm.ListedOffsets, error) {
				return on.admin.ListOffsetsAfterMilli(c, base.UnixMilli()+after, name)
			}
		}
		// kadm answers the end of the partition when no record is young enough.
		for _, asked := range []struct {
			shown  string
			ask    func() (kadm.ListedOffsets, error)
			wanted [partitions]int64
		}{
			{"earliest", func() (kadm.ListedOffsets, error) { return on.admin.ListStartOffsets(c, name) }, [partitions]int64{}},
			{"latest", func() (kadm.ListedOffsets, error) { return on.admin.ListEndOffsets(c, name) }, [partitions]int64{10, 10, 10, 10, 10, 10}},
			{"base", by(0), [partitions]int64{}},
			{"base + 30 s", by(30_000), [partitions]int64{5, 5, 5, 5, 5, 5}},
			{"base + 30.5 s", by(30_500), [partitions]int64{6, 5, 5, 5, 5, 5}},
			{"base + 59 s", by(59_000), [partitions]int64{10, 10, 10, 10, 10, 9}},
			{"base + 60 s", by(60_000), [partitions]int64{10, 10, 10, 10, 10, 10}},
		} {
			found, err := asked.ask()
			if err != nil {
				return err
			}
			var got [partitions]int64
			found.Each(func(o kadm.ListedOffset) { got[o.Partition] = o.Offset; err = errors.Join(err, o.Err) })
			if err != nil || got != asked.wanted {
				return fmt.Errorf("offsets at %s (%s): %v, not %v: %v", asked.shown, one.name, got, asked.wanted, err)
			}
		}
		if err := on.delete(c, name); err != nil {
			return err
		}
	}
	return nil
}

// A topic's settings are described, altered, seen altered.
func (on *stories) configs(c context.Context) error {
	name, err := on.withTopic(c, "configs")
	if err != nil {
		return err
	}
	settings := func() (map[string]string, error) {
		found, err := on.admin.DescribeTopicConfigs(c, name)
		if err != nil {
			return nil, err
		}
		one, err := found.On(name, nil)
		if err != nil || one.Err != nil {
			return nil, errors.Join(err, one.Err)
		}
		named := map[string]string{}
		for _, entry := range one.Configs {
			named[entry.Key] = entry.MaybeValue()
		}
		return named, nil
	}
	before, err := settings()
	if err != nil {
		return err
	}
	for _, key := range []string{"cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas", "compression.type"} {
		if _, ok := before[key]; !ok {
			return fmt.Errorf("%s is not described", key)
		}
	}
	if before["retention.ms"] != "604800000" {
		return fmt.Errorf("retention.ms is %s", before["retention.ms"])
	}
	value := "86400000"
	answers, err := on.admin.AlterTopicConfigs(c, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, name)
	if err != nil {
		return err
	}
	for _, answer := range answers {
		if answer.Err != nil {
			return answer.Err
		}
	}
	if err := eventually("the altered setting to show", func() (bool, error) {
		now, err := settings()
		return now["retention.ms"] == value && now["cleanup.policy"] == before["cleanup.policy"], err
	}); err != nil {
		return err
	}
	return on.delete(c, name)
}

// member is a group member with a goroutine of its own: polls, keeps what it read, commits after each poll.
type member struct {
	lock     sync.Mutex
	client   *kgo.Client
	assigned map[int32]bool
	records  []*kgo.Record
	failed   error
	stop     context.CancelFunc
	done     chan struct{}
}

// join reads until told to leave or, with a limit above zero, until it has read that many.
func (on *stories) join(c context.Context, topic string, limit int) *member {
	m := &member{assigned: map[int32]bool{}, done: make(chan struct{})}
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			for _, p := range changed[topic] {
				if held {
					m.assigned[p] = true
				} else {
					delete(m.assigned, p)
				}
			}
		}
	}
	reading, stop := context.WithCancel(c)
	m.stop = stop
	m.client, m.failed = kgo.NewClient(
		kgo.SeedBrokers(on.broker), kgo.ConsumerGroup(topic+"-readers"), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	)
	go func() {
		defer close(m.done)
		if m.failed != nil {
			return
		}
		defer m.client.Close()
		for reading.Err() == nil && (limit == 0 || m.count() < limit) {
			fetches := m.client.PollRecords(reading, 50)
			if reading.Err() != nil {
				break
			}
			var err error
			fetches.EachError(func(_ string, _ int32, e error) { err = errors.Join(err, e) })
			if err == nil && fetches.NumRecords() > 0 {
				err = m.client.CommitRecords(c, fetches.Records()...)
			}
			m.lock.Lock()
			m.records = append(m.records, fetches.Records()...)
			m.failed = errors.Join(m.failed, err)
			m.lock.Unlock()
		}
	}()
	return m
}

func (m *member) count() int     { m.lock.Lock(); defer m.lock.Unlock(); return len(m.records) }
func (m *member) holds() int     { m.lock.Lock(); defer m.lock.Unlock(); return len(m.assigned) }
func (m *member) failure() error { m.lock.Lock(); defer m.lock.Unlock(); return m.failed }
func (m *member) leave() error   { m.stop(); <-m.done; return m.failure() }

// numbered makes records over 37 keys; the value starts with the record's number.
func numbered(count int, tag string, start int) []*kgo.Record {
	var records []*kgo.Record
	for i := start; i < start+count; i++ {
		records = append(records, &kgo.Record{
			Key:   fmt.Appendf(nil, "key-%d", i%37),
			Value: fmt.Appendf(nil, "%d:%s:%s", i, tag, strings.Repeat("abcdefgh", i%23)),
			Headers: []kgo.RecordHeader{
				{Key: "n", Value: fmt.Appendf(nil, "%d", i)}, {Key: "tag", Value: []byte(tag)}, {Key: "tag", Value: []byte("again")}, {Key: "empty", Value: []byte{}},
			},
		})
	}
	return records
}

func number(r *kgo.Record) int {
	before, _, _ := bytes.Cut(r.Value, []byte(":"))
	n, err := strconv.Atoi(string(before))
	if err != nil {
		return -1
	}
	return n
}

func checkExact(got, wanted []*kgo.Record, what string) error {
	left, last, at := map[int]*kgo.Record{}, map[string]int{}, map[int32]int64{}
	for _, r := range wanted {
		left[number(r)] = r
	}
	for _, r := range got {
		n := number(r)
		w := left[n]
		if w == nil {
			return fmt.Errorf("%s: record %d came twice or was never produced", what, n)
		}
		delete(left, n)
		if !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || fmt.Sprint(r.Headers) != fmt.Sprint(w.Headers) {
			return fmt.Errorf("%s: record %d changed: %v %v", what, n, r.Headers, w.Headers)
		}
		if before, seen := last[string(r.Key)]; seen && before >= n {
			return fmt.Errorf("%s: record %d after %d of the same key", what, n, before)
		}
		if before, seen := at[r.Partition]; seen && before >= r.Offset {
			return fmt.Errorf("%s: partition %d goes from offset %d to %d", what, r.Partition, before, r.Offset)
		}
		last[string(r.Key)], at[r.Partition] = n, r.Offset
	}
	if len(left) > 0 {
		return fmt.Errorf("%s: %d records are missing", what, len(left))
	}
	return nil
}

func poll(c context.Context, from *kgo.Client) ([]*kgo.Record, error) {
	short, cancel := context.WithTimeout(c, 300*time.Millisecond)
	defer cancel()
	fetches := from.PollRecords(short, 50)
	var err error
	fetches.EachError(func(_ string, _ int32, e error) {
		if !errors.Is(e, context.DeadlineExceeded) {
			err = errors.Join(err, e)
		}
	})
	return fetches.Records(), err
}

func (on *stories) produce(c context.Context, topic string, records []*kgo.Record, codec kgo.CompressionCodec, more ...kgo.Opt) error {
	producer, err := kgo.NewClient(append(more,
		kgo.SeedBrokers(on.broker), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer producer.Close()
	return producer.ProduceSync(c, records...).FirstErr()
}

func (on *stories) withTopic(c context.Context, story string) (string, error) {
	random := make([]byte, 5)
	_, _ = rand.Read(random)
	name := "e2e-" + story + "-" + hex.EncodeToString(random)
	if err := on.create(c, name); err != nil {
		return "", err
	}
	return name, on.shown(c, name)
}

// shown waits for a topic: a broker may answer before its metadata shows what it made.
func (on *stories) shown(c context.Context, name string) error {
	return eventually("the topic to show", func() (bool, error) {
		n, err := on.count(c, name)
		return n > 0, err
	})
}

func (on *stories) count(c context.Context, name string) (int, error) {
	found, err := on.admin.ListTopics(c)
	return len(found[name].Partitions), err
}

func (on *stories) create(c context.Context, name string) error {
	answer, err := on.admin.CreateTopic(c, partitions, 1, nil, name)
	if err != nil {
		return err
	}
	return answer.Err
}

func (on *stories) delete(c context.Context, name string) error {
	answer, err := on.admin.DeleteTopic(c, name)
	if err != nil {
		return err
	}
	return answer.Err
}

func (on *stories) committed(c context.Context, topic string) (int64, error) {
	found, err := on.admin.FetchOffsets(c, topic+"-readers")
	var sum int64
	found.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum, err
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
