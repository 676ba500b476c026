// Tlogvec prints what golang.org/x/mod/sumdb/tlog makes of a small log, of tiles, records and tree heads:
// tests/vectors/tlog.json.
//
// The log's record i has the text "record <i>\n". Where a list would be too long for a committed file, there is a
// SHA-256 of it, and the whole list for small trees only: a proof is written as one byte for its length and then its
// hashes, tiles as their paths, each with a newline.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// maxSize is the largest tree gone through; fullSize the largest whose proofs are listed.
const (
	maxSize  = 100
	fullSize = 12
)

type proofs struct {
	Size int64 `json:"size"`
	// Digest is of the proofs of all records, or from all older sizes, in order.
	Digest []byte        `json:"digest"`
	Proofs [][]tlog.Hash `json:"proofs,omitempty"`
}

type vectors struct {
	About       string       `json:"about"`
	RecordHash  [][2]string  `json:"record_hash"`
	Leaves      []tlog.Hash  `json:"leaves"`
	Stored      []tlog.Hash  `json:"stored"`
	Roots       []tlog.Hash  `json:"roots"`
	Inclusion   []proofs     `json:"inclusion"`
	Consistency []proofs     `json:"consistency"`
	Index       [][3]int64   `json:"index"`
	Count       [][2]int64   `json:"count"`
	TilePath    []tilePath   `json:"tile_path"`
	TileFor     []tileFor    `json:"tile_for"`
	NewTiles    []newTiles   `json:"new_tiles"`
	TileData    []tileData   `json:"tile_data"`
	Plan        []plan       `json:"plan"`
	Text        []textCase   `json:"record_text"`
	Record      []recordCase `json:"record"`
	Head        []headCase   `json:"head"`
}

func main() {
	log.SetFlags(0)
	l := newMemoryLog(maxSize)
	v := vectors{
		About:    "made by tests/oracle/tlogvec with golang.org/x/mod v0.42.0; see tests/it/oracle.rs",
		Leaves:   l.leaves,
		Stored:   l.stored,
		TilePath: tilePaths(),
		TileFor:  tilesFor(),
		NewTiles: allNewTiles(),
		TileData: l.tileData(),
		Plan:     l.plans(),
		Text:     recordTexts(),
		Record:   records(),
		Head:     heads(),
	}
	for _, text := range []string{"", "\n", "record 0\n", "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n"} {
		v.RecordHash = append(v.RecordHash, [2]string{text, tlog.RecordHash([]byte(text)).String()})
	}
	for size := int64(0); size <= maxSize; size++ {
		v.Roots = append(v.Roots, must(tlog.TreeHash(size, l)))
	}
	for size := int64(1); size <= maxSize; size++ {
		var inclusion, consistency [][]tlog.Hash
		for i := int64(0); i < size; i++ {
			inclusion = append(inclusion, must(tlog.ProveRecord(size, i, l)))
			consistency = append(consistency, must(tlog.ProveTree(size, i+1, l)))
		}
		v.Inclusion = append(v.Inclusion, newProofs(size, inclusion))
		v.Consistency = append(v.Consistency, newProofs(size, consistency))
	}
	v.Index, v.Count = positions()

	// One row a line: the file is large, and a difference should be readable.
	fields := must(json.Marshal(v))
	var rows map[string]json.RawMessage
	if err := json.Unmarshal(fields, &rows); err != nil {
		log.Fatal(err)
	}
	out := os.Stdout
	order := []string{"about", "record_hash", "leaves", "stored", "roots", "inclusion", "consistency", "index", "count",
		"tile_path", "tile_for", "new_tiles", "tile_data", "plan", "record_text", "record", "head"}
	if len(order) != len(rows) {
		log.Fatal("a field is missing in the order")
	}
	for i, name := range order {
		sep := ",\n"
		if i == 0 {
			sep = "{\n"
		}
		fmt.Fprintf(out, "%s%q: ", sep, name)
		var list []json.RawMessage
		if json.Unmarshal(rows[name], &list) != nil {
			fmt.Fprintf(out, "%s", rows[name])
			continue
		}
		for j, row := range list {
			sep := ",\n  "
			if j == 0 {
				sep = "[\n  "
			}
			fmt.Fprintf(out, "%s%s", sep, row)
		}
		fmt.Fprint(out, "\n]")
	}
	fmt.Fprint(out, "\n}\n")
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A memoryLog holds the stored hashes of the log.
type memoryLog struct {
	leaves, stored []tlog.Hash
}

func newMemoryLog(size int64) *memoryLog {
	l := new(memoryLog)
	for i := int64(0); i < size; i++ {
		text := fmt.Appendf(nil, "record %d\n", i)
		l.leaves = append(l.leaves, tlog.RecordHash(text))
		l.stored = append(l.stored, must(tlog.StoredHashes(i, text, l))...)
	}
	return l
}

func (l *memoryLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, i := range indexes {
		hashes = append(hashes, l.stored[i])
	}
	return hashes, nil
}

func newProofs(size int64, list [][]tlog.Hash) proofs {
	h := sha256.New()
	for _, p := range list {
		h.Write([]byte{byte(len(p))})
		for _, hash := range p {
			h.Write(hash[:])
		}
	}
	p := proofs{Size: size, Digest: h.Sum(nil)}
	if size <= fullSize {
		p.Proofs = list
	}
	return p
}

// positions lists (level, offset, index) and (size, stored hashes).
func positions() (index [][3]int64, count [][2]int64) {
	add := func(level int, n int64) {
		i := tlog.StoredHashIndex(level, n)
		if l, m := tlog.SplitStoredHashIndex(i); l != level || m != n {
			log.Fatalf("(%d, %d) is stored at %d, which is (%d, %d)", level, n, i, l, m)
		}
		index = append(index, [3]int64{int64(level), n, i})
	}
	for level := range 7 {
		for n := range int64(20) {
			add(level, n)
		}
	}
	for shift := 10; shift < 61; shift += 7 {
		for _, n := range []int64{1<<shift - 2, 1<<shift - 1, 1 << shift, 1<<shift + 1} {
			add(0, n)
			add(shift/2, n>>(shift/2))
			add(shift, n>>shift)
		}
	}
	for n := range int64(65) {
		count = append(count, [2]int64{n, tlog.StoredHashCount(n)})
	}
	for _, n := range []int64{255, 256, 257, 65535, 65536, 66398721, 1<<40 - 1, 1 << 40, 1<<60 + 12345} {
		count = append(count, [2]int64{n, tlog.StoredHashCount(n)})
	}
	return index, count
}
