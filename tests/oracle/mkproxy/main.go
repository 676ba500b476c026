// mkproxy writes modules as a GOPROXY tree (list, .info, .mod, .zip), the zips made by golang.org/x/mod/zip, and prints
// the hashes that golang.org/x/mod/sumdb/dirhash gives them.
//
// Standard input: {"dir": "/tmp/x", "modules": [{"path": "corp.example/a", "version": "v1.0.0",
// "files": {"go.mod": "module corp.example/a\n"}}]}. A module without a go.mod file gets the .mod that a proxy makes up.
//
// Standard output: {"corp.example/a@v1.0.0": {"zip": "h1:…", "mod": "h1:…"}}.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

type request struct {
	Dir     string
	Modules []spec
}

type spec struct {
	Path, Version string
	Files         map[string]string
}

type sums struct {
	Zip string `json:"zip"`
	Mod string `json:"mod"`
}

// A memFile is a file of a module: modzip.File and os.FileInfo in one.
type memFile struct{ name, body string }

func (f memFile) Path() string                { return f.name }
func (f memFile) Lstat() (os.FileInfo, error) { return f, nil }
func (f memFile) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewBufferString(f.body)), nil
}
func (f memFile) Name() string     { return filepath.Base(f.name) }
func (f memFile) Size() int64      { return int64(len(f.body)) }
func (memFile) Mode() os.FileMode  { return 0o644 }
func (memFile) ModTime() time.Time { return time.Time{} }
func (memFile) IsDir() bool        { return false }
func (memFile) Sys() any           { return nil }

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkproxy: ")
	var want request
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	made := make(map[string]sums)
	for _, m := range want.Modules {
		s, err := write(want.Dir, m)
		if err != nil {
			log.Fatalf("%s@%s: %v", m.Path, m.Version, err)
		}
		made[m.Path+"@"+m.Version] = s
	}
	if err := json.NewEncoder(os.Stdout).Encode(made); err != nil {
		log.Fatal(err)
	}
}

func write(dir string, m spec) (sums, error) {
	at, err := escapedDir(dir, m)
	if err != nil {
		return sums{}, err
	}
	var files []modzip.File
	for name, body := range m.Files {
		files = append(files, memFile{name, body})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Path() < files[j].Path() })
	version := module.Version{Path: m.Path, Version: m.Version}
	var zip bytes.Buffer
	if err := modzip.Create(&zip, version, files); err != nil {
		return sums{}, err
	}
	mod, ok := m.Files["go.mod"]
	if !ok {
		mod = "module " + m.Path + "\n"
	}
	escaped, err := module.EscapeVersion(m.Version)
	if err != nil {
		return sums{}, err
	}
	info := fmt.Sprintf("{\"Version\":%q,\"Time\":\"2026-01-01T00:00:00Z\"}", m.Version)
	base := filepath.Join(at, escaped)
	for name, body := range map[string][]byte{
		filepath.Join(at, "list"): []byte(m.Version + "\n"),
		base + ".info":            []byte(info),
		base + ".mod":             []byte(mod),
		base + ".zip":             zip.Bytes(),
	} {
		if err := os.WriteFile(name, body, 0o644); err != nil {
			return sums{}, err
		}
	}
	var s sums
	if s.Zip, err = dirhash.HashZip(base+".zip", dirhash.Hash1); err != nil {
		return sums{}, err
	}
	open := func(string) (io.ReadCloser, error) { return os.Open(base + ".mod") }
	s.Mod, err = dirhash.Hash1([]string{"go.mod"}, open)
	return s, err
}

func escapedDir(dir string, m spec) (string, error) {
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, filepath.FromSlash(escaped), "@v")
	return at, os.MkdirAll(at, 0o755)
}
