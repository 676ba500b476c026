package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const head = "go.sum database tree\n3\n5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=\n"

func signCases(keys []key) []signCase {
	var many []key
	for i := range 101 {
		many = append(many, newKey(fmt.Sprintf("k%d.example", i), byte(i)))
	}
	cases := []struct {
		name string
		text string
		keys []key
	}{
		{"good: a tree head", head, keys[:1]},
		{"good: two keys of one name", head, keys[:2]},
		{"good: the other order", head, []key{keys[1], keys[0]}},
		{"good: name with a path", head, keys[2:3]},
		{"good: blank lines", "a\n\nb\n\n", keys[:1]},
		{"good: only a newline", "\n", keys[:1]},
		{"good: a text like a note", head + "\n— x AAAAAAA=\n", keys[:1]},
		{"good: not ASCII", "é😀\u2028\u007f\n", keys[:1]},
		{"good: 100 keys", head, many[:100]},
		{"empty text", "", keys[:1]},
		{"no last newline", "text", keys[:1]},
		{"control character", "a\tb\n", keys[:1]},
		{"carriage return", "a\r\n", keys[:1]},
		{"no key", head, nil},
		{"one key twice", head, []key{keys[0], keys[0]}},
		{"101 keys", head, many},
	}
	var out []signCase
	for _, c := range cases {
		sc := signCase{Case: c.name, Text: c.text, Skeys: []string{}}
		var signers []note.Signer
		for _, k := range c.keys {
			sc.Skeys = append(sc.Skeys, k.Skey)
			signers = append(signers, must(note.NewSigner(k.Skey)))
		}
		msg, err := note.Sign(&note.Note{Text: c.text}, signers...)
		if err != nil {
			sc.Error = err.Error()
		} else {
			sc.Note = string(msg)
		}
		out = append(out, sc)
	}
	return out
}

