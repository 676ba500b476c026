// audit verifies every record of a static checksum database (http://… or file:///…) against its signed head, stores
// nothing, and prints one line of JSON. With -by fsck by Tessera's fsck, whose engine takes a log from wherever it is told:
// here from the paths of a checksum database instead of tlog-tiles, which is all that its command reads. With -by rehash by
// golang.org/x/mod alone: each data tile in turn, one hash tree in memory, and the root.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// origin is the first line of every head of a checksum database.
const origin = "go.sum database tree"

var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func main() {
	url := flag.String("url", "", "where the log is")
	vkey := flag.String("vkey", "", "its verifier key")
	by := flag.String("by", "rehash", "fsck or rehash")
	workers := flag.Uint("workers", 2, "of fsck: resources that are fetched at once")
	flag.Parse()
	verifier, err := note.NewVerifier(*vkey)
	check(err)
	source := source(strings.TrimSuffix(*url, "/"))
	start := time.Now()
	var records int64
	switch *by {
	case "fsck":
		check(fsck.New(origin, verifier, source, leaves, fsck.Opts{N: *workers}).Check(context.Background()))
		records = source.head(verifier).N
	case "rehash":
		records = rehash(source, source.head(verifier))
	default:
		log.Fatalf("-by %s: fsck or rehash", *by)
	}
	seconds := time.Since(start).Seconds()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"records": records, "seconds": seconds, "per_s": float64(records) / seconds})
}

// source is a static log, by its URL.
type source string

func (s source) fetch(path string) ([]byte, error) {
	if dir, ok := strings.CutPrefix(string(s), "file://"); ok {
		return os.ReadFile(filepath.Join(dir, path))
	}
	resp, err := httpClient.Get(string(s) + "/" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func (s source) head(verifier note.Verifier) tlog.Tree {
	body, err := s.fetch("latest")
	check(err)
	signed, err := note.Open(body, note.VerifierList(verifier))
	check(err)
	tree, err := tlog.ParseTree([]byte(signed.Text))
	check(err)
	return tree
}

// What fsck asks for, at the paths that a checksum database has it.

func (s source) ReadCheckpoint(context.Context) ([]byte, error) { return s.fetch("latest") }

func (s source) ReadTile(_ context.Context, level, index uint64, partial uint8) ([]byte, error) {
	return s.tile(int(level), int64(index), partial)
}

func (s source) ReadEntryBundle(_ context.Context, index uint64, partial uint8) ([]byte, error) {
	return s.tile(-1, int64(index), partial)
}

// tile reads a tile; a width of 0 is a full one.
func (s source) tile(level int, index int64, width uint8) ([]byte, error) {
	tile := tlog.Tile{H: 8, L: level, N: index, W: int(width)}
	if width == 0 {
		tile.W = 256
	}
	return s.fetch(tile.Path())
}

// leaves returns the hashes of the records of a data tile.
func leaves(data []byte) ([][]byte, error) {
	var hashes [][]byte
	for _, text := range texts(data) {
		hash := tlog.RecordHash(text)
		hashes = append(hashes, hash[:])
	}
	return hashes, nil
}

// texts splits a data tile at its blank lines.
func texts(data []byte) [][]byte {
	var texts [][]byte
	for len(data) > 0 {
		text, rest, _ := bytes.Cut(data, []byte("\n\n"))
		if len(rest) > 0 || bytes.HasSuffix(data, []byte("\n\n")) {
			text = data[:len(text)+1]
		}
		texts, data = append(texts, text), rest
	}
	return texts
}

type hashes []tlog.Hash

func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = (*h)[x]
	}
	return out, nil
}

func rehash(source source, tree tlog.Tree) int64 {
	h := make(hashes, 0, 2*tree.N+64)
	var next int64
	for n := int64(0); next < tree.N; n++ {
		width := min(tree.N-next, 256)
		data, err := source.tile(-1, n, uint8(width%256))
		check(err)
		for _, text := range texts(data) {
			stored, err := tlog.StoredHashes(next, text, &h)
			check(err)
			h, next = append(h, stored...), next+1
		}
	}
	root, err := tlog.TreeHash(tree.N, &h)
	check(err)
	if next != tree.N || root != tree.Hash {
		log.Fatalf("the root of %d records is %v, the signed head has %d and %v", next, root, tree.N, tree.Hash)
	}
	return next
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
