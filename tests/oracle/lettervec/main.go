// Command lettervec prints which characters outside ASCII the go command allows in the names of a module's files, and
// which of them it takes for equal where two names must differ by more than case: unicode.IsLetter and unicode.SimpleFold,
// as golang.org/x/mod uses them. With "rust" it prints the table that src/dirhash/letters.rs holds.
//
// The output depends on nothing but the version of Unicode in Go: 15.0.0 in Go 1.21 to 1.26.
package main

import (
	"fmt"
	"os"
	"unicode"

	"golang.org/x/mod/module"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "rust" {
		rust()
		return
	}
	fmt.Printf("{\n\"unicode\": %q,\n\"letters\": [\n", unicode.Version)
	rows(ranges(allowed), func(r [2]rune) string { return fmt.Sprintf("[%d,%d]", r[0], r[1]) })
	fmt.Printf("],\n\"folds\": [\n")
	var folds [][2]rune
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if allowed(r) && fold(r) != r {
			folds = append(folds, [2]rune{r, fold(r)})
		}
	}
	rows(folds, func(r [2]rune) string { return fmt.Sprintf("[%d,%d]", r[0], r[1]) })
	fmt.Printf("]\n}\n")
}

// rows prints eight of a list on each line.
func rows(list [][2]rune, show func([2]rune) string) {
	for i, r := range list {
		end := ","
		if i == len(list)-1 {
			end = "\n"
		} else if i%8 == 7 {
			end = ",\n"
		}
		fmt.Print(show(r), end)
	}
}

// allowed asks x/mod itself, so that a change of its rule would show.
func allowed(r rune) bool {
	return module.CheckFilePath(string(r)) == nil
}

// ranges returns the runs of characters outside ASCII that are so.
func ranges(is func(rune) bool) (out [][2]rune) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		// A surrogate becomes U+FFFD in a string.
		if r >= 0xd800 && r <= 0xdfff || !is(r) {
			continue
		}
		if n := len(out); n > 0 && out[n-1][1] == r-1 {
			out[n-1][1] = r
		} else {
			out = append(out, [2]rune{r, r})
		}
	}
	return out
}

// fold is strToFold of golang.org/x/mod/zip for one character: the least of those that are equal to it.
func fold(r rune) rune {
	for {
		r0 := r
		r = unicode.SimpleFold(r0)
		if r <= r0 {
			break
		}
	}
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

func rust() {
	fmt.Printf("%s", header)
	line := "   "
	for _, r := range ranges(unicode.IsLetter) {
		entry := fmt.Sprintf(" (%#x, %#x),", r[0], r[1])
		if len(line)+len(entry) > 100 {
			fmt.Println(line)
			line = "   "
		}
		line += entry
	}
	fmt.Println(line)
	fmt.Printf("];\n")
}

const header = `//! The letters outside ASCII that the go command allows in the names of a module's files:
//! unicode.IsLetter of Go, Unicode ` + unicode.Version + `. Other programs, this one's standard library among
//! them, go by newer versions or call more characters alphabetic, and the go command cannot unpack
//! what they would let in.
//!
//! Generated: ` + "`" + `go run ./lettervec rust >../../src/dirhash/letters.rs` + "`" + ` in tests/oracle.

/// Whether a character outside ASCII is a letter to Go.
pub(super) fn is_letter(c: char) -> bool {
    let c = u32::from(c);
    let next = LETTERS.partition_point(|(first, _)| *first <= c);
    next.checked_sub(1).is_some_and(|at| c <= LETTERS[at].1)
}

/// Runs of letters, first and last, in order.
#[rustfmt::skip]
const LETTERS: &[(u32, u32)] = &[
`
