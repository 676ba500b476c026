// tessbench appends n records to a Tessera POSIX log and prints one line of JSON: records a second until all are
// sequenced, and until all are in the published checkpoint, and the latencies of the writers. With -as duplicates are
// removed by Tessera's persistent antispam, with -pub each writer waits until its record is published.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	badger_as "github.com/transparency-dev/tessera/storage/posix/antispam"
	"golang.org/x/mod/sumdb/note"

	"peers/record"
)

var (
	dir       = flag.String("dir", "", "directory of the log")
	n         = flag.Int("n", 200_000, "entries")
	writers   = flag.Int("w", 4000, "concurrent writers: each adds and waits for the index")
	batchSize = flag.Uint("bs", 256, "batch size")
	batchAge  = flag.Duration("ba", 100*time.Millisecond, "batch age")
	interval  = flag.Duration("ci", 100*time.Millisecond, "checkpoint interval")
	publish   = flag.Bool("pub", false, "each writer waits until its record is in a published checkpoint")
	antispam  = flag.Bool("as", false, "remove duplicates")
	pushback  = flag.Uint("push", 65536, "entries in flight before Tessera pushes back")
)

func main() {
	flag.Parse()
	ctx := context.Background()
	options := appendOptions(ctx)
	driver, err := posix.New(ctx, posix.Config{Path: *dir})
	check(err)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	check(err)
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 5*time.Millisecond)

	start := time.Now()
	latencies, pushedBack := write(ctx, appender, awaiter)
	sequenced := time.Since(start)
	for published(ctx, reader) < *n {
		time.Sleep(2 * time.Millisecond)
	}
	integrated := time.Since(start)
	sort.Float64s(latencies)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"records":         *n,
		"sequenced_per_s": float64(*n) / sequenced.Seconds(),
		"published_per_s": float64(*n) / integrated.Seconds(),
		"p50_ms":          latencies[*n/2],
		"p99_ms":          latencies[*n*99/100],
		"pushed_back":     pushedBack,
	})
	check(shutdown(ctx))
}

func appendOptions(ctx context.Context) *tessera.AppendOptions {
	skey, _, err := note.GenerateKey(rand.Reader, "peer.example")
	check(err)
	signer, err := note.NewSigner(skey)
	check(err)
	check(os.MkdirAll(*dir, 0o755))
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(*batchSize, *batchAge).
		WithCheckpointInterval(*interval).WithPushback(*pushback)
	if *antispam {
		a, err := badger_as.NewAntispam(ctx, *dir+"/.state/antispam", badger_as.AntispamOpts{})
		check(err)
		options = options.WithAntispam(tessera.DefaultAntispamInMemorySize, a)
	}
	return options
}

// write adds every record and returns how many milliseconds each took, and how often Tessera said to try later.
func write(ctx context.Context, appender *tessera.Appender, awaiter *tessera.PublicationAwaiter) ([]float64, int64) {
	latencies := make([]float64, *n)
	var next, pushedBack atomic.Int64
	var wait sync.WaitGroup
	for range *writers {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(*n); i = next.Add(1) - 1 {
				text := record.Text(record.Module(i))
				for {
					start := time.Now()
					future := appender.Add(ctx, tessera.NewEntry(text))
					var err error
					if *publish {
						_, _, err = awaiter.Await(ctx, future)
					} else {
						_, err = future()
					}
					if err == nil {
						latencies[i] = time.Since(start).Seconds() * 1e3
						break
					}
					pushedBack.Add(1)
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wait.Wait()
	return latencies, pushedBack.Load()
}

// published is the size of the checkpoint that readers see; 0 before the first.
func published(ctx context.Context, reader tessera.LogReader) int {
	checkpoint, err := reader.ReadCheckpoint(ctx)
	if err != nil {
		return 0
	}
	lines := strings.Split(string(checkpoint), "\n")
	if len(lines) < 2 {
		return 0
	}
	size, _ := strconv.Atoi(lines[1])
	return size
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
