// records writes the record texts from..to-1 as a stream to stdout, each followed by a blank line (as data tiles hold them):
// `records -from 0 -to 1000000 > records.txt`. With -lookups K it writes K look-up paths of records drawn at random from
// that range instead, one a line, as `/lookup/github.com/…@v1.2.3`.
package main

import (
	"bufio"
	"flag"
	"log"
	"math/rand"
	"os"

	"golang.org/x/mod/module"

	"peers/record"
)

func main() {
	from := flag.Int64("from", 0, "first record")
	to := flag.Int64("to", 100_000, "record to stop before")
	lookups := flag.Int("lookups", 0, "write this many look-up paths, not records")
	seed := flag.Int64("seed", 1, "of the look-up paths")
	flag.Parse()
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	if *lookups > 0 {
		random := rand.New(rand.NewSource(*seed))
		for range *lookups {
			path, version := record.Module(*from + random.Int63n(*to-*from))
			out.WriteString("/lookup/" + escaped(path, version) + "\n")
		}
	} else {
		for i := *from; i < *to; i++ {
			out.Write(record.Text(record.Module(i)))
			out.WriteByte('\n')
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func escaped(path, version string) string {
	p, err := module.EscapePath(path)
	if err != nil {
		log.Fatal(err)
	}
	v, err := module.EscapeVersion(version)
	if err != nil {
		log.Fatal(err)
	}
	return p + "@" + v
}
