package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// ibm is sarama, by the newest protocol it knows: without being told it speaks that of Kafka 2.8.
type ibm struct {
	brokers []string
	client  sarama.Client
	admin   sarama.ClusterAdmin
}

func openSarama(broker string) (surface, error) {
	on := &ibm{brokers: []string{broker}}
	var err error
	if on.client, err = sarama.NewClient(on.brokers, ibmConfig()); err != nil {
		return nil, err
	}
	on.admin, err = sarama.NewClusterAdminFromClient(on.client)
	return on, err
}

func ibmConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = "e2e-sarama"
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	config.Consumer.Fetch.Default = 4096
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	return config
}

var ibmCodecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func (on *ibm) codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func (on *ibm) create(_ context.Context, topic string) error {
	return on.admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false)
}

func (on *ibm) delete(_ context.Context, topic string) error { return on.admin.DeleteTopic(topic) }

func (on *ibm) count(_ context.Context, topic string) (int, error) {
	found, err := on.admin.ListTopics()
	return int(found[topic].NumPartitions), err
}

func (on *ibm) exists(err error) bool { return errors.Is(err, sarama.ErrTopicAlreadyExists) }

func (on *ibm) produce(_ context.Context, topic string, records []record, codec string) error {
	config := ibmConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1 // what an idempotent producer asks for; readers would wait for their own fetches
	config.Producer.Compression = ibmCodecs[codec]
	if records[0].partition >= 0 {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	producer, err := sarama.NewSyncProducer(on.brokers, config)
	if err != nil {
		return err
	}
	var sent []*sarama.ProducerMessage
	for _, r := range records {
		one := &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(r.key), Value: sarama.StringEncoder(r.value), Partition: r.partition, Timestamp: r.time,
		}
		for _, h := range r.headers {
			one.Headers = append(one.Headers, sarama.RecordHeader{Key: []byte(h.key), Value: []byte(h.value)})
		}
		sent = append(sent, one)
	}
	return errors.Join(producer.SendMessages(sent), producer.Close())
}

func fromSarama(r *sarama.ConsumerMessage) record {
	one := record{key: string(r.Key), value: string(r.Value), partition: r.Partition, offset: r.Offset, time: r.Timestamp}
	for _, h := range r.Headers {
		one.headers = append(one.headers, header{string(h.Key), string(h.Value)})
	}
	return one
}

func (on *ibm) readAll(c context.Context, topic string, count int) ([]record, error) {
	consumer, err := sarama.NewConsumer(on.brokers, ibmConfig())
	if err != nil {
		return nil, err
	}
	read, failed := make(chan *sarama.ConsumerMessage), make(chan error)
	for p := range int32(partitions) {
		one, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		go func() {
			for r := range one.Messages() {
				read <- r
			}
		}()
		go func() {
			for e := range one.Errors() {
				failed <- e
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
			got = append(got, fromSarama(r))
		case err := <-failed:
			return nil, err
		case <-limit:
			return got, nil
		}
	}
}

type ibmMember struct {
	shelf
	limit int
}

func (on *ibm) join(c context.Context, group, topic string, limit int) member {
	reading, stop := context.WithCancel(c)
	m := &ibmMember{newShelf(stop), limit}
	config := ibmConfig()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRoundRobin()}
	go func() {
		defer close(m.done)
		readers, err := sarama.NewConsumerGroup(on.brokers, group, config)
		if err != nil {
			m.fail(err)
			return
		}
		go func() {
			for e := range readers.Errors() {
				m.fail(e)
			}
		}()
		for reading.Err() == nil && m.failure() == nil {
			if err := readers.Consume(reading, []string{topic}, m); err != nil && reading.Err() == nil {
				m.fail(err)
			}
		}
		if err := readers.Close(); err != nil {
			m.fail(err)
		}
	}()
	return m
}

// Setup, ConsumeClaim and Cleanup are one session of the group, as sarama tells it.
func (m *ibmMember) Setup(session sarama.ConsumerGroupSession) error {
	for _, held := range session.Claims() {
		m.hold(true, held...)
	}
	return nil
}

// ConsumeClaim commits what has come by the batch: a commit waits its turn behind the fetches of the same connection.
func (m *ibmMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		var batch []record
		select {
		case r, more := <-claim.Messages():
			if !more || session.Context().Err() != nil {
				return nil
			}
			if m.limit > 0 && m.count() >= m.limit {
				m.stop()
				return nil
			}
			for ; r != nil; r = another(claim) {
				session.MarkMessage(r, "")
				batch = append(batch, fromSarama(r))
			}
			session.Commit()
			m.keep(batch...)
		case <-session.Context().Done():
			return nil
		}
	}
}

// another is a record that has come already, or nil.
func another(claim sarama.ConsumerGroupClaim) *sarama.ConsumerMessage {
	select {
	case r := <-claim.Messages():
		return r
	default:
		return nil
	}
}

func (m *ibmMember) Cleanup(session sarama.ConsumerGroupSession) error {
	for _, held := range session.Claims() {
		m.hold(false, held...)
	}
	session.Commit()
	return nil
}

func (on *ibm) committed(_ context.Context, group, topic string) (int64, error) {
	found, err := on.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2, 3, 4, 5}})
	if err != nil {
		return 0, err
	}
	blocks := found.Blocks
	for _, one := range found.Groups {
		blocks = one.Blocks
	}
	var sum int64
	for p, block := range blocks[topic] {
		if block.Err != sarama.ErrNoError {
			return 0, fmt.Errorf("partition %d: %w", p, block.Err)
		}
		sum += max(0, block.Offset)
	}
	return sum, nil
}

func (on *ibm) offsets(_ context.Context, topic string, when int64) (got [partitions]int64, err error) {
	for p := range int32(partitions) {
		at, e := on.client.GetOffset(topic, p, when)
		got[p], err = at, errors.Join(err, e)
	}
	return got, err
}

func (on *ibm) endIsNone() bool { return false }

func (on *ibm) configs(_ context.Context, topic string) (map[string]string, error) {
	found, err := on.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	named := map[string]string{}
	for _, entry := range found {
		named[entry.Name] = entry.Value
	}
	return named, err
}

func (on *ibm) alter(_ context.Context, topic, key, value string) error {
	return on.admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		key: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}, false)
}
