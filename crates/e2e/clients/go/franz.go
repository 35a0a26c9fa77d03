package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go: it follows the newest protocol and pipelines more than the others.
type franz struct {
	broker string
	admin  *kadm.Client
	group  []kgo.Opt
}

func openFranz(broker string) (surface, error) { return openFranzWith(broker) }

// openFranz848 has the broker assign partitions, by KIP-848.
func openFranz848(broker string) (surface, error) {
	return openFranzWith(broker, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
}

func openFranzWith(broker string, group ...kgo.Opt) (surface, error) {
	base, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return nil, err
	}
	return &franz{broker, kadm.NewClient(base), group}, nil
}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (on *franz) codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func (on *franz) create(c context.Context, topic string) error {
	answer, err := on.admin.CreateTopic(c, partitions, 1, nil, topic)
	if err != nil {
		return err
	}
	return answer.Err
}

func (on *franz) delete(c context.Context, topic string) error {
	answer, err := on.admin.DeleteTopic(c, topic)
	if err != nil {
		return err
	}
	return answer.Err
}

func (on *franz) count(c context.Context, topic string) (int, error) {
	found, err := on.admin.ListTopics(c)
	return len(found[topic].Partitions), err
}

func (on *franz) exists(err error) bool { return errors.Is(err, kerr.TopicAlreadyExists) }

func (on *franz) produce(c context.Context, topic string, records []record, codec string) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(on.broker), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(franzCodecs[codec]), kgo.ProducerLinger(20 * time.Millisecond),
	}
	if records[0].partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer producer.Close()
	var sent []*kgo.Record
	for _, r := range records {
		one := &kgo.Record{Key: []byte(r.key), Value: []byte(r.value), Partition: r.partition, Timestamp: r.time}
		for _, h := range r.headers {
			one.Headers = append(one.Headers, kgo.RecordHeader{Key: h.key, Value: []byte(h.value)})
		}
		sent = append(sent, one)
	}
	return producer.ProduceSync(c, sent...).FirstErr()
}

func fromFranz(read []*kgo.Record) []record {
	var records []record
	for _, r := range read {
		one := record{key: string(r.Key), value: string(r.Value), partition: r.Partition, offset: r.Offset, time: r.Timestamp}
		for _, h := range r.Headers {
			one.headers = append(one.headers, header{h.Key, string(h.Value)})
		}
		records = append(records, one)
	}
	return records
}

func (on *franz) readAll(c context.Context, topic string, count int) ([]record, error) {
	every := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		every[p] = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(on.broker), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: every}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	poll := func() ([]record, error) {
		short, cancel := context.WithTimeout(c, 300*time.Millisecond)
		defer cancel()
		fetches := reader.PollRecords(short, 50)
		var err error
		fetches.EachError(func(_ string, _ int32, e error) {
			if !errors.Is(e, context.DeadlineExceeded) {
				err = errors.Join(err, e)
			}
		})
		return fromFranz(fetches.Records()), err
	}
	var got []record
	for until := time.Now().Add(wait); len(got) < count && time.Now().Before(until); {
		batch, err := poll()
		if err != nil {
			return nil, err
		}
		got = append(got, batch...)
	}
	more, err := poll()
	return append(got, more...), err
}

type franzMember struct {
	shelf
	client *kgo.Client
}

func (on *franz) join(c context.Context, group, topic string, limit int) member {
	reading, stop := context.WithCancel(c)
	m := &franzMember{shelf: newShelf(stop)}
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) { m.hold(held, changed[topic]...) }
	}
	var err error
	m.client, err = kgo.NewClient(append(on.group,
		kgo.SeedBrokers(on.broker), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	)...)
	go func() {
		defer close(m.done)
		if err != nil {
			m.fail(err)
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
			m.keep(fromFranz(fetches.Records())...)
			if err != nil {
				m.fail(err)
			}
		}
	}()
	return m
}

func (on *franz) committed(c context.Context, group, topic string) (int64, error) {
	found, err := on.admin.FetchOffsets(c, group)
	var sum int64
	found.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum, err
}

func (on *franz) offsets(c context.Context, topic string, when int64) (got [partitions]int64, err error) {
	var found kadm.ListedOffsets
	switch when {
	case earliest:
		found, err = on.admin.ListStartOffsets(c, topic)
	case latest:
		found, err = on.admin.ListEndOffsets(c, topic)
	default:
		found, err = on.admin.ListOffsetsAfterMilli(c, when, topic)
	}
	found.Each(func(o kadm.ListedOffset) { got[o.Partition] = o.Offset; err = errors.Join(err, o.Err) })
	return got, err
}

// kadm answers the end of the partition when no record is young enough.
func (on *franz) endIsNone() bool { return true }

func (on *franz) configs(c context.Context, topic string) (map[string]string, error) {
	found, err := on.admin.DescribeTopicConfigs(c, topic)
	if err != nil {
		return nil, err
	}
	one, err := found.On(topic, nil)
	if err != nil || one.Err != nil {
		return nil, errors.Join(err, one.Err)
	}
	named := map[string]string{}
	for _, entry := range one.Configs {
		named[entry.Key] = entry.MaybeValue()
	}
	return named, nil
}

func (on *franz) alter(c context.Context, topic, key, value string) error {
	answers, err := on.admin.AlterTopicConfigs(c, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
	if err != nil {
		return err
	}
	for _, answer := range answers {
		if answer.Err != nil {
			return fmt.Errorf("%s: %w", answer.Name, answer.Err)
		}
	}
	return nil
}
