package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// segment is kafka-go: requests of old versions over its Conn, newer ones over its Client.
type segment struct {
	broker string
	client *kafka.Client
}

func openSegment(broker string) (surface, error) {
	return &segment{broker, &kafka.Client{Addr: kafka.TCP(broker), Timeout: wait}}, nil
}

var segmentCodecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

func (on *segment) codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func (on *segment) create(c context.Context, topic string) error {
	answer, err := on.client.CreateTopics(c, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
	})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (on *segment) delete(c context.Context, topic string) error {
	answer, err := on.client.DeleteTopics(c, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (on *segment) count(c context.Context, topic string) (int, error) {
	found, err := on.client.Metadata(c, &kafka.MetadataRequest{})
	if err != nil {
		return 0, err
	}
	for _, one := range found.Topics {
		if one.Name == topic {
			return len(one.Partitions), one.Error
		}
	}
	return 0, nil
}

func (on *segment) exists(err error) bool { return errors.Is(err, kafka.TopicAlreadyExists) }

// produce goes through the Writer, which chooses partitions, or through Client where the record does.
func (on *segment) produce(c context.Context, topic string, records []record, codec string) error {
	if records[0].partition >= 0 {
		return on.produceTo(c, topic, records, codec)
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(on.broker), Topic: topic, Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll,
		Compression: segmentCodecs[codec], BatchTimeout: 20 * time.Millisecond,
	}
	var sent []kafka.Message
	for _, r := range records {
		one := kafka.Message{Key: []byte(r.key), Value: []byte(r.value), Time: r.time}
		for _, h := range r.headers {
			one.Headers = append(one.Headers, kafka.Header{Key: h.key, Value: []byte(h.value)})
		}
		sent = append(sent, one)
	}
	return errors.Join(writer.WriteMessages(c, sent...), writer.Close())
}

func (on *segment) produceTo(c context.Context, topic string, records []record, codec string) error {
	by := map[int32][]kafka.Record{}
	for _, r := range records {
		by[r.partition] = append(by[r.partition], kafka.Record{
			Key: kafka.NewBytes([]byte(r.key)), Value: kafka.NewBytes([]byte(r.value)), Time: r.time,
		})
	}
	for p, of := range by {
		answer, err := on.client.Produce(c, &kafka.ProduceRequest{
			Topic: topic, Partition: int(p), RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(of...), Compression: segmentCodecs[codec],
		})
		if err != nil {
			return err
		}
		if answer.Error != nil {
			return fmt.Errorf("partition %d: %w", p, answer.Error)
		}
	}
	return nil
}

func fromSegment(r kafka.Message) record {
	one := record{key: string(r.Key), value: string(r.Value), partition: int32(r.Partition), offset: r.Offset, time: r.Time}
	for _, h := range r.Headers {
		one.headers = append(one.headers, header{h.Key, string(h.Value)})
	}
	return one
}

func (on *segment) reader(topic string, partition int, at int64) (*kafka.Reader, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{on.broker}, Topic: topic, Partition: partition, MaxWait: 300 * time.Millisecond, MinBytes: 1, MaxBytes: 1 << 20,
	})
	return reader, reader.SetOffset(at)
}

func (on *segment) readAll(c context.Context, topic string, count int) ([]record, error) {
	reading, stop := context.WithCancel(c)
	defer stop()
	read, failed := make(chan record), make(chan error, partitions)
	for p := range partitions {
		reader, err := on.reader(topic, p, kafka.FirstOffset)
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		go func() {
			for {
				r, err := reader.FetchMessage(reading)
				if err != nil {
					failed <- err
					return
				}
				select {
				case read <- fromSegment(r):
				case <-reading.Done():
					return
				}
			}
		}()
	}
	var got []record
	for limit := time.After(wait); ; {
		if len(got) == count { // one more look: nothing may follow
			limit = time.After(300 * time.Millisecond)
		}
		select {
		case r := <-read:
			got = append(got, r)
		case err := <-failed:
			return nil, err
		case <-limit:
			return got, nil
		}
	}
}

type segmentMember struct {
	shelf
	commit sync.Mutex // one partition at a time, so that a limit is exact
}

