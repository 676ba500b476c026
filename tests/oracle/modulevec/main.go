// Command modulevec prints what golang.org/x/mod says about module paths, versions, patterns and go.mod files,
// as JSON with one case a line. The output depends on nothing but the version of x/mod.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// mutants is how many random changes of the good and bad texts are added to each list.
const mutants = 2000

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprint(out, "{\n")
	section(out, "paths", pathCases())
	section(out, "versions", versionCases())
	section(out, "order", orderCases())
	section(out, "checks", checkCases())
	section(out, "wire", wireCases())
	section(out, "pseudo", pseudoCases())
	section(out, "patterns", patternCases())
	section(out, "gomods", goModCases())
	fmt.Fprint(out, "\"end\": []\n}\n")
}

// section prints one list, a case a line.
func section(out *bufio.Writer, name string, cases []any) {
	fmt.Fprintf(out, "%q: [\n", name)
	for i, c := range cases {
		var line strings.Builder
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(c); err != nil {
			panic(err)
		}
		comma := ","
		if i == len(cases)-1 {
			comma = ""
		}
		fmt.Fprintf(out, "%s%s\n", strings.TrimSuffix(line.String(), "\n"), comma)
	}
	fmt.Fprint(out, "],\n")
}

// A source of random numbers that is the same for ever: splitmix64.
type source uint64

