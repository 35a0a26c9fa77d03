// Command lag prints the lag of a group as franz-go's kadm computes it, the library under kminion and kcl.
//
//	lag BROKER GROUP    a line `topic TAB partition TAB committed TAB lag` for each partition with a commit
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := tell(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(broker, group string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer client.Close()
	limit, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := kadm.NewClient(client).Lag(limit, group)
	if err != nil {
		return err
	}
	one := all[group]
	if err := one.Error(); err != nil {
		return err
	}
	for _, partition := range one.Lag.Sorted() {
		if partition.Err != nil {
			return partition.Err
		}
		if partition.Commit.At >= 0 {
			fmt.Printf("%s\t%d\t%d\t%d\n", partition.Topic, partition.Partition, partition.Commit.At, partition.Lag)
		}
	}
	return nil
}
