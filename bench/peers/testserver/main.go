// testserver serves golang.org/x/mod's in-memory test checksum database, filled with n records. A module that is not
// among them is fetched from -proxy and hashed with x/mod's dirhash. GET /count tells how many requests came before it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync/atomic"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"

	"peers/record"
	"peers/source"
)

func main() {
	n := flag.Int64("n", 100_000, "records")
	addr := flag.String("addr", "127.0.0.1:8101", "listen address")
	proxy := flag.String("proxy", "", "where unknown modules come from: http://… or file://…")
	flag.Parse()
	skey, vkey, err := note.GenerateKey(rand.Reader, "peer.example")
	if err != nil {
		log.Fatal(err)
	}
	filled := false
	ts := sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		switch {
		case !filled:
			return record.Text(path, version), nil
		case *proxy == "":
			return nil, errors.New("not among the records, and there is no -proxy")
		}
		return source.Lines(*proxy, path, version)
	})
	for i := int64(0); i < *n; i++ {
		path, version := record.Module(i)
		if _, err := ts.Lookup(context.Background(), module.Version{Path: path, Version: version}); err != nil {
			log.Fatal(err)
		}
	}
	filled = true
	fmt.Println(vkey)
	log.Fatal(http.ListenAndServe(*addr, counting(sumdb.NewServer(ts))))
}

func counting(server *sumdb.Server) http.Handler {
	var count atomic.Int64
	mux := http.NewServeMux()
	for _, path := range sumdb.ServerPaths {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			server.ServeHTTP(w, r)
		})
	}
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, count.Load()) })
	return mux
}
