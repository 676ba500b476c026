// static reads a static checksum database from directories and hashes it again with golang.org/x/mod/sumdb/tlog: the root
// of `latest` must come from the data tiles, every file below tile/8 must be what that tree has there, no tile of the tree may
// be missing, and trees of older sizes read through tlog.TileHashReader must have the roots that they had.
//
// Standard input: {"key": "<verifier key>", "dirs": ["delta", "base"], "older": [1, …]}. A file is read from the first
// directory that has it. A file `delta` in the first directory must be a consistency proof between its two trees.
// Standard output: {"size": N, "root": "…", "files": how many files were compared, "old": the size a delta goes on from}.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type request struct {
	Key   string
	Dirs  []string
	Older []int64
}

type report struct {
	Size  int64  `json:"size"`
	Root  string `json:"root"`
	Files int64  `json:"files"`
	Old   int64  `json:"old"`
}

type tree struct {
	dirs    []string
	records [][]byte
	hashes  []tlog.Hash
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("static: ")
	var want request
	check(json.NewDecoder(os.Stdin).Decode(&want))
	verifier, err := note.NewVerifier(want.Key)
	check(err)
	t := &tree{dirs: want.Dirs}
	head, err := t.open("latest", verifier)
	check(err)
	check(t.read(head))
	files := t.compare(head.N)
	for _, size := range append(want.Older, head.N) {
		proved, err := tlog.TreeHash(size, tlog.TileHashReader(head, t))
		check(err)
		own, err := tlog.TreeHash(size, t)
		check(err)
		if proved != own {
			log.Fatalf("the tree of size %d: %v from the tiles, %v from the records", size, proved, own)
		}
	}
	old := t.delta(head, verifier)
	check(json.NewEncoder(os.Stdout).Encode(report{head.N, head.Hash.String(), files, old}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func (t *tree) file(name string) ([]byte, error) {
	for _, dir := range t.dirs {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, fmt.Errorf("%s is in none of %v", name, t.dirs)
}

func (t *tree) open(name string, verifier note.Verifier) (tlog.Tree, error) {
	msg, err := t.file(name)
	if err != nil {
		return tlog.Tree{}, err
	}
	return openNote(msg, verifier)
}

func openNote(msg []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(msg, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.ParseTree([]byte(opened.Text))
}

// read reads all records from the data tiles; their tree must be the head's.
func (t *tree) read(head tlog.Tree) error {
	for n := int64(0); n<<height < head.N; n++ {
		width := int(min(head.N-n<<height, 1<<height))
		data, err := t.file(tlog.Tile{H: height, L: -1, N: n, W: width}.Path())
		if err != nil {
			return err
		}
		records := bytes.SplitAfter(data, []byte("\n\n"))
		if last := len(records) - 1; last != width || len(records[last]) > 0 {
			return fmt.Errorf("data tile %d has %d records, not %d", n, len(records)-1, width)
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

// compare compares every file of the directories with the tree. Every tile of the tree must be among them.
func (t *tree) compare(size int64) int64 {
	there := map[string]bool{}
	for _, dir := range t.dirs {
		check(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if name == "latest" || name == "delta" {
				return nil
			}
			tile, err := tlog.ParseTilePath(name)
			if err != nil {
				return fmt.Errorf("%s does not belong there: %v", path, err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.Equal(data, t.want(tile)) {
				return fmt.Errorf("%s: %d bytes that are not the tree's", path, len(data))
			}
			there[name] = true
			return nil
		}))
	}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		if !there[tile.Path()] {
			log.Fatalf("%s is missing", tile.Path())
		}
		if tile.L == 0 {
			tile.L = -1
			if !there[tile.Path()] {
				log.Fatalf("%s is missing", tile.Path())
			}
		}
	}
	return int64(len(there))
}

func (t *tree) want(tile tlog.Tile) []byte {
	if tile.L >= 0 {
		data, err := tlog.ReadTileData(tile, t)
		check(err)
		return data
	}
	var want []byte
	first := tile.N << height
	for _, record := range t.records[first : first+int64(tile.W)] {
		want = append(append(want, record...), '\n')
	}
	return want
}

// delta checks the file of a delta, if there is one.
func (t *tree) delta(head tlog.Tree, verifier note.Verifier) int64 {
	text, err := os.ReadFile(filepath.Join(t.dirs[0], "delta"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	check(err)
	top, msg, _ := strings.Cut(string(text), "\n\n")
	lines := strings.Split(top, "\n")
	if len(lines) < 4 || lines[0] != "tallystick delta v1" || lines[1] != "log "+verifier.Name() {
		log.Fatalf("delta: %q", top)
	}
	trees := make([]tlog.Tree, 2)
	for i, word := range []string{"old", "new"} {
		var root string
		_, err := fmt.Sscanf(lines[2+i], word+" %d %s", &trees[i].N, &root)
		check(err)
		trees[i].Hash, err = tlog.ParseHash(root)
		check(err)
	}
	var proof tlog.TreeProof
	for _, line := range lines[4:] {
		hash, err := tlog.ParseHash(line)
		check(err)
		proof = append(proof, hash)
	}
	if trees[1] != head {
		log.Fatalf("the delta goes to %v, latest is %v", trees[1], head)
	}
	check(tlog.CheckTree(proof, trees[1].N, trees[1].Hash, trees[0].N, trees[0].Hash))
	if own, err := tlog.TreeHash(trees[0].N, t); err != nil || own != trees[0].Hash {
		log.Fatalf("the delta goes on from %v, which had the root %v (%v)", trees[0], own, err)
	}
	if msg != "" {
		old, err := openNote([]byte(msg), verifier)
		check(err)
		if old != trees[0] {
			log.Fatalf("the older note is %v, not %v", old, trees[0])
		}
	}
	return trees[0].N
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
		if data[i], err = t.file(tile.Path()); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (t *tree) SaveTiles([]tlog.Tile, [][]byte) {}
