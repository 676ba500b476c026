// Notevec prints what golang.org/x/mod/sumdb/note makes of keys and notes: tests/vectors/note.json.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

type key struct {
	Name string `json:"name"`
	Seed []byte `json:"seed"`
	ID   uint32 `json:"id"`
	Skey string `json:"skey"`
	Vkey string `json:"vkey"`
}

// A keyCase is a text that is to be a key; without an error, it is one.
type keyCase struct {
	Case  string `json:"case"`
	Text  string `json:"text"`
	Error string `json:"error"`
	Name  string `json:"name,omitempty"`
	ID    uint32 `json:"id,omitempty"`
}

type signCase struct {
	Case  string   `json:"case"`
	Text  string   `json:"text"`
	Skeys []string `json:"skeys"`
	Error string   `json:"error"`
	Note  string   `json:"note,omitempty"`
}

// A sig is a signature as [name, id, base64].
type sig [3]any

type openCase struct {
	Case       string   `json:"case"`
	Note       []byte   `json:"note"`
	Vkeys      []string `json:"vkeys"`
	Error      string   `json:"error"`
	Text       string   `json:"text,omitempty"`
	Signatures []sig    `json:"signatures,omitempty"`
	Unverified []sig    `json:"unverified,omitempty"`
}

type vectors struct {
	About string     `json:"about"`
	Keys  []key      `json:"keys"`
	Vkeys []keyCase  `json:"vkeys"`
	Skeys []keyCase  `json:"skeys"`
	Sign  []signCase `json:"sign"`
	Open  []openCase `json:"open"`
}

func main() {
	log.SetFlags(0)
	v := vectors{About: "made by tests/oracle/notevec with golang.org/x/mod v0.42.0; see tests/it/oracle.rs"}
	for i, name := range []string{"sum.corp.example", "sum.corp.example", "witness.example/α/β", "x"} {
		v.Keys = append(v.Keys, newKey(name, byte(i+1)))
	}
	v.Vkeys = vkeyCases(v.Keys[0])
	v.Skeys = skeyCases(v.Keys[0])
	v.Sign = signCases(v.Keys)
	v.Open = openCases(v.Keys)

	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		log.Fatal(err)
	}
}

func newKey(name string, seedByte byte) key {
	seed := bytes.Repeat([]byte{seedByte}, ed25519.SeedSize)
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		log.Fatal(err)
	}
	verifier := must(note.NewVerifier(vkey))
	skey := keyText("PRIVATE+KEY+"+name, verifier.KeyHash(), 1, seed)
	signer := must(note.NewSigner(skey))
	if signer.KeyHash() != verifier.KeyHash() || signer.Name() != name {
		log.Fatalf("%s: signer and verifier differ", name)
	}
	return key{name, seed, verifier.KeyHash(), skey, vkey}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func keyText(name string, id uint32, alg byte, raw []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, id, b64(append([]byte{alg}, raw...)))
}

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// keyID is the id of any bytes under any name, also of those that x/mod refuses.
func keyID(name string, raw []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	return binary.BigEndian.Uint32(sum[:])
}

// anyVkey has the right id for whatever it holds, so that only its content can be wrong.
func anyVkey(name string, raw []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyID(name, raw), b64(raw))
}

