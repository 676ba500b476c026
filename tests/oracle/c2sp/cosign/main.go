// Cosign answers for a test about checkpoints and cosignatures: what filippo.io/torchwood and
// github.com/transparency-dev/formats make of them. It reads requests as JSON lines and answers each with a line.
//
//	{"do":"open","vkeys":["…"],"note":"…"}     → {"signers":["name+id",…]} or {"error":"…"}
//	{"do":"checkpoint","text":"…"}             → {"origin":"…","size":1,"extension":"…"} or {"error":"…"}
//	{"do":"cosign","name":"…","seed":"…","text":"…"} → {"vkey":"…","note":"…","time":1}
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
)

type request struct {
	Do    string   `json:"do"`
	Vkeys []string `json:"vkeys"`
	Note  string   `json:"note"`
	Text  string   `json:"text"`
	Name  string   `json:"name"`
	Seed  []byte   `json:"seed"`
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
