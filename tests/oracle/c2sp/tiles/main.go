// Tiles reads a log over HTTP with Tessera's client library and verifies all of it, as its cmd/fsck does: the checkpoint,
// every entry bundle, every tile; then every entry's proof of inclusion.
//
//	tiles URL VKEY        → {"size":3,"entries":["<base64>",…]}
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/url"
	"os"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	base, err := url.Parse(os.Args[1])
	check(err)
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	fetcher, err := client.NewHTTPFetcher(base, nil)
	check(err)
	check(fsck.New(verifier.Name(), verifier, fetcher, leaves, fsck.Opts{N: 2}).Check(ctx))

	head, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	check(err)
	proofs, err := client.NewProofBuilder(ctx, head.Size, fetcher.ReadTile)
	check(err)
	var entries [][]byte
	for i := uint64(0); i < head.Size; i += layout.EntryBundleWidth {
		bundle, err := client.GetEntryBundle(ctx, fetcher.ReadEntryBundle, i/layout.EntryBundleWidth, head.Size)
		check(err)
		entries = append(entries, bundle.Entries...)
	}
	if uint64(len(entries)) != head.Size {
		log.Fatalf("%d entries in a log of %d", len(entries), head.Size)
	}
	for i, entry := range entries {
		hashes, err := proofs.InclusionProof(ctx, uint64(i))
		check(err)
		leaf := rfc6962.DefaultHasher.HashLeaf(entry)
		check(proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), head.Size, leaf, hashes, head.Hash))
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"size": head.Size, "entries": entries}))
}

func leaves(bundle []byte) ([][]byte, error) {
	var parsed api.EntryBundle
	if err := parsed.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range parsed.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
