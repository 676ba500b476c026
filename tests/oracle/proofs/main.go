// proofs asks a server of ours for proofs and verifies each with golang.org/x/mod, and nothing of ours: the trees are hashed
// here, from the records.
//
// Standard input, one JSON object: key (the verifier key), url (the server), sizes (trees; every record in each of them, and
// every pair, is proved; none for all sizes), random (so many more proofs, of any records and sizes).
//
// Standard output: {"size": 70, "inclusion": 2485, "consistency": 2485, "notes": 3}: the log's size, how many proofs of each kind
// were verified, and how many of them came with a signed note of just that tree.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// batch is how many proofs are asked for in one request.
const batch = 100

type asked struct {
	Record *int64 `json:"record,omitempty"`
	Size   int64  `json:"size,omitempty"`
	From   int64  `json:"from,omitempty"`
	To     int64  `json:"to,omitempty"`
}

type proof struct {
	Inclusion *struct {
		Record     int64
		Size       int64
		Leaf, Root tlog.Hash
		Hashes     []tlog.Hash
		Note       string
	}
	Consistency *struct {
		From, To int64
		FromRoot tlog.Hash `json:"from_root"`
		ToRoot   tlog.Hash `json:"to_root"`
		Hashes   []tlog.Hash
		Note     string
	}
}

type report struct {
	Size        int64 `json:"size"`
	Inclusion   int   `json:"inclusion"`
	Consistency int   `json:"consistency"`
	Notes       int   `json:"notes"`
}

// tree is the log, hashed here.
type tree struct {
	url      string
	verifier note.Verifier
	size     int64
	leaves   []tlog.Hash
	stored   []tlog.Hash
	roots    map[int64]tlog.Hash
	report   report
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("proofs: ")
	var want struct {
		Key, URL string
		Sizes    []int64
		Random   int
	}
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	verifier, err := note.NewVerifier(want.Key)
	if err != nil {
		log.Fatal(err)
	}
	t := &tree{url: want.URL, verifier: verifier, roots: map[int64]tlog.Hash{}}
	t.read()
	sizes := want.Sizes
	if sizes == nil {
		for size := int64(1); size <= t.size; size++ {
			sizes = append(sizes, size)
		}
	}
	var all []asked
	for _, size := range sizes {
		for record := range size {
			all = append(all, asked{Record: &record, Size: size})
		}
		for from := int64(1); from <= size; from++ {
			all = append(all, asked{From: from, To: size})
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range want.Random {
		size := 1 + random.Int64N(t.size)
		record := random.Int64N(size)
		all = append(all, asked{Record: &record, Size: size}, asked{From: record + 1, To: size})
	}
	for len(all) > 0 {
		n := min(batch, len(all))
		t.verify(all[:n])
		all = all[n:]
	}
	t.report.Size = t.size
	if err := json.NewEncoder(os.Stdout).Encode(t.report); err != nil {
		log.Fatal(err)
	}
}

// read hashes all records of the newest tree.
func (t *tree) read() {
	head := t.open(string(t.get("/latest")))
	t.size = head.N
	for first := int64(0); first < t.size; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(min(256, t.size-first))}
		for _, text := range bytes.SplitAfter(t.get("/"+tile.Path()), []byte("\n\n")) {
			if len(text) > 0 {
				t.push(text[:len(text)-1])
			}
		}
	}
	if root := t.root(t.size); int64(len(t.leaves)) != t.size || root != head.Hash {
		log.Fatalf("the records give the root %v of %d, and %v was signed", root, len(t.leaves), head)
	}
}

func (t *tree) push(text []byte) {
	n := int64(len(t.leaves))
	hashes, err := tlog.StoredHashes(n, text, t)
	if err != nil {
		log.Fatal(err)
	}
	t.leaves = append(t.leaves, tlog.RecordHash(text))
	t.stored = append(t.stored, hashes...)
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		hashes = append(hashes, t.stored[index])
	}
	return hashes, nil
}

