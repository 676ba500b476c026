// Cosign answers for tests about checkpoints, cosignatures, policies and proof files: what filippo.io/torchwood and
// github.com/transparency-dev/formats make of them. It reads requests as JSON lines and answers each with a line.
//
//	{"do":"open","vkeys":["…"],"note":"…"}     → {"signers":["name+id",…]} or {"error":"…"}
//	{"do":"checkpoint","text":"…"}             → {"origin":"…","size":1,"extension":"…"} or {"error":"…"}
//	{"do":"cosign","name":"…","seed":"…","text":"…"} → {"vkey":"…","note":"…","time":1}
//	{"do":"policy","policy":"…","note":"…"}    → {} or {"error":"…"}
//	{"do":"verify","policy":"…","record":"<base64>","proof":"…"} → {} or {"error":"…"}
//	{"do":"format","record":"<base64>","index":1,"hashes":["<base64>",…],"note":"…"} → {"proof":"…"}
//
// A note is opened by both libraries, which must agree.
package main

import (
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Do    string   `json:"do"`
	Vkeys []string `json:"vkeys"`
	Note  string   `json:"note"`
	Text  string   `json:"text"`
	Name  string   `json:"name"`
	Seed  []byte   `json:"seed"`

	Policy string   `json:"policy"`
	Record []byte   `json:"record"`
	Proof  string   `json:"proof"`
	Index  int64    `json:"index"`
	Hashes [][]byte `json:"hashes"`
}

type answer struct {
	Error     string   `json:"error,omitempty"`
	Signers   []string `json:"signers,omitempty"`
	Origin    string   `json:"origin,omitempty"`
	Size      int64    `json:"size,omitempty"`
	Extension string   `json:"extension,omitempty"`
	Vkey      string   `json:"vkey,omitempty"`
	Note      string   `json:"note,omitempty"`
	Time      int64    `json:"time,omitempty"`
	Proof     string   `json:"proof,omitempty"`
}

func main() {
	log.SetFlags(0)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			log.Fatal(err)
		}
		a, err := reply(r)
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			log.Fatal(err)
		}
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
}

func reply(r request) (answer, error) {
	switch r.Do {
	case "open":
		return open(r)
	case "checkpoint":
		c, err := torchwood.ParseCheckpoint(r.Text)
		return answer{Origin: c.Origin, Size: c.N, Extension: c.Extension}, err
	case "cosign":
		return cosign(r)
	case "policy", "verify":
		policy, err := torchwood.ParsePolicy([]byte(r.Policy))
		if err != nil {
			return answer{}, err
		}
		if r.Do == "policy" {
			_, _, err = torchwood.VerifyCheckpoint([]byte(r.Note), policy)
			return answer{}, err
		}
		return answer{}, torchwood.VerifyProof(policy, tlog.RecordHash(r.Record), []byte(r.Proof))
	case "format":
		var proof tlog.RecordProof
		for _, hash := range r.Hashes {
			proof = append(proof, tlog.Hash(hash))
		}
		file := torchwood.FormatProofWithExtraData(r.Index, r.Record, proof, []byte(r.Note))
		return answer{Proof: string(file)}, nil
	}
	return answer{}, fmt.Errorf("unknown request %q", r.Do)
}

// open opens the note with the keys as torchwood reads them, and again as formats does.
func open(r request) (answer, error) {
	signers := func(parse func(string) (note.Verifier, error)) ([]string, error) {
		var known []note.Verifier
		for _, vkey := range r.Vkeys {
			v, err := note.NewVerifier(vkey)
			if err != nil {
				v, err = parse(vkey)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", vkey, err)
			}
			known = append(known, v)
		}
		n, err := note.Open([]byte(r.Note), note.VerifierList(known...))
		if err != nil {
			return nil, err
		}
		var names []string
		for _, sig := range n.Sigs {
			names = append(names, fmt.Sprintf("%s+%08x", sig.Name, sig.Hash))
		}
		return names, nil
	}
	a, errA := signers(func(v string) (note.Verifier, error) { return torchwood.NewCosignatureVerifier(v) })
	b, errB := signers(fnote.NewVerifierForCosignatureV1)
	if fmt.Sprint(a) != fmt.Sprint(b) || (errA == nil) != (errB == nil) {
		log.Fatalf("torchwood says %v %v, formats says %v %v", a, errA, b, errB)
	}
	return answer{Signers: a}, errA
}

func cosign(r request) (answer, error) {
	s, err := torchwood.NewCosignatureSigner(r.Name, ed25519.NewKeyFromSeed(r.Seed))
	if err != nil {
		return answer{}, err
	}
	signed, err := note.Sign(&note.Note{Text: r.Text}, s)
	if err != nil {
		return answer{}, err
	}
	n, err := note.Open(signed, note.VerifierList(s.Verifier()))
	if err != nil {
		return answer{}, err
	}
	t, err := torchwood.CosignatureTimestamp(n.Sigs[0])
	return answer{Vkey: s.Verifier().String(), Note: string(signed), Time: t}, err
}
