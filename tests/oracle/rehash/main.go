// rehash reads a whole log over HTTP and hashes it again with golang.org/x/mod/sumdb/tlog: the root of its newest head
// must come from its data tiles, every hash tile and every data tile of every width must be what that tree has there,
// and older trees read through tlog.TileHashReader must have the roots that they had.
//
// Standard input: {"key": "<verifier key>", "url": "http://…", "older": [1, 255, …], "widest": false}; with "widest" the tiles are
// compared as wide as they are only, which for a large log is a matter of seconds.
// Standard output: {"size": N, "root": "…", "tiles": how many tiles were compared}. What does not agree is fatal.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height  = 8
	workers = 8
)

var client = &http.Client{
	Timeout:   30 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers},
}

type request struct {
	Key, URL string
	Older    []int64
	Widest   bool
}

type report struct {
	Size  int64  `json:"size"`
	Root  string `json:"root"`
	Tiles int64  `json:"tiles"`
}

// A tree is all records and all hashes, in the order of storage.
type tree struct {
	url     string
	records [][]byte
	hashes  []tlog.Hash
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("rehash: ")
	var want request
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	head, err := latest(want)
	if err != nil {
		log.Fatal(err)
	}
	t := &tree{url: want.URL}
	if err := t.read(head); err != nil {
		log.Fatal(err)
	}
	compared, err := t.compare(head.N, want.Widest)
	if err != nil {
		log.Fatal(err)
	}
	for _, size := range append(want.Older, head.N) {
		if err := t.readOlder(head, size); err != nil {
			log.Fatalf("the tree of size %d: %v", size, err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{head.N, head.Hash.String(), compared}); err != nil {
		log.Fatal(err)
	}
}

func latest(want request) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(want.Key)
	if err != nil {
		return tlog.Tree{}, err
	}
	msg, err := get(want.URL, "latest")
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(msg, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.ParseTree([]byte(opened.Text))
}

// read reads all records from the data tiles; their tree must be the head's.
func (t *tree) read(head tlog.Tree) error {
	for n := int64(0); n<<height < head.N; n++ {
		width := min(head.N-n<<height, 1<<height)
		data, err := get(t.url, tlog.Tile{H: height, L: -1, N: n, W: int(width)}.Path())
		if err != nil {
			return err
		}
		records := bytes.SplitAfter(data, []byte("\n\n"))
		if last := len(records) - 1; last != int(width) || len(records[last]) > 0 {
			return fmt.Errorf("data tile %d has %d records and %q, not %d", n, last, records[last], width)
		}
		for _, record := range records[:width] {
			t.records = append(t.records, record[:len(record)-1])
			hashes, err := tlog.StoredHashes(int64(len(t.records))-1, record[:len(record)-1], t)
			if err != nil {
				return err
			}
			t.hashes = append(t.hashes, hashes...)
		}
	}
	root, err := tlog.TreeHash(head.N, t)
	if err == nil && root != head.Hash {
		err = fmt.Errorf("the records have the root %v, the head says %v", root, head.Hash)
	}
	return err
}

// compare compares every tile, of hashes and of records, in every width or in the widest.
func (t *tree) compare(size int64, widest bool) (int64, error) {
	var tiles []tlog.Tile
	for level := 0; size>>(level*height) > 0; level++ {
		count := size >> (level * height)
		for at := int64(0); at < count; at++ {
			n, w := at>>height, int(at&(1<<height-1))+1
			if widest && w < 1<<height && at < count-1 {
				continue
			}
			tiles = append(tiles, tlog.Tile{H: height, L: level, N: n, W: w})
			if level == 0 {
				tiles = append(tiles, tlog.Tile{H: height, L: -1, N: n, W: w})
			}
		}
	}
	var next, failed atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(tiles)) && failed.Load() == 0; i = next.Add(1) - 1 {
				if err := t.compareOne(tiles[i]); err != nil {
					errs[worker] = fmt.Errorf("%s: %w", tiles[i].Path(), err)
					failed.Store(1)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return int64(len(tiles)), nil
}

func (t *tree) compareOne(tile tlog.Tile) error {
	served, err := get(t.url, tile.Path())
	if err != nil {
		return err
	}
	var want []byte
	if tile.L >= 0 {
		if want, err = tlog.ReadTileData(tile, t); err != nil {
			return err
		}
	} else {
		first := tile.N << height
		for _, record := range t.records[first : first+int64(tile.W)] {
			want = append(append(want, record...), '\n')
		}
	}
	if !bytes.Equal(served, want) {
		return fmt.Errorf("served %d bytes that are not the tree's %d", len(served), len(want))
	}
	return nil
}

// readOlder computes the root of an older tree from tiles that are proved under the head.
func (t *tree) readOlder(head tlog.Tree, size int64) error {
	proved, err := tlog.TreeHash(size, tlog.TileHashReader(head, t))
	if err != nil {
		return err
	}
	own, err := tlog.TreeHash(size, t)
	if err == nil && proved != own {
		err = fmt.Errorf("%v from the tiles, %v from the records", proved, own)
	}
	return err
}

// ReadHashes makes the tree a tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("hash %d of %d", index, len(t.hashes))
		}
		hashes[i] = t.hashes[index]
	}
	return hashes, nil
}

// The three methods of tlog.TileReader.

func (t *tree) Height() int { return height }

func (t *tree) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = get(t.url, tile.Path()); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (t *tree) SaveTiles([]tlog.Tile, [][]byte) {}

func get(url, path string) ([]byte, error) {
	resp, err := client.Get(url + "/" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, resp.Status, data)
	}
	return data, nil
}