// join stands on ConsumerGroup, which shows what the member holds; kafka-go's Reader hides it, and
// stands on the same.
func (on *segment) join(c context.Context, group, topic string, limit int) member {
	reading, stop := context.WithCancel(c)
	m := &segmentMember{shelf: newShelf(stop)}
	go func() {
		defer close(m.done)
		readers, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
			ID: group, Brokers: []string{on.broker}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
			HeartbeatInterval: time.Second, Timeout: wait,
			GroupBalancers: []kafka.GroupBalancer{kafka.RoundRobinGroupBalancer{}},
		})
		if err != nil {
			m.fail(err)
			return
		}
		for reading.Err() == nil {
			generation, err := readers.Next(reading)
			if err != nil {
				if reading.Err() == nil {
					m.fail(err)
				}
				break
			}
			for _, one := range generation.Assignments[topic] {
				m.hold(true, int32(one.ID))
				generation.Start(func(session context.Context) {
					m.follow(on, reading, session, generation, topic, one, limit)
					m.hold(false, int32(one.ID))
				})
			}
		}
		if err := readers.Close(); err != nil {
			m.fail(err)
		}
	}()
	return m
}

// follow reads one partition until the generation or the member ends. kafka-go ends a generation when
// the first of its functions returns, so each stays until then.
func (m *segmentMember) follow(on *segment, reading, session context.Context, generation *kafka.Generation, topic string, from kafka.PartitionAssignment, limit int) {
	reader, err := on.reader(topic, from.ID, from.Offset)
	if err != nil {
		m.fail(err)
		return
	}
	defer reader.Close()
	both, end := context.WithCancel(session)
	defer end()
	defer context.AfterFunc(reading, end)()
	for {
		r, err := reader.FetchMessage(both)
		if both.Err() != nil {
			return
		}
		if err != nil {
			m.fail(err)
			return
		}
		m.commit.Lock()
		if limit > 0 && m.count() >= limit {
			m.commit.Unlock()
			m.stop()
			return
		}
		err = generation.CommitOffsets(map[string]map[int]int64{topic: {r.Partition: r.Offset + 1}})
		if err == nil {
			m.keep(fromSegment(r))
		}
		m.commit.Unlock()
		if err != nil { // not committed: whoever holds the partition next reads it again
			if both.Err() == nil && !errors.Is(err, kafka.RebalanceInProgress) {
				m.fail(err)
			}
			return
		}
	}
}

func (on *segment) committed(c context.Context, group, topic string) (int64, error) {
	found, err := on.client.OffsetFetch(c, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0, 1, 2, 3, 4, 5}}})
	if err != nil {
		return 0, err
	}
	err = found.Error
	var sum int64
	for _, p := range found.Topics[topic] {
		sum, err = sum+max(0, p.CommittedOffset), errors.Join(err, p.Error)
	}
	return sum, err
}

func (on *segment) offsets(c context.Context, topic string, when int64) (got [partitions]int64, err error) {
	var asked []kafka.OffsetRequest
	for p := range partitions {
		asked = append(asked, kafka.OffsetRequest{Partition: p, Timestamp: when})
	}
	found, err := on.client.ListOffsets(c, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
	if err != nil {
		return got, err
	}
	for _, p := range found.Topics[topic] {
		err = errors.Join(err, p.Error)
		switch when {
		case earliest:
			got[p.Partition] = p.FirstOffset
		case latest:
			got[p.Partition] = p.LastOffset
		default:
			got[p.Partition] = none
			for at := range p.Offsets {
				got[p.Partition] = at
			}
		}
	}
	return got, err
}

func (on *segment) endIsNone() bool { return false }

func (on *segment) configs(c context.Context, topic string) (map[string]string, error) {
	found, err := on.client.DescribeConfigs(c, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	named := map[string]string{}
	for _, one := range found.Resources {
		err = errors.Join(err, one.Error)
		for _, entry := range one.ConfigEntries {
			named[entry.ConfigName] = entry.ConfigValue
		}
	}
	return named, err
}

func (on *segment) alter(c context.Context, topic, key, value string) error {
	answer, err := on.client.IncrementalAlterConfigs(c, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	})
	if err != nil {
		return err
	}
	for _, one := range answer.Resources {
		err = errors.Join(err, one.Error)
	}
	return err
}
