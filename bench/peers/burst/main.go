// Command burst opens many connections at once, asks for one path on each, and prints one line of JSON: how long it
// took until all were answered, and how long each waited. A client whose SYN is dropped waits a second or more.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

func ask(addr, path string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, addr)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func main() {
	addr := flag.String("addr", "", "address and port")
	path := flag.String("path", "/latest", "what to ask for")
	n := flag.Int("n", 2000, "connections")
	flag.Parse()
	waited, errs := make([]float64, *n), make([]error, *n)
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for i := range *n {
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Done()
			<-start
			began := time.Now()
			errs[i] = ask(*addr, *path)
			waited[i] = float64(time.Since(began).Microseconds()) / 1000
		}()
	}
	ready.Wait()
	began := time.Now()
	close(start)
	done.Wait()
	seconds := time.Since(began).Seconds()
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
			fmt.Fprintln(os.Stderr, err)
		}
	}
	slices.Sort(waited)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": seconds, "failed": failed,
		"p50_ms": waited[len(waited)/2], "p99_ms": waited[len(waited)*99/100], "most_ms": waited[len(waited)-1],
	})
}
