// Stories runs the client stories with one Go client and prints one JSON line per story, after one that
// names the version of the client.
//
//	stories --broker HOST:PORT [--client franz-go|franz-go-848|sarama|kafka-go] STORY…
//	stories --broker HOST:PORT --create TOPIC    makes a topic with franz-go, for clients that cannot
//	stories --broker HOST:PORT --delete TOPIC
//
// The stories are written once, in stories.go, over the small surface that each client's file offers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// Where each client's surface is made, and the module whose version it has.
var clients = map[string]struct {
	module string
	open   func(broker string) (surface, error)
}{
	"franz-go":     {"github.com/twmb/franz-go", openFranz},
	"franz-go-848": {"github.com/twmb/franz-go", openFranz848},
	"sarama":       {"github.com/IBM/sarama", openSarama},
	"kafka-go":     {"github.com/segmentio/kafka-go", openSegment},
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
	known, there := clients[client]
	if !there {
		end(2, fmt.Errorf("no client %q here", client))
	}
	on, err := known.open(broker)
	if err != nil {
		end(2, err)
	}
	if create != "" || delete != "" {
		context, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if create != "" {
			err = errors.Join(on.create(context, create), shown(context, on, create))
		} else {
			err = on.delete(context, delete)
		}
		if err != nil {
			end(1, err)
		}
		return
	}
	said := json.NewEncoder(os.Stdout)
	_ = said.Encode(map[string]string{"client": client, "version": version(known.module)})
	failed := false
	for _, name := range names {
		started := time.Now()
		context, cancel := context.WithTimeout(context.Background(), 3*wait)
		line := map[string]any{"client": client, "story": name, "ok": true}
		if story, there := stories[name]; !there {
			err = fmt.Errorf("no story %q here", name)
		} else {
			err = story(context, on)
		}
		if err != nil {
			line["ok"], line["error"], failed = false, err.Error(), true
		}
		cancel()
		line["ms"] = time.Since(started).Milliseconds()
		_ = said.Encode(line)
	}
	if failed {
		os.Exit(1)
	}
}

func version(module string) string {
	if built, there := debug.ReadBuildInfo(); there {
		for _, one := range built.Deps {
			if one.Path == module {
				return one.Version[1:]
			}
		}
	}
	return "unknown"
}

func end(status int, err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(status)
}