func openCases(keys []key) []openCase {
	sign := func(text string, keys ...key) string {
		var signers []note.Signer
		for _, k := range keys {
			signers = append(signers, must(note.NewSigner(k.Skey)))
		}
		return string(must(note.Sign(&note.Note{Text: text}, signers...)))
	}
	vkeys := func(keys ...key) []string {
		list := []string{}
		for _, k := range keys {
			list = append(list, k.Vkey)
		}
		return list
	}
	line := func(k key, text string) string { return strings.TrimPrefix(sign(text, k), text+"\n") }
	encoded := func(name string, id uint32, sig []byte) string {
		return "— " + name + " " + b64(append(binary.BigEndian.AppendUint32(nil, id), sig...)) + "\n"
	}
	a, b, c := keys[0], keys[1], keys[2]
	good := sign(head, a)
	sigLine := line(a, head)
	unknown := encoded("other.example", 7, []byte("not verified"))
	sigBytes := must(base64.StdEncoding.DecodeString(strings.TrimSuffix(strings.Fields(sigLine)[2], "\n")))[4:]
	flipped := bytes.Clone(sigBytes)
	flipped[10] ^= 1
	// 68 bytes are 2 above a multiple of three, so the last character before the padding has two unused bits.
	stray := strings.TrimSuffix(sigLine, "=\n")
	stray = stray[:len(stray)-1] + string(stray[len(stray)-1]+1) + "=\n"
	repeat := func(n int, f func(i int) string) string {
		var s strings.Builder
		for i := range n {
			s.WriteString(f(i))
		}
		return s.String()
	}
	unknownNr := func(i int) string { return encoded("other.example", uint32(i), []byte("s")) }

	cases := []struct {
		name  string
		note  string
		vkeys []string
	}{
		{"good", good, vkeys(a)},
		{"good: one key of several known", good, vkeys(c, b, a)},
		{"good: two keys of one name, both known", sign(head, a, b), vkeys(a, b)},
		{"good: two keys of one name, one known", sign(head, a, b), vkeys(b)},
		{"good: name with a path", sign(head, c), vkeys(c)},
		{"good: blank lines in the text", sign("a\n\nb\n\n", a), vkeys(a)},
		{"good: the text is a newline", sign("\n", a), vkeys(a)},
		{"good: not ASCII", sign("é😀\u2028\u007f\n", a), vkeys(a)},
		{"good: unknown key before", head + "\n" + unknown + sigLine, vkeys(a)},
		{"good: unknown key twice, the same line", head + "\n" + unknown + sigLine + unknown, vkeys(a)},
		{"good: unknown key twice, other bytes", head + "\n" + unknown + sigLine + encoded("other.example", 7, []byte("x")), vkeys(a)},
		{"good: known key twice", head + "\n" + sigLine + sigLine, vkeys(a)},
		{"good: known key twice, the second bad", head + "\n" + sigLine + encoded(a.Name, a.ID, flipped), vkeys(a)},
		{"good: known name, other id", head + "\n" + encoded(a.Name, a.ID^1, sigBytes) + sigLine, vkeys(a)},
		{"good: other name, known id", head + "\n" + encoded("x.example", a.ID, sigBytes) + sigLine, vkeys(a)},
		{"good: signature of one byte by an unknown key", head + "\n" + encoded("x", 1, []byte{0}) + sigLine, vkeys(a)},
		{"good: name with a delete character", head + "\n" + encoded("a\u007f", 1, []byte{0}) + sigLine, vkeys(a)},
		{"good: 100 signatures", head + "\n" + sigLine + repeat(99, unknownNr), vkeys(a)},
		{"101 signatures", head + "\n" + sigLine + repeat(100, unknownNr), vkeys(a)},
		{"101 signatures, all the same", head + "\n" + repeat(101, func(int) string { return sigLine }), vkeys(a)},
		{"known key, bad signature", head + "\n" + encoded(a.Name, a.ID, flipped), vkeys(a)},
		{"known key, bad signature, then good", head + "\n" + encoded(a.Name, a.ID, flipped) + sigLine, vkeys(a)},
		{"two known keys, one bad", head + "\n" + sigLine + encoded(b.Name, b.ID, flipped), vkeys(a, b)},
		{"known key, short signature", head + "\n" + encoded(a.Name, a.ID, sigBytes[:63]), vkeys(a)},
		{"known key, long signature", head + "\n" + encoded(a.Name, a.ID, append(bytes.Clone(sigBytes), 0)), vkeys(a)},
		{"signature of another text", strings.Replace(good, "\n3\n", "\n4\n", 1), vkeys(a)},
		{"signature without the last newline signed", "text\n\n" + encoded(a.Name, a.ID, sigOf(a, "text")), vkeys(a)},
		{"signature over the blank line too", "text\n\n" + encoded(a.Name, a.ID, sigOf(a, "text\n\n")), vkeys(a)},
		{"no known key", good, vkeys()},
		{"another key of the name", good, vkeys(b)},
		{"ambiguous key", good, vkeys(a, a)},
		{"ambiguous key that did not sign", good, vkeys(a, c, c)},
		{"empty", "", vkeys(a)},
		{"text only", head, vkeys(a)},
		{"no signature after the blank line", head + "\n", vkeys(a)},
		{"no text", sigLine, vkeys(a)},
		{"no text but a blank line", "\n" + sigLine, vkeys(a)},
		{"no blank line", head + sigLine, vkeys(a)},
		{"two blank lines", head + "\n\n" + sigLine, vkeys(a)},
		{"no newline at the end", strings.TrimSuffix(good, "\n"), vkeys(a)},
		{"blank line at the end", good + "\n", vkeys(a)},
		{"text after the signatures", good + "more\n", vkeys(a)},
		{"hyphen for the dash", head + "\n" + strings.Replace(sigLine, "—", "-", 1), vkeys(a)},
		{"no space after the dash", head + "\n" + strings.Replace(sigLine, "— ", "—", 1), vkeys(a)},
		{"two spaces after the dash", head + "\n" + strings.Replace(sigLine, "— ", "—  ", 1), vkeys(a)},
		{"no name", head + "\n" + encoded("", 1, sigBytes), vkeys(a)},
		{"name with a plus", head + "\n" + encoded("a+b", 1, sigBytes) + sigLine, vkeys(a)},
		{"name with a no-break space", head + "\n" + encoded("a\u00a0b", 1, sigBytes) + sigLine, vkeys(a)},
		{"name only", head + "\n— x\n" + sigLine, vkeys(a)},
		{"name and a space", head + "\n— x \n" + sigLine, vkeys(a)},
		{"id only", head + "\n" + encoded("x", 1, nil) + sigLine, vkeys(a)},
		{"three bytes", head + "\n— x AAAA\n" + sigLine, vkeys(a)},
		{"not base64", head + "\n— x AAAA*AAA\n" + sigLine, vkeys(a)},
		{"base64 without padding", head + "\n" + strings.Replace(sigLine, "=\n", "\n", 1), vkeys(a)},
		{"base64 with stray bits", head + "\n" + stray, vkeys(a)},
		{"base64 and a space", head + "\n" + strings.Replace(sigLine, "\n", " \n", 1), vkeys(a)},
		{"carriage returns", strings.ReplaceAll(good, "\n", "\r\n"), vkeys(a)},
		{"tab in the text", sign("a\tb\n", a), vkeys(a)},
		{"NUL in the text", sign("a\x00b\n", a), vkeys(a)},
		{"control character in a name", head + "\n" + encoded("a\x01", 1, sigBytes) + sigLine, vkeys(a)},
		{"not UTF-8 in the text", sign("a\xff\n", a), vkeys(a)},
		{"surrogate in the text", sign("a\xed\xa0\x80\n", a), vkeys(a)},
		{"cut UTF-8 at the end", good + "\xe2\x80", vkeys(a)},
	}
	var out []openCase
	for _, c := range cases {
		out = append(out, openOne(c.name, c.note, c.vkeys))
	}
	return out
}

func sigOf(k key, text string) []byte {
	return must(must(note.NewSigner(k.Skey)).Sign([]byte(text)))
}

func openOne(name, msg string, vkeys []string) openCase {
	oc := openCase{Case: name, Note: []byte(msg), Vkeys: vkeys}
	var verifiers []note.Verifier
	for _, vkey := range vkeys {
		verifiers = append(verifiers, must(note.NewVerifier(vkey)))
	}
	n, err := note.Open([]byte(msg), note.VerifierList(verifiers...))
	if err != nil {
		oc.Error = err.Error()
		if e, ok := err.(*note.UnverifiedNoteError); ok {
			n = e.Note
		}
	}
	if n != nil {
		oc.Text = n.Text
		for _, s := range n.Sigs {
			oc.Signatures = append(oc.Signatures, sig{s.Name, s.Hash, s.Base64})
		}
		for _, s := range n.UnverifiedSigs {
			oc.Unverified = append(oc.Unverified, sig{s.Name, s.Hash, s.Base64})
		}
	}
	return oc
}
