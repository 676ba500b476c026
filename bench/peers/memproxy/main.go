// memproxy is a GOPROXY that makes its modules in memory while it answers: every path under -prefix exists, at v1.0.0,
// with a go.mod and one small file. It touches no disk, so that a row which misses measures the checksum database.
// GET /count tells how many requests came before it.
package main

import (
	"archive/zip"
	"bytes"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

const info = `{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}`

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func main() {
	addr := flag.String("addr", "127.0.0.1:8103", "listen address")
	prefix := flag.String("prefix", "corp.example/", "what every module path starts with")
	flag.Parse()
	var count atomic.Int64
	log.Fatal(http.ListenAndServe(*addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			fmt.Fprintln(w, count.Load())
			return
		}
		count.Add(1)
		path, file, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/@v/")
		if !ok || !strings.HasPrefix(path, *prefix) {
			http.NotFound(w, r)
			return
		}
		answer(w, r, path, file)
	})))
}

func answer(w http.ResponseWriter, r *http.Request, path, file string) {
	switch file {
	case "list":
		fmt.Fprintln(w, "v1.0.0")
	case "v1.0.0.info":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, info)
	case "v1.0.0.mod":
		w.Write(goMod(path))
	case "v1.0.0.zip":
		buffer := buffers.Get().(*bytes.Buffer)
		defer buffers.Put(buffer)
		buffer.Reset()
		if err := writeZip(buffer, path); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/zip")
		w.Write(buffer.Bytes())
	default:
		http.NotFound(w, r)
	}
}

func goMod(path string) []byte { return []byte("module " + path + "\n\ngo 1.21\n") }

// writeZip stores without compressing: compressing would be most of the work, and it is not what is measured.
func writeZip(buffer *bytes.Buffer, path string) error {
	z := zip.NewWriter(buffer)
	for _, f := range []struct {
		name string
		body []byte
	}{{"go.mod", goMod(path)}, {"lib.go", fmt.Appendf(nil, "package lib\n\nconst Name = %q\n", path)}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: path + "@v1.0.0/" + f.name, Method: zip.Store})
		if err != nil {
			return err
		}
		if _, err := w.Write(f.body); err != nil {
			return err
		}
	}
	return z.Close()
}