func (s *source) below(n int) int {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// mutate adds texts that differ from the seeds in a few places, in pieces of the alphabet.
func mutate(seeds, alphabet []string) []string {
	all := slices.Clone(seeds)
	known := make(map[string]bool)
	for _, seed := range seeds {
		known[seed] = true
	}
	rng := source(len(seeds))
	for len(all) < len(seeds)+mutants {
		runes := []rune(seeds[rng.below(len(seeds))])
		for range 1 + rng.below(3) {
			at := rng.below(len(runes) + 1)
			piece := []rune(alphabet[rng.below(len(alphabet))])
			end := min(at+rng.below(3), len(runes))
			runes = slices.Concat(runes[:at], piece, runes[end:])
		}
		if text := string(runes); !known[text] {
			known[text] = true
			all = append(all, text)
		}
	}
	return all
}

// reason is the innermost error's text, "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

var pathSeeds = strings.Fields(`
rsc.io/quote rsc.io/quote/v3 golang.org/x/text golang.org/toolchain github.com/BurntSushi/toml example.com a.b
gopkg.in/yaml.v3 gopkg.in/yaml.v0 gopkg.in/yaml.v1 gopkg.in/yaml.v01 gopkg.in/yaml.v gopkg.in/yaml gopkg.in/yaml/v3
gopkg.in/src-d/go-git.v4-unstable gopkg.in/x.v0-unstable gopkg.in/x.v1-unstable.v2 gopkg.in/x.v00-unstable gopkg.in/.v1 gopkg.in/v1
gopkg.in gopkg.in/yaml.v2.1 gopkg.in/yaml.v2/sub gopkg.in/yaml.V2 gopkg.in/a.v1-unstable-unstable
example.com/v1 example.com/v2 example.com/v02 example.com/v1.2 example.com/v2.0 example.com/v0 example.com/v example.com/vv2
example.com/m/v10 example.com/m/v1 example.com/m/v999999999999999999999 example.com/m/v2. example.com/m/v2/v3 example.com/mv2
example.com/m/2 example.com/m/1.2 example.com/m.2 v2 /v2 /v2.example.com a/v2
-example.com/m example.com/-m example.com//m example.com/m/ /example.com/m / // . .. ... ./m ../m example.com/. example.com/..
example.com/.m example.com/m. example.com/a/.../b example.com/a..b example.com/_m example.com/~m example.com/m~1 example.com/m~1.go
example.com/m~12a example.com/m~ example.com/~1 example.com/a~b~2 example.com/m~1x example.com/.~1 localhost localhost/m Example.com/m
example.Com/m EXAMPLE.COM exa_mple.com/m exa~mple.com 1.2/m example.com:8080/m example.com/m@v1 example.com/m+x example.com/m%20 example.com/m!x
example.com/con example.com/CON.go example.com/con.x.y example.com/cone example.com/com1 example.com/COM9/x example.com/com0 example.com/com10
example.com/lpt1.txt example.com/nul example.com/PrN example.com/aux con.example.com nul aux.x com1.com com¹.com example.com/com¹
example.com/é exämple.com/m example.com/日本 example.com/a\b example.com/a:b example.com/a"b example.com/a*b`)

func pathSeedList() []string {
	return append(slices.Clone(pathSeeds), "", " ", "example.com/ m", "example.com/m ", "example.com/m\n", "example.com/\x00",
		"example.com/\x7f", "\u212A.com/m", "example.com/ſ")
}

var pathPieces = []string{"", "", ".", "/", "-", "~", "~1", "v", "v2", "/v2", "/v1", ".v1", ".v3", "-unstable", "0", "1", "9", "A", "Z", "a",
	"z", "_", "!", "@", "+", "con", "com1", "..", "//", "é", " ", "gopkg.in/", "x"}

// pathCases: path, why CheckPath refuses it, its prefix and its major suffix.
func pathCases() (cases []any) {
	for _, path := range mutate(pathSeedList(), pathPieces) {
		err := module.CheckPath(path)
		prefix, major := "", ""
		if err == nil {
			prefix, major, _ = module.SplitPathVersion(path)
		}
		cases = append(cases, []string{path, reason(err), prefix, major})
	}
	return cases
}

var versionSeeds = strings.Fields(`
v1.0.0 v0.0.0 v1 v1.2 v1.2.3 v10.20.30 v1.2.3-rc.1 v1.2.3-rc.1+meta v1.2.3+meta v2.0.0+incompatible v2.0.0-pre+incompatible
v1.2.3-0 v1.2.3-00 v1.2.3-01 v1.2.3-0a v1.2.3-a.b.c v1.2.3-a..b v1.2.3-.a v1.2.3-a. v1.2.3- v1.2.3-- v1.2.3--- v1.2.3+ v1.2.3-+ v1.2.3-a+
v1.2.3+incompatible.x v1.2.3+incompatible+incompatible v1.2.3-+incompatible v01.2.3 v1.02.3 v1.2.03 v1.2.3.4 1.2.3 V1.2.3 v v. v1. v1.. v1.2. v-1.2.3
vv1.2.3 latest master none v1.2.3/go.mod v1.2.3-pre/go.mod v1.2.x v1.2.3-é v1.2.3-a_b v1.2.3-RC1 v1.2.3-Alpha.Beta
v99999999999999999999.0.1 v1.99999999999999999999999.0 v1.2.18446744073709551616 v1.2.3-99999999999999999999 v1.2.3-100000000000000000000
v0.0.1-go1.26.8.linux-amd64 v0.0.1-go1.21.0-rc2.windows-arm64 v0.0.1-go1.21rc2.plan9-386
v1.0.0-alpha v1.0.0-alpha.1 v1.0.0-alpha.beta v1.0.0-beta v1.0.0-beta.2 v1.0.0-beta.11 v1.0.0-rc.1 v1.0.0-1 v1.0.0-2 v1.0.0-11 v1.0.0-1a v1.0.0-a1 v1.0.0-A v1.0.0--1
v0.0.0-20161208181325-20d25e280405 v1.0.0-20161208181325-20d25e280405 v1.2.3-0.20161208181325-20d25e280405
v1.2.3-pre.0.20161208181325-20d25e280405 v1.2.3-pre-x.0.20161208181325-20d25e280405 v2.0.1-0.20161208181325-20d25e280405+incompatible
v2.0.0-20161208181325-20d25e280405+incompatible v2.3.0-pre.0.20161208181325-20d25e280405+incompatible v1.2.0-0.20161208181325-20d25e280405
v1.0.0-0.20161208181325-20d25e280405 v1.10.10-0.20161208181325-20d25e280405 v1.2.1000-0.20161208181325-ABCdef v1.2.3-20161208181325-20d25e280405
v1.0.1-20161208181325-20d25e280405 v1.0.0-2016120818132-20d25e280405 v1.0.0-201612081813255-20d25e280405 v1.0.0-20161208181325- v1.0.0-20161208181325
v1.2.3-0.20161208181325-20d25e280405+meta v1.2.3-pre.0.0.20161208181325-x v1.2.3-00.20161208181325-x v1.2.3-0-20161208181325-x v1.0.0-00010101000000-000000000000
v1.2.3-a.20161208181325-x v1.2.3-x-0.20161208181325-abc v1.2.3-0.0.20161208181325-x v1.2.3-.0.20161208181325-x v0.0.0-99999999999999-x`)

var versionPieces = []string{"", "", ".", "-", "+", "v", "0", "1", "2", "9", "00", "a", "Z", ".0", "-0.", ".0.", "0.", "incompatible", "+incompatible", "+meta",
	"20161208181325", "-20d25e280405", "_", "é", "!", "@", "/", " "}

func versions() []string {
	return mutate(append(slices.Clone(versionSeeds), "", " v1.0.0", "v1.0.0 ", "v1.0.0\n"), versionPieces)
}

// versionCases: version, its canonical form as module.CanonicalVersion ("" where it is not valid).
func versionCases() (cases []any) {
	for _, v := range versions() {
		cases = append(cases, []string{v, module.CanonicalVersion(v)})
	}
	return cases
}

// orderCases: canonical versions, and how each compares to all of them.
func orderCases() (cases []any) {
	var list []string
	for _, v := range versions() {
		if cv := module.CanonicalVersion(v); cv == v && v != "" && len(list) < 250 {
			list = append(list, v)
		}
	}
	for _, v := range list {
		var signs strings.Builder
		for _, w := range list {
			signs.WriteByte("<=>"[semver.Compare(v, w)+1])
		}
		cases = append(cases, []string{v, signs.String()})
	}
	return cases
}

// checkCases: path, canonical version, why module.Check refuses the two.
func checkCases() (cases []any) {
	paths := strings.Fields(`example.com/m example.com/m/v2 example.com/m/v3 example.com/m/v20 gopkg.in/m.v0 gopkg.in/m.v1 gopkg.in/m.v2
		gopkg.in/m.v1-unstable gopkg.in/m.v2-unstable golang.org/toolchain example.com/m.v2 example.com/m.v1-unstable example.com/m/v1 gopkg.in/m`)
	versions := strings.Fields(`v0.0.0 v0.1.2 v1.0.0 v1.2.3-pre v2.0.0 v2.0.0-rc.1 v3.1.0 v20.0.0 v0.0.0-20161208181325-20d25e280405 v0.0.0-x v0.0.1-x
		v1.0.0-20161208181325-20d25e280405 v0.0.0+incompatible v1.0.0+incompatible v2.0.0+incompatible v3.0.0-pre+incompatible
		v2.0.0-20161208181325-20d25e280405+incompatible v0.0.1-go1.26.8.linux-amd64 v1.02.0`)
	for _, path := range paths {
		for _, v := range versions {
			cases = append(cases, []string{path, v, reason(module.Check(path, v))})
		}
	}
	return cases
}

// The syntax that the checksum database of x/mod checks first (sumdb.Server).
var wireSyntax = regexp.MustCompile(`^[^@]+@v[0-9]+\.[0-9]+\.[0-9]+(-[^@]*)?(\+incompatible)?$`)

// wireCases: text, the plain module version ("" where it is refused), whether it has the syntax.
func wireCases() (cases []any) {
	var seeds []string
	for _, path := range pathSeedList() {
		escaped, err := module.EscapePath(path)
		if err != nil {
			escaped = path
		}
		seeds = append(seeds, escaped+"@v1.2.3", escaped+"@v2.0.0-!r!c1", path+"@v3.0.0")
	}
	for _, v := range versionSeeds {
		escaped, err := module.EscapeVersion(v)
		if err != nil {
			escaped = v
		}
		seeds = append(seeds, "example.com/m@"+escaped, "github.com/!burnt!sushi/toml@"+v)
	}
	seeds = append(seeds, "", "@", "a@", "@v1.0.0", "example.com/m@v1.0.0@v1.0.0", "example.com/!m!!@v1.0.0", "example.com/!@v1.0.0",
		"example.com/m@v1.0.0-!", "example.com/m@v1.0.0-!!a", "example.com/m@v1.0.0-!1", "example.com/!M@v1.0.0", "example.com/m@v1.0.0-a/../b",
		"example.com/m@v1.0.0-..", "example.com/m@v1.0.0-a\n")
	for _, text := range mutate(seeds, append([]string{"!", "!a", "!Z", "@", "@v", "%2f"}, pathPieces...)) {
		plain := ""
		syntax := wireSyntax.MatchString(text)
		if i := strings.Index(text, "@"); syntax && i >= 0 {
			path, err1 := module.UnescapePath(text[:i])
			version, err2 := module.UnescapeVersion(text[i+1:])
			if err1 == nil && err2 == nil && module.Check(path, version) == nil && module.CanonicalVersion(version) == version {
				plain = path + "@" + version
			}
		}
		cases = append(cases, []any{text, plain, syntax})
	}
	return cases
}

// pseudoCases: canonical version, then time stamp, revision, base and why there is none, if it is a pseudo-version.
func pseudoCases() (cases []any) {
	for _, v := range versions() {
		if v == "" || module.CanonicalVersion(v) != v {
			continue
		}
		if !module.IsPseudoVersion(v) {
			cases = append(cases, []string{v})
			continue
		}
		rev, _ := module.PseudoVersionRev(v)
		i := strings.LastIndex(v, "-"+rev)
		base, err := module.PseudoVersionBase(v)
		cases = append(cases, []string{v, v[i-14 : i], rev, base, reason(err)})
	}
	return cases
}

// patternCases: list of patterns, module path, whether they match.
func patternCases() (cases []any) {
	lists := strings.Fields(`corp.example corp.example/ corp.example/* *.corp.example *.corp.example/* *corp.example corp.example/a/b corp.example/a,other.example
		,corp.example ,, * */* */*/* ?orp.example corp.example/? corp.example/?? [a-c]orp.example [^a-c]orp.example [!a-c]orp.example corp.example/[ corp.example/[a
		corp.example/[a- corp.example/[a-] corp.example/[] corp.example/[]a] corp.example/[^] corp.example/[a-c-e] corp.example/[-a] corp.example/[\-a] corp.example/[\]]
		corp.example/\a corp.example/\* corp.example\ corp.example/a*b corp.example/a*b*c *a*b corp[./]example corp.example[^x]a corp.example[/]a corp.example/team-*/x
		[,corp.example corp.example/a]b CORP.example corp.example//a corp.example/** **/a git.*.example/*-private rsc.io/*,golang.org/x/* [a-z]*.example/[0-9]*
		*[^x]*b a*[^x]b* *[/]* \[a] a?c a/?c [z-a]x corp.example/[a-cx-z]b é* [é-ü]x none example.com/m/v2 *.* *.example`)
	targets := strings.Fields(`corp.example corp.example/a corp.example/a/b corp.example/a/b/c corp.example/b x.corp.example x.y.corp.example/a xcorp.example corp.examplex
		other.example borp.example/x zorp.example corp.example/ab corp.example/axb corp.example/a-b corp.example/axbxc corp.example/axbyb/c corp.example/* corp.example/team-x
		corp.example/team-x/x corp.example/team-x/y golang.org/x/text golang.org/x rsc.io/quote rsc.io git.x.example/y-private git.x.example/private CORP.example/a corp.example/x
		aa/b aab a/b abc a/c abb xx [a none example.com/m example.com/m/v2 example.com/m/v20 corp.example/] corp.example/-`)
	for _, list := range lists {
		for _, target := range targets {
			cases = append(cases, []any{list, target, module.MatchPrefixPatterns(list, target)})
		}
	}
	rng := source(7)
	pieces := []string{"a", "b", "/", "*", "?", "[", "]", "^", "-", "\\", ",", "[ab]", "[^a]", "a*", "."}
	for range mutants {
		list, target := "", ""
		for range 1 + rng.below(7) {
			list += pieces[rng.below(len(pieces))]
		}
		for range 1 + rng.below(6) {
			target += []string{"a", "b", "/", "a", ".", "]"}[rng.below(6)]
		}
		cases = append(cases, []any{list, target, module.MatchPrefixPatterns(list, target)})
	}
	return cases
}

// asWritten leaves versions that are not canonical alone: what they stand for only a module proxy can say.
func asWritten(_, version string) (string, error) { return version, nil }

// goModCases: text of a go.mod, its modfile.ModulePath, and those of its requirements that are canonical and valid
// module versions (null where modfile.Parse refuses the whole file).
func goModCases() (cases []any) {
	seeds := []string{
		"", "module example.com/m\n", "module example.com/m", "module \"example.com/m\"\n", "module `example.com/m`\n", "module \"example.com/\\x6d\"\n",
		"module\texample.com/m // comment\n", "// comment\nmodule example.com/m\r\n", "modulex example.com/m\n", "module\n", "module \"bad\n", "module a b\n",
		"module example.com/m\nmodule example.com/n\n", "  module   example.com/m  \n", "module (\n\texample.com/m\n)\n", "module \"a\"b\"\n",
		"module example.com/m\n\ngo 1.26\n\nrequire golang.org/x/text v0.3.0\n",
		"module example.com/m\n\nrequire (\n\trsc.io/quote v1.5.2\n\trsc.io/sampler v1.3.0 // indirect\n)\n",
		"module example.com/m\nrequire \"rsc.io/quote\" \"v1.5.2\"\n", "module example.com/m\nrequire `rsc.io/quote` v1.5.2\n",
		"module example.com/m\nrequire rsc.io/quote v1.5\n", "module example.com/m\nrequire rsc.io/quote master\n", "module example.com/m\nrequire rsc.io/quote v1.5.2+meta\n",
		"module example.com/m\nrequire rsc.io/quote/v3 v1.5.2\n", "module example.com/m\nrequire rsc.io/quote v2.0.0+incompatible\n",
		"module example.com/m\nrequire (\n)\n", "module example.com/m\nrequire ()\n", "module example.com/m\nrequire (\n", "module example.com/m\nrequire(\n\ta.b/c v1.0.0\n)\n",
		"module example.com/m\nrequire ( // why\n\n\t// a\n\ta.b/c v1.0.0//x\n\t\"a.b/d\" v1.0.0 // indirect; y\n) // end\n",
		"module example.com/m\nexclude (\n\ta.b/c v1.0.0\n)\nreplace a.b/c => ../c\nreplace (\n\ta.b/c v1.0.0 => d.e/f v1.0.0\n)\nretract [v1.0.0, v1.1.0]\nretract (\n\tv1.2.0\n)\nrequire a.b/d v1.0.0\n",
		"module example.com/m\nexclude a.b/c v1.0.0\ntool a.b/c/cmd\nignore ./x\ngodebug default=go1.21\ntoolchain go1.26.8\nrequire gopkg.in/yaml.v3 v3.0.1\n",
		"module example.com/m\nrequire a.b/c v1.0.0 extra\n", "module example.com/m\nrequire a.b/c\n", "module example.com/m\nrequire\n", "module example.com/m\nrequire a.b/c, v1.0.0\n",
		"module example.com/m\nrequire a.b/c v1.0.0\nrequire a.b/c v1.0.0\nrequire a.b/c v1.1.0\n", "module example.com/m\nunknown a.b/c v1.0.0\n",
		"module example.com/m\n/* block */\nrequire a.b/c v1.0.0\n", "module example.com/m\nrequire \"a.b/\\\"c\" v1.0.0\n", "module example.com/m\nrequire \"a.b/c v1.0.0\n",
		"module example.com/m\nrequire 'a.b/c' v1.0.0\n", "module example.com/m\r\nrequire (\r\n\ta.b/c v1.0.0\r\n)\r\n", "module example.com/m\nrequire (\n\trequire a.b/c v1.0.0\n)\n",
		"module example.com/m\nrequire a.b/c v1.0.0 // indirect", "\ufeffmodule example.com/m\n", "module example.com/m\nrequire (a.b/c v1.0.0)\n", "module example.com/m\nrequire a.b/c v1.0.0 )\n",
		"module example.com/m\nrequire a.b/é v1.0.0\n", "module example.com/m\nrequire (\n\ta.b/c v1.0.0 (\n\ta.b/d v1.0.0\n)\n",
		"module example.com/m\nrequire \"a.b/\\u0063\" v1.0.0\n", "module example.com/m\nrequire \"a.b/\\143\" \"v1.0\\x2e0\"\n",
	}
	all := slices.Clone(seeds)
	all = append(all, mutate(seeds, []string{"", "", "\n", " ", "(", ")", "\"", "`", "//", ",", "\t", "require", "module ", "\\", "v1.0.0", "a.b/c", "\r"})[len(seeds):len(seeds)+600]...)
	for _, text := range all {
		var requires []string
		if file, err := modfile.Parse("go.mod", []byte(text), asWritten); err == nil {
			requires = []string{}
			for _, r := range file.Require {
				if path, v := r.Mod.Path, r.Mod.Version; module.Check(path, v) == nil && module.CanonicalVersion(v) == v {
					requires = append(requires, r.Mod.String())
				}
			}
		}
		cases = append(cases, []any{text, modfile.ModulePath([]byte(text)), requires})
	}
	return cases
}