func (t *tree) root(size int64) tlog.Hash {
	root, ok := t.roots[size]
	if !ok {
		var err error
		if root, err = tlog.TreeHash(size, t); err != nil {
			log.Fatal(err)
		}
		t.roots[size] = root
	}
	return root
}

func (t *tree) open(text string) tlog.Tree {
	opened, err := note.Open([]byte(text), note.VerifierList(t.verifier))
	if err != nil {
		log.Fatal(err)
	}
	head, err := tlog.ParseTree([]byte(opened.Text))
	if err != nil {
		log.Fatal(err)
	}
	return head
}

func (t *tree) get(path string) []byte {
	response, err := http.Get(t.url + path)
	if err != nil {
		log.Fatal(err)
	}
	return body(path, response)
}

func body(path string, response *http.Response) []byte {
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	if response.StatusCode != 200 {
		log.Fatalf("%s: %s\n%s", path, response.Status, data)
	}
	return data
}

func (t *tree) verify(all []asked) {
	question, err := json.Marshal(all)
	if err != nil {
		log.Fatal(err)
	}
	const path = "/api/v1/proofs"
	response, err := http.Post(t.url+path, "application/json", bytes.NewReader(question))
	if err != nil {
		log.Fatal(err)
	}
	var answer struct{ Proofs []proof }
	if err := json.Unmarshal(body(path, response), &answer); err != nil {
		log.Fatal(err)
	}
	if len(answer.Proofs) != len(all) {
		log.Fatalf("%d proofs for %d questions", len(answer.Proofs), len(all))
	}
	for i, asked := range all {
		if err := t.check(asked, answer.Proofs[i]); err != nil {
			text, _ := json.Marshal(asked)
			log.Fatalf("%s: %v", text, err)
		}
	}
}

func (t *tree) check(asked asked, proof proof) error {
	if asked.Record == nil {
		p := proof.Consistency
		if p == nil || p.From != asked.From || p.To != asked.To {
			return fmt.Errorf("another answer: %+v", proof)
		}
		if p.FromRoot != t.root(p.From) || p.ToRoot != t.root(p.To) {
			return fmt.Errorf("wrong roots: %+v", p)
		}
		t.report.Consistency++
		if err := t.checkNote(p.Note, p.To, p.ToRoot); err != nil {
			return err
		}
		return checkFlips(p.Hashes, func(hashes []tlog.Hash) error {
			return tlog.CheckTree(hashes, p.To, p.ToRoot, p.From, p.FromRoot)
		})
	}
	p := proof.Inclusion
	if p == nil || p.Record != *asked.Record || p.Size != asked.Size {
		return fmt.Errorf("another answer: %+v", proof)
	}
	if p.Leaf != t.leaves[p.Record] || p.Root != t.root(p.Size) {
		return fmt.Errorf("wrong leaf or root: %+v", p)
	}
	t.report.Inclusion++
	if err := t.checkNote(p.Note, p.Size, p.Root); err != nil {
		return err
	}
	return checkFlips(p.Hashes, func(hashes []tlog.Hash) error {
		return tlog.CheckRecord(hashes, p.Size, p.Root, p.Record, p.Leaf)
	})
}

// checkFlips verifies a proof, and that no hash of it is there for nothing.
func checkFlips(hashes []tlog.Hash, check func([]tlog.Hash) error) error {
	if err := check(hashes); err != nil {
		return err
	}
	for i := range hashes {
		hashes[i][i%tlog.HashSize] ^= 1
		if check(hashes) == nil {
			return fmt.Errorf("hash %d proves nothing", i)
		}
		hashes[i][i%tlog.HashSize] ^= 1
	}
	return nil
}

func (t *tree) checkNote(text string, size int64, root tlog.Hash) error {
	if text == "" {
		return nil
	}
	if head := t.open(text); head.N != size || head.Hash != root {
		return fmt.Errorf("the note is of another tree: %v", head)
	}
	t.report.Notes++
	return nil
}
