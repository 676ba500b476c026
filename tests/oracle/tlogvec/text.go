package main

import (
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A textCase is a text that is to be a record's.
type textCase struct {
	Case string `json:"case"`
	Text []byte `json:"text"`
	OK   bool   `json:"ok"`
	// Message is the text as record 7.
	Message []byte `json:"message,omitempty"`
}

type recordCase struct {
	Case    string `json:"case"`
	Message []byte `json:"message"`
	OK      bool   `json:"ok"`
	ID      int64  `json:"id"`
	Text    []byte `json:"text,omitempty"`
	Rest    []byte `json:"rest,omitempty"`
}

type headCase struct {
	Case string `json:"case"`
	Text []byte `json:"text"`
	OK   bool   `json:"ok"`
	Size int64  `json:"size"`
	Root string `json:"root,omitempty"`
}

func recordTexts() (out []textCase) {
	for _, c := range [][2]string{
		{"good", "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n"},
		{"good: two lines", "a\nb\n"},
		{"good: not ASCII", "é😀\u2028\u0085\n"},
		{"good: delete character", "a\x7f\n"},
		{"good: the replacement character itself", "\ufffd\n"},
		{"good: a space", " \n"},
		{"empty", ""},
		{"no newline", "a"},
		{"no last newline", "a\nb"},
		{"newline only", "\n"},
		{"newline first", "\na\n"},
		{"blank line", "a\n\nb\n"},
		{"blank line at the end", "a\n\n"},
		{"carriage return", "a\r\n"},
		{"tab", "a\tb\n"},
		{"NUL", "a\x00b\n"},
		{"unit separator", "a\x1fb\n"},
		{"not UTF-8", "a\xff\n"},
		{"cut UTF-8", "a\xc3"},
		{"cut UTF-8 before the newline", "a\xe2\x80\n"},
		{"surrogate", "\xed\xa0\x80\n"},
		{"overlong", "\xc0\xaf\n"},
		{"above Unicode", "\xf4\x90\x80\x80\n"},
	} {
		tc := textCase{Case: c[0], Text: []byte(c[1])}
		if msg, err := tlog.FormatRecord(7, tc.Text); err == nil {
			tc.OK, tc.Message = true, msg
		}
		out = append(out, tc)
	}
	return out
}

func records() (out []recordCase) {
	for _, c := range [][2]string{
		{"good", "7\na\nb\n\n"},
		{"good: zero", "0\na\n\n"},
		{"good: the largest number", "9223372036854775807\na\n\n"},
		{"good: more after it", "7\na\n\nmore\xff"},
		{"good: another record after it", "7\na\n\n8\nb\n\n"},
		{"good: a newline after it", "7\na\n\n\n"},
		{"empty", ""},
		{"number only", "7"},
		{"number and newline", "7\n"},
		{"no number", "\na\n\n"},
		{"text for a number", "a\nb\n\n"},
		{"number with a plus", "+7\na\n\n"},
		{"number with a minus", "-7\na\n\n"},
		{"minus zero", "-0\na\n\n"},
		{"leading zero", "07\na\n\n"},
		{"space before the number", " 7\na\n\n"},
		{"space after the number", "7 \na\n\n"},
		{"carriage return after the number", "7\r\na\n\n"},
		{"number with an underscore", "1_000\na\n\n"},
		{"hex number", "0x7\na\n\n"},
		{"number above 63 bits", "9223372036854775808\na\n\n"},
		{"number above 64 bits", "18446744073709551616\na\n\n"},
		{"not ended", "7\na\n"},
		{"not ended, no newline", "7\na"},
		{"no text", "7\n\n"},
		{"no text, two newlines", "7\n\n\n"},
		{"blank line first", "7\n\na\n\n"},
		{"two blank lines first", "7\n\n\na\n\n"},
		{"carriage returns", "7\r\na\r\n\r\n"},
		{"tab", "7\na\tb\n\n"},
		{"not UTF-8", "7\n\xff\n\n"},
	} {
		rc := recordCase{Case: c[0], Message: []byte(c[1])}
		if id, text, rest, err := tlog.ParseRecord(rc.Message); err == nil {
			rc.OK, rc.ID, rc.Text, rc.Rest = true, id, text, rest
		}
		out = append(out, rc)
	}
	return out
}

func heads() (out []headCase) {
	const first = "go.sum database tree\n"
	root := tlog.RecordHash([]byte("root")).String()
	other := root[:42] + string(root[42]+1) + "=" // two stray bits: the same bytes to a lenient decoder
	for _, c := range [][2]string{
		{"good", first + "3\n" + root + "\n"},
		{"good: empty tree", first + "0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"},
		{"good: the largest size", first + "9223372036854775807\n" + root + "\n"},
		{"good: more lines", first + "3\n" + root + "\nmore\n\nlines"},
		{"empty", ""},
		{"first line only", first},
		{"another first line", "go.sum database tree v2\n3\n" + root + "\n"},
		{"first line in upper case", "Go.sum database tree\n3\n" + root + "\n"},
		{"space before", " " + first + "3\n" + root + "\n"},
		{"carriage returns", "go.sum database tree\r\n3\r\n" + root + "\r\n"},
		{"two lines", first + "3\n"},
		{"no last newline", first + "3\n" + root},
		{"no size", first + "\n" + root + "\n"},
		{"size with a plus", first + "+3\n" + root + "\n"},
		{"size with a minus", first + "-3\n" + root + "\n"},
		{"minus zero", first + "-0\n" + root + "\n"},
		{"leading zero", first + "03\n" + root + "\n"},
		{"space before the size", first + " 3\n" + root + "\n"},
		{"space after the size", first + "3 \n" + root + "\n"},
		{"hex size", first + "0x3\n" + root + "\n"},
		{"size above 63 bits", first + "9223372036854775808\n" + root + "\n"},
		{"size above 64 bits", first + "18446744073709551619\n" + root + "\n"},
		{"no root", first + "3\n\n"},
		{"root of 31 bytes", first + "3\n" + root[:40] + "AA==\n"},
		{"root of 33 bytes", first + "3\n" + root[:43] + "A\n"},
		{"root without padding", first + "3\n" + root[:43] + "\n"},
		{"root in the URL alphabet", first + "3\n" + strings.Repeat("_", 42) + "8=\n"},
		{"root with stray bits", first + "3\n" + other + "\n"},
		{"root and a space", first + "3\n" + root + " \n"},
		{"root with a carriage return", first + "3\n" + root + "\r\n"},
		{"not UTF-8 after it", first + "3\n" + root + "\n\xff"},
	} {
		hc := headCase{Case: c[0], Text: []byte(c[1])}
		if tree, err := tlog.ParseTree(hc.Text); err == nil {
			hc.OK, hc.Size, hc.Root = true, tree.N, fmt.Sprint(tree.Hash)
		}
		out = append(out, hc)
	}
	return out
}
