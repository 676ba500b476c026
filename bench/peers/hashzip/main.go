// hashzip hashes a module's zip with x/mod's dirhash and prints one line of JSON: the hash and the seconds it took.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
)

func main() {
	flag.Parse()
	start := time.Now()
	hash, err := dirhash.HashZip(flag.Arg(0), dirhash.Hash1)
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"h1": hash, "seconds": time.Since(start).Seconds()})
}
