package main

import (
	"crypto/sha256"
	"io"
	"log"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A tilePath is a path and, where x/mod accepts it, its tile; level -1 is data.
type tilePath struct {
	Path string    `json:"path"`
	OK   bool      `json:"ok"`
	Tile *[4]int64 `json:"tile,omitempty"` // height, level, number, width
}

type tileFor struct {
	Height int    `json:"height"`
	Index  int64  `json:"index"`
	Path   string `json:"path"`
}

type newTiles struct {
	Height int   `json:"height"`
	Old    int64 `json:"old"`
	New    int64 `json:"new"`
	// Digest, for old -1, is of the lists of all older sizes, each followed by a newline.
	Digest []byte   `json:"digest,omitempty"`
	Paths  []string `json:"paths,omitempty"`
}

// tileData is of all tiles of a tree: for each its path with a newline, and its data.
type tileData struct {
	Height int    `json:"height"`
	Size   int64  `json:"size"`
	Digest []byte `json:"digest"`
}

// A plan is the tiles that x/mod's TileHashReader reads for one hash, sorted; the digest is over all hashes of the
// tree, in order, each list followed by a newline.
type plan struct {
	Height int      `json:"height"`
	Size   int64    `json:"size"`
	Digest []byte   `json:"digest"`
	Last   []string `json:"last"` // the tiles for the last hash
}

func tilePaths() []tilePath {
	paths := []string{
		"tile/8/0/000", "tile/8/0/001", "tile/8/0/999", "tile/8/0/x001/000", "tile/8/0/x001/234.p/5",
		"tile/3/4/x001/x234/067", "tile/3/4/x001/x234/067.p/1", "tile/8/data/000", "tile/8/data/x123/456.p/255",
		"tile/1/0/000.p/1", "tile/1/63/000", "tile/30/0/000", "tile/30/0/000.p/1073741823", "tile/8/63/000",
		"tile/8/0/x009/x223/x372/x036/x854/x775/807", "tile/8/0/x009/x223/x372/x036/x854/x775/808",
		"tile/8/0/x010/x000/x000/x000/x000/x000/000", "tile/8/0/x018/x446/x744/x073/x709/x551/616",
		"tile/8/0/x018/x446/x744/x073/x709/x551/615",
		"", "/", "tile", "tile/", "tile/8", "tile/8/0", "tile/8/0/", "/tile/8/0/000", "tile/8/0/000/", "Tile/8/0/000",
		"tiles/8/0/000", "tile//8/0/000", "tile/8//0/000", "tile/8/0//000",
		"tile/0/0/000", "tile/31/0/000", "tile/-1/0/000", "tile/+8/0/000", "tile/08/0/000", "tile/8.0/0/000", "tile/x/0/000",
		"tile/8/64/000", "tile/8/100/000", "tile/8/9223372036854775807/000", "tile/8/9223372036854775808/000",
		"tile/8/-1/000", "tile/8/+1/000", "tile/8/01/000", "tile/8/Data/000", "tile/8/data./000", "tile/8/0x1/000",
		"tile/8/0/0", "tile/8/0/00", "tile/8/0/0000", "tile/8/0/1000", "tile/8/0/-01", "tile/8/0/+01", "tile/8/0/00a",
		"tile/8/0/ 01", "tile/8/0/x000", "tile/8/0/x001", "tile/8/0/x000/001", "tile/8/0/001/234", "tile/8/0/x001/x234",
		"tile/8/0/X001/234", "tile/8/0/x01/234", "tile/8/0/x1000/234", "tile/8/0/xx01/234", "tile/8/0/x001//234",
		"tile/8/0/x-01/234", "tile/8/0/x001/234/", "tile/8/0/٠٠١",
		"tile/8/0/000.p", "tile/8/0/000.p/", "tile/8/0/000.p/0", "tile/8/0/000.p/1", "tile/8/0/000.p/255", "tile/8/0/000.p/256",
		"tile/8/0/000.p/257", "tile/8/0/000.p/-1", "tile/8/0/000.p/+1", "tile/8/0/000.p/01", "tile/8/0/000.p/1/", "tile/8/0/000.p/1/2",
		"tile/8/0/000.p/1.p/2", "tile/8/0/000.P/1", "tile/8/0/000.q/1", "tile/8/0/000/1", "tile/8/0/.p/1", "tile/8/0.p/1",
		"tile/8/0/x001.p/234", "tile/8/0/x001.p/234.p/1", "tile/8/0/000.p/x01", "tile/8/0/000.p/99999999999999999999",
		"tile/1/0/000.p/2", "tile/30/0/000.p/1073741824", "tile/8/data", "tile/8/data/", "tile/8/data/000.p/0", "tile/data/0/000",
		"tile/8/0/000\n", "tile/8/0/000 ", " tile/8/0/000", "tile/8/0/000?x", "tile/8/0/%30%30%30", "tile\\8\\0\\000",
		"tile/8/0/../000", "tile/8/0/000\x00",
	}
	var out []tilePath
	for _, path := range paths {
		tp := tilePath{Path: path}
		if t, err := tlog.ParseTilePath(path); err == nil {
			tp.OK, tp.Tile = true, &[4]int64{int64(t.H), int64(t.L), t.N, int64(t.W)}
			if t.Path() != path {
				log.Fatalf("%q prints as %q", path, t.Path())
			}
		}
		out = append(out, tp)
	}
	return out
}

func tilesFor() (out []tileFor) {
	for _, height := range []int{1, 2, 3, 8, 13, 30} {
		for index := int64(0); index < 64; index++ {
			out = append(out, tileFor{height, index, tlog.TileForIndex(height, index).Path()})
		}
		for shift := 8; shift < 61; shift += 4 {
			for _, index := range []int64{1<<shift - 1, 1 << shift, 1<<shift + 12345} {
				out = append(out, tileFor{height, index, tlog.TileForIndex(height, index).Path()})
			}
		}
	}
	return out
}

func pathsOf(tiles []tlog.Tile) []string {
	paths := []string{}
	for _, t := range tiles {
		paths = append(paths, t.Path())
	}
	return paths
}

func writeLines(w io.Writer, lines []string) {
	for _, line := range lines {
		io.WriteString(w, line+"\n")
	}
}

func allNewTiles() (out []newTiles) {
	for _, height := range []int{1, 2, 3, 8} {
		for size := int64(0); size <= maxSize; size++ {
			h := sha256.New()
			for old := int64(0); old <= size; old++ {
				writeLines(h, append(pathsOf(tlog.NewTiles(height, old, size)), ""))
			}
			out = append(out, newTiles{Height: height, Old: -1, New: size, Digest: h.Sum(nil)})
		}
	}
	for _, c := range [][3]int64{
		{2, 0, 17}, {2, 5, 17}, {8, 0, 1000}, {8, 255, 256}, {8, 256, 257}, {8, 65535, 65536}, {8, 65535, 65793},
		{8, 66398721, 66398721}, {8, 66398721, 66398722}, {8, 66390000, 66398721}, {30, 0, 66398721}, {13, 1 << 40, 1<<40 + 9000},
	} {
		tiles := tlog.NewTiles(int(c[0]), c[1], c[2])
		out = append(out, newTiles{Height: int(c[0]), Old: c[1], New: c[2], Paths: pathsOf(tiles)})
	}
	return out
}

func (l *memoryLog) tileData() (out []tileData) {
	for _, height := range []int{1, 2, 3, 8} {
		for size := int64(1); size <= maxSize; size++ {
			h := sha256.New()
			for _, tile := range tlog.NewTiles(height, 0, size) {
				writeLines(h, []string{tile.Path()})
				h.Write(must(tlog.ReadTileData(tile, l)))
			}
			out = append(out, tileData{height, size, h.Sum(nil)})
		}
	}
	return out
}

// A recorder reads tiles of the log and remembers which.
type recorder struct {
	*memoryLog
	height int
	tiles  []tlog.Tile
}

func (r *recorder) Height() int { return r.height }

func (r *recorder) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	r.tiles = tiles
	for _, t := range tiles {
		data = append(data, must(tlog.ReadTileData(t, r.memoryLog)))
	}
	return data, nil
}

func (r *recorder) SaveTiles([]tlog.Tile, [][]byte) {}

func (l *memoryLog) plans() (out []plan) {
	for _, height := range []int{1, 2, 3, 8} {
		for size := int64(1); size <= maxSize; size++ {
			head := tlog.Tree{N: size, Hash: must(tlog.TreeHash(size, l))}
			h := sha256.New()
			var last []string
			for index := range tlog.StoredHashCount(size) {
				r := &recorder{memoryLog: l, height: height}
				hashes := must(tlog.TileHashReader(head, r).ReadHashes([]int64{index}))
				if hashes[0] != l.stored[index] {
					log.Fatalf("hash %d read wrong", index)
				}
				last = pathsOf(r.tiles)
				slices.Sort(last)
				writeLines(h, []string{strings.Join(last, " ")})
			}
			out = append(out, plan{height, size, h.Sum(nil), last})
		}
	}
	return out
}