func vkeyCases(k key) []keyCase {
	name, rest, _ := strings.Cut(k.Vkey, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	raw := must(base64.StdEncoding.DecodeString(encoded))
	identity := append([]byte{1, 1}, make([]byte, 31)...)
	noPoint := append([]byte{1, 2}, make([]byte, 31)...)
	cases := [][2]string{
		{"good", k.Vkey},
		{"good: sum.golang.org", "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"},
		{"good: name with a path", anyVkey("host.example/a/b", raw)},
		{"empty", ""},
		{"name only", name},
		{"name and id only", name + "+" + id},
		{"no key", name + "+" + id + "+"},
		{"no name", "+" + id + "+" + encoded},
		{"name with a space", anyVkey("a b", raw)},
		{"name with a no-break space", anyVkey("a\u00a0b", raw)},
		{"name with a newline", anyVkey("a\nb", raw)},
		{"name with a control character", anyVkey("a\x01b", raw)},
		{"id of seven digits", name + "+" + id[1:] + "+" + encoded},
		{"id of nine digits", name + "+0" + id + "+" + encoded},
		{"id in upper case", name + "+" + strings.ToUpper(id) + "+" + encoded},
		{"id with a sign", name + "+-" + id[1:] + "+" + encoded},
		{"id not hex", name + "+" + "0123456g" + "+" + encoded},
		{"id of another name", "other.example+" + id + "+" + encoded},
		{"id of another key", fmt.Sprintf("%s+%08x+%s", name, k.ID^1, encoded)},
		{"key cut", name + "+" + id + "+" + encoded[:len(encoded)-1]},
		{"key of 31 bytes", anyVkey(name, raw[:32])},
		{"key of 33 bytes", anyVkey(name, append(raw[:33:33], 0))},
		{"key in the URL alphabet", name + "+" + id + "+" + strings.NewReplacer("+", "-", "/", "_").Replace(encoded[:43]) + "_"},
		{"key with a newline", name + "+" + id + "+" + encoded[:20] + "\n" + encoded[20:]},
		{"key with a newline after it", k.Vkey + "\n"},
		{"key with a space after it", k.Vkey + " "},
		{"algorithm 0", anyVkey(name, append([]byte{0}, raw[1:]...))},
		{"algorithm 2", anyVkey(name, append([]byte{2}, raw[1:]...))},
		{"algorithm only", anyVkey(name, []byte{1})},
		{"key of small order", anyVkey(name, identity)},
		{"key that is no point", anyVkey(name, noPoint)},
		{"signer key", k.Skey},
	}
	var out []keyCase
	for _, c := range cases {
		kc := keyCase{Case: c[0], Text: c[1]}
		v, err := note.NewVerifier(c[1])
		if err != nil {
			kc.Error = err.Error()
		} else {
			kc.Name, kc.ID = v.Name(), v.KeyHash()
		}
		out = append(out, kc)
	}
	return out
}

func skeyCases(k key) []keyCase {
	id := fmt.Sprintf("%08x", k.ID)
	seed := append([]byte{1}, k.Seed...)
	text := func(prefix, id string, raw []byte) string { return prefix + "+" + id + "+" + b64(raw) }
	full := "PRIVATE+KEY+" + k.Name
	cases := [][2]string{
		{"good", k.Skey},
		{"empty", ""},
		{"verifier key", k.Vkey},
		{"prefix only", "PRIVATE+KEY+"},
		{"prefix in lower case", text("private+key+"+k.Name, id, seed)},
		{"other prefix", text("PRIVATE+KEYS+"+k.Name, id, seed)},
		{"no name", text("PRIVATE+KEY+", id, seed)},
		{"name with a space", text("PRIVATE+KEY+a b", id, seed)},
		{"other name", text("PRIVATE+KEY+other.example", id, seed)},
		{"other id", text(full, fmt.Sprintf("%08x", k.ID^0x80000000), seed)},
		{"id in upper case", text(full, strings.ToUpper(id), seed)},
		{"id of seven digits", text(full, id[1:], seed)},
		{"no seed", full + "+" + id + "+"},
		{"seed of 31 bytes", text(full, id, seed[:32])},
		{"seed of 64 bytes", text(full, id, append(seed, k.Seed...))},
		{"other seed", text(full, id, append([]byte{1, 9}, k.Seed[1:]...))},
		{"algorithm 2", text(full, id, append([]byte{2}, k.Seed...))},
		{"newline after it", k.Skey + "\n"},
		{"space after it", k.Skey + " "},
	}
	var out []keyCase
	for _, c := range cases {
		kc := keyCase{Case: c[0], Text: c[1]}
		s, err := note.NewSigner(c[1])
		if err != nil {
			kc.Error = err.Error()
		} else {
			kc.Name, kc.ID = s.Name(), s.KeyHash()
		}
		out = append(out, kc)
	}
	return out
}
