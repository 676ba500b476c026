// evidence reads a report of misbehaviour, and says whether it convicts the log: with golang.org/x/mod, and nothing of ours.
//
// With arguments, for people: evidence KEY FILE. It prints a sentence, and fails when nothing is proved.
//
// Without, for tests. Standard input, one JSON object: key (the verifier key), text (the report: the text of the go command's
// own security error, a tab before each line of the notes and hashes).
//
// Standard output: {"older": 700, "newer": 900, "error": ""}: the sizes of the two trees, and why nothing is proved.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type report struct {
	Older int64  `json:"older"`
	Newer int64  `json:"newer"`
	Error string `json:"error"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("evidence: ")
	if len(os.Args) == 3 {
		tell(os.Args[1], os.Args[2])
		return
	}
	var want struct{ Key, Text string }
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	var found report
	if err := found.judge(want.Key, want.Text); err != nil {
		found.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func tell(key, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var found report
	if err := found.judge(key, string(text)); err != nil {
		log.Fatalf("%s proves nothing: %v", file, err)
	}
	name, _, _ := strings.Cut(key, "+")
	fmt.Printf("%s has signed two trees, of %d and of %d records, that no one log can have\n", name, found.Older, found.Newer)
}

func (r *report) judge(key, text string) error {
	older, err := open(key, section(text, "old database:\n"))
	if err != nil {
		return fmt.Errorf("old database: %w", err)
	}
	newer, err := open(key, section(text, "new database:\n"))
	if err != nil {
		return fmt.Errorf("new database: %w", err)
	}
	r.Older, r.Newer = older.N, newer.N
	var hashes []tlog.Hash
	for _, line := range strings.Fields(section(text, "proof of misbehavior:\n")) {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		hashes = append(hashes, hash)
	}
	if len(hashes) == 0 {
		return errors.New("no proof")
	}
	if err := tlog.CheckTree(hashes[1:], newer.N, newer.Hash, older.N, hashes[0]); err != nil {
		return err
	}
	if hashes[0] == older.Hash {
		return errors.New("the trees are consistent")
	}
	return nil
}

// section returns the indented lines after a title, without their tabs.
func section(text, title string) string {
	_, rest, _ := strings.Cut(text, title)
	var lines strings.Builder
	for line := range strings.Lines(rest) {
		line, indented := strings.CutPrefix(line, "\t")
		if !indented {
			break
		}
		lines.WriteString(line)
	}
	return lines.String()
}

func open(key, msg string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(strings.TrimSuffix(msg, "\n")), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	// A checkpoint says the same as a tree note, with the log's name in the first line.
	if rest, ok := strings.CutPrefix(opened.Text, verifier.Name()+"\n"); ok {
		return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	}
	return tlog.ParseTree([]byte(opened.Text))
}
