// sumdbclient looks modules up with golang.org/x/mod/sumdb's Client, the code inside the go command, and prints all that
// it did and said.
//
// Standard input, one JSON object: key (the verifier key), url (where the log is), lookups (["path@version", …], where
// the version may end in /go.mod); and where wanted latest (the note that the client keeps), cache (its files, base64),
// nosumdb (a GONOSUMDB list), workers (how many look-ups at a time), conflicts (so many writes of the kept note fail as
// if another process had been faster).
//
// Standard output: {"results": [{"lines": […], "error": "…"}], "latest": "…", "security": […], "remote": […],
// "cached": […]}: an answer for each look-up, the note that is kept now, security errors, paths asked for, files cached.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb"
)

type request struct {
	Key, URL, Latest, NoSumdb string
	Lookups                   []string
	Cache                     map[string][]byte
	Workers, Conflicts        int
}

type result struct {
	Lines []string `json:"lines"`
	Error string   `json:"error"`
}

type report struct {
	Results  []result `json:"results"`
	Latest   string   `json:"latest"`
	Security []string `json:"security"`
	Remote   []string `json:"remote"`
	Cached   []string `json:"cached"`
}

// ops is the client's outside world: HTTP, and a configuration and a cache in memory.
type ops struct {
	key, url string
	http     *http.Client

	mu        sync.Mutex
	latest    []byte
	cache     map[string][]byte
	conflicts int
	report    report
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("sumdbclient: ")
	var want request
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	workers := max(want.Workers, 1)
	o := &ops{
		key: want.Key, url: want.URL, latest: []byte(want.Latest), cache: want.Cache, conflicts: want.Conflicts,
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}},
		report: report{
			Results: make([]result, len(want.Lookups)), Security: []string{}, Remote: []string{}, Cached: []string{},
		},
	}
	if o.cache == nil {
		o.cache = make(map[string][]byte)
	}
	client := sumdb.NewClient(o)
	if want.NoSumdb != "" {
		client.SetGONOSUMDB(want.NoSumdb)
	}
	o.lookUp(client, want.Lookups, workers)
	o.report.Latest = string(o.latest)
	slices.Sort(o.report.Cached)
	if err := json.NewEncoder(os.Stdout).Encode(o.report); err != nil {
		log.Fatal(err)
	}
}

func (o *ops) lookUp(client *sumdb.Client, lookups []string, workers int) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				path, version, _ := strings.Cut(lookups[i], "@")
				lines, err := client.Lookup(path, version)
				o.report.Results[i] = result{Lines: lines}
				if err != nil {
					o.report.Results[i].Error = err.Error()
				}
			}
		})
	}
	for i := range lookups {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (o *ops) ReadRemote(path string) ([]byte, error) {
	o.mu.Lock()
	o.report.Remote = append(o.report.Remote, path)
	o.mu.Unlock()
	resp, err := o.http.Get(o.url + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", path, resp.Status, data)
	}
	return data, nil
}

func (o *ops) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(o.key), nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.latest, nil
}

func (o *ops) WriteConfig(file string, old, new []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conflicts > 0 {
		o.conflicts--
		return sumdb.ErrWriteConflict
	}
	if string(o.latest) != string(old) {
		return sumdb.ErrWriteConflict
	}
	o.latest = new
	return nil
}

func (o *ops) ReadCache(file string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if data, ok := o.cache[file]; ok {
		return data, nil
	}
	return nil, errors.New("not in the cache")
}

func (o *ops) WriteCache(file string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cache[file] = data
	o.report.Cached = append(o.report.Cached, file)
}

func (o *ops) Log(msg string) { log.Print(msg) }

func (o *ops) SecurityError(msg string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.report.Security = append(o.report.Security, msg)
}
