// Command dirhashvec prints what golang.org/x/mod says about zips, directories and go.mod files, as JSON with one
// case a line. Zips are made byte by byte here, sound and unsound ones, and judged by zip.CheckZip and dirhash.HashZip.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

// mod is the module of all zips.
var mod = module.Version{Path: "example.com/Mod", Version: "v1.2.3"}

// prefix begins every name in them.
const prefix = "example.com/Mod@v1.2.3/"

func main() {
	dir, err := os.MkdirTemp(memory(), "dirhashvec")
	check(err)
	defer os.RemoveAll(dir)
	scratch = filepath.Join(dir, "m.zip")
	fmt.Printf("{\n")
	fmt.Printf("%q: %s,\n", "module", line(mod.String()))
	section("files", fileCases())
	section("zips", zipCases())
	section("bits", bitCases())
	section("edits", editCases())
	fmt.Printf("\"end\": []\n}\n")
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func line(value any) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	check(enc.Encode(value))
	return strings.TrimSuffix(out.String(), "\n")
}

func section(name string, cases []any) {
	fmt.Printf("%q: [\n", name)
	for i, c := range cases {
		comma := ","
		if i == len(cases)-1 {
			comma = ""
		}
		fmt.Printf("%s%s\n", line(c), comma)
	}
	fmt.Printf("],\n")
}

// scratch is where a zip lies while it is judged: x/mod reads files.
var scratch string

// memory is a directory in memory where there is one: thirty thousand zips are written.
func memory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

// judge says whether CheckZip takes the zip, and its HashZip, "" where that fails.
func judge(zip []byte) (ok bool, hash string) {
	check(os.WriteFile(scratch, zip, 0o600))
	_, err := modzip.CheckZip(mod, scratch)
	hash, hashErr := dirhash.HashZip(scratch, dirhash.Hash1)
	if hashErr != nil {
		hash = ""
	}
	return err == nil, hash
}

// A fileCase is a set of files and its hashes.
type fileCase struct {
	Files [][2]string `json:"files"`
	Hash  string      `json:"hash"` // of the names as they are
	Dir   string      `json:"dir"`  // as a directory, under the module's prefix
}

func fileCases() (cases []any) {
	for _, files := range [][][2]string{
		{}, {{"go.mod", ""}}, {{"go.mod", "module example.com/m\n"}}, {{"go.mod", "module example.com/m\r\n"}},
		{{"b", "2"}, {"a", "1"}}, {{"a/b", "1"}, {"a-b", "2"}, {"a.b", "3"}, {"A", "4"}, {"a0", "5"}, {"aé", "6"}, {"a b", "7"}},
		{{"x", strings.Repeat("long\n", 40_000)}},
	} {
		names := []string{}
		content := map[string]string{}
		dir, err := os.MkdirTemp(filepath.Dir(scratch), "dir")
		check(err)
		for _, file := range files {
			names = append(names, file[0])
			content[file[0]] = file[1]
			path := filepath.Join(dir, file[0])
			check(os.MkdirAll(filepath.Dir(path), 0o700))
			check(os.WriteFile(path, []byte(file[1]), 0o600))
		}
		hash, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content[name])), nil
		})
		check(err)
		dirHash, err := dirhash.HashDir(dir, mod.String(), dirhash.Hash1)
		check(err)
		cases = append(cases, fileCase{files, hash, dirHash})
	}
	return cases
}

// A zipCase is a zip and what x/mod says of it.
type zipCase struct {
	Name  string `json:"name"`
	Zip   string `json:"zip"` // base64
	Check bool   `json:"check"`
	Hash  string `json:"hash"`
	GoMod string `json:"gomod,omitempty"` // its go.mod, where it has one
}

func zipCases() (cases []any) {
	for _, c := range append(append(soundZips(), oddZips()...), nameZips()...) {
		ok, hash := judge(c.zip)
		cases = append(cases, zipCase{c.name, base64.StdEncoding.EncodeToString(c.zip), ok, hash, c.goMod})
	}
	return cases
}

// A bitCase is a zip of zipCases, changed in every single bit, then cut off at every length. Verdicts has one
// letter for each change: '=' same hash, CheckZip takes it; 'c' same hash, CheckZip refuses it; 'd' and 'D' the same with
// another hash, which are in Hashes in this order, shortened; 'x' HashZip fails.
type bitCase struct {
	Name     string   `json:"name"`
	Verdicts string   `json:"verdicts"`
	Cuts     string   `json:"cuts"`
	Hashes   []string `json:"hashes"`
}

func verdict(zip []byte, want string, hashes *[]string) byte {
	ok, hash := judge(zip)
	switch {
	case hash == "":
		return 'x'
	case hash == want && ok:
		return '='
	case hash == want:
		return 'c'
	}
	*hashes = append(*hashes, hash[:15])
	if ok {
		return 'd'
	}
	return 'D'
}

func bitCases() (cases []any) {
	for _, zip := range soundZips() {
		if len(zip.zip) > 1500 {
			continue
		}
		_, want := judge(zip.zip)
		c := bitCase{Name: zip.name, Hashes: []string{}}
		var verdicts, cuts bytes.Buffer
		for i := range zip.zip {
			for bit := range 8 {
				changed := bytes.Clone(zip.zip)
				changed[i] ^= 1 << bit
				verdicts.WriteByte(verdict(changed, want, &c.Hashes))
			}
		}
		for i := range zip.zip {
			cuts.WriteByte(verdict(zip.zip[:i], want, &c.Hashes))
		}
		c.Verdicts, c.Cuts = verdicts.String(), cuts.String()
		cases = append(cases, c)
	}
	return cases
}

// An editCase is a zip of zipCases with some bytes replaced.
type editCase struct {
	Name    string   `json:"name"`
	Edits   [][2]int `json:"edits"` // position and byte
	Verdict string   `json:"verdict"`
	Hash    string   `json:"hash,omitempty"`
}

func editCases() (cases []any) {
	state := uint64(1)
	below := func(n int) int { // splitmix64: the same for ever
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return int((z ^ z>>31) % uint64(n))
	}
	values := []int{0, 1, 2, 8, 20, 46, 0x50, 0x4b, '/', 0x7f, 0x80, 0xff}
	zips := soundZips()
	for len(cases) < 2500 {
		zip := zips[below(len(zips))]
		if len(zip.zip) > 1500 {
			continue
		}
		_, want := judge(zip.zip)
		c := editCase{Name: zip.name}
		changed := bytes.Clone(zip.zip)
		at := below(len(changed))
		for range 2 + below(4) {
			value := values[below(len(values))]
			if below(4) == 0 {
				value = below(256)
			}
			changed[at] = byte(value)
			c.Edits = append(c.Edits, [2]int{at, value})
			if at = at + 1 + below(4); at >= len(changed) || below(3) == 0 {
				at = below(len(changed))
			}
		}
		var hashes []string
		c.Verdict = string(verdict(changed, want, &hashes))
		if len(hashes) > 0 {
			c.Hash = hashes[0]
		}
		cases = append(cases, c)
	}
	return cases
}
