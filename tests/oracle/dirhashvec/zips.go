package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	modzip "golang.org/x/mod/zip"
)

// A namedZip is a zip with a name for test failures.
type namedZip struct {
	name  string
	zip   []byte
	goMod string
}

// An entry is one file of a zip made byte by byte. Zero fields are filled in with what is right.
type entry struct {
	name, content string
	localName     string // in the local header, if not name
	method        uint16 // 0 stored, 8 deflated, others stored under that number
	flags         uint16
	data          []byte // in place of the packed content
	crc           *uint32
	localCRC      *uint32
	packed        *uint32
	unpacked      *uint32
	offset        *uint32 // of the local header, in the directory
	extra         []byte  // in the directory
	localExtra    []byte
	comment       string
	descriptor    []byte // after the data, with flag 8
	disk          uint16
	noLocal       bool   // another entry's local header is used: see offset
	gap           []byte // before the local header
}

// An archive is a zip made byte by byte.
type archive struct {
	before, afterEntries, after []byte
	comment                     string
	entries                     []entry
	zip64                       bool
	afterHeaders                []byte           // counted as part of the directory
	reach                       byte             // added to the length of the last entry's comment
	edit                        func(end []byte) // changes the end record
	edit64                      func(end64, locator []byte)
}

func u32(n uint32) *uint32 { return &n }

func deflated(content string) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	check(err)
	_, err = io.WriteString(w, content)
	check(err)
	check(w.Close())
	return out.Bytes()
}

func le(out []byte, fields ...any) []byte {
	for _, field := range fields {
		var err error
		out, err = binary.Append(out, binary.LittleEndian, field)
		check(err)
	}
	return out
}

func (or entry) orElse(field *uint32, value uint32) uint32 {
	if field != nil {
		return *field
	}
	return value
}

func (a archive) bytes() []byte {
	out := bytes.Clone(a.before)
	var directory []byte
	for _, e := range a.entries {
		out = append(out, e.gap...)
		data := e.data
		if data == nil {
			data = []byte(e.content)
			if e.method == 8 {
				data = deflated(e.content)
			}
		}
		crc := e.orElse(e.crc, crc32.ChecksumIEEE([]byte(e.content)))
		packed := e.orElse(e.packed, uint32(len(data)))
		unpacked := e.orElse(e.unpacked, uint32(len(e.content)))
		offset := e.orElse(e.offset, uint32(len(out)))
		if !e.noLocal {
			local := e.localName
			if local == "" {
				local = e.name
			}
			out = le(out, uint32(0x04034b50), uint16(20), e.flags, e.method, uint32(0), e.orElse(e.localCRC, crc), packed, unpacked,
				uint16(len(local)), uint16(len(e.localExtra)))
			out = append(append(append(append(out, local...), e.localExtra...), data...), e.descriptor...)
		}
		directory = le(directory, uint32(0x02014b50), uint16(20), uint16(20), e.flags, e.method, uint32(0), crc, packed, unpacked,
			uint16(len(e.name)), uint16(len(e.extra)), uint16(len(e.comment)), e.disk, uint16(0), uint32(0), offset)
		directory = append(append(append(directory, e.name...), e.extra...), e.comment...)
	}
	if a.reach > 0 {
		last := a.entries[len(a.entries)-1]
		directory[len(directory)-len(last.name)-len(last.extra)-len(last.comment)-14] += a.reach
	}
	directory = append(directory, a.afterHeaders...)
	out = append(out, a.afterEntries...)
	start := len(out)
	out = append(out, directory...)
	records, size, offset := uint64(len(a.entries)), uint64(len(directory)), uint64(start)
	if a.zip64 {
		end64 := le(nil, uint32(0x06064b50), uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), records, records, size, offset)
		locator := le(nil, uint32(0x07064b50), uint32(0), uint64(len(out)), uint32(1))
		if a.edit64 != nil {
			a.edit64(end64, locator)
		}
		out = append(append(out, end64...), locator...)
		records, size, offset = 0xffff, 0xffffffff, 0xffffffff
	}
	end := le(nil, uint32(0x06054b50), uint16(0), uint16(0), uint16(records), uint16(records), uint32(size), uint32(offset), uint16(len(a.comment)))
	if a.edit != nil {
		a.edit(end)
	}
	return append(append(append(out, end...), a.comment...), a.after...)
}

const goMod = "module example.com/Mod\n\ngo 1.26\n"

func file(name, content string) entry { return entry{name: prefix + name, content: content, method: 8} }
func root() entry                     { return file("go.mod", goMod) }

// memFile is a file for modzip.Create.
type memFile struct{ path, content string }

func (f memFile) Path() string                { return f.path }
func (f memFile) Lstat() (os.FileInfo, error) { return f, nil }
func (f memFile) Open() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.content)), nil
}
func (f memFile) Name() string       { return f.path }
func (f memFile) Size() int64        { return int64(len(f.content)) }
func (f memFile) Mode() os.FileMode  { return 0o644 }
func (f memFile) ModTime() time.Time { return time.Time{} }
func (f memFile) IsDir() bool        { return false }
func (f memFile) Sys() any           { return nil }

func descriptor(signature bool, crc uint32, content string) []byte {
	var out []byte
	if signature {
		out = le(out, uint32(0x08074b50))
	}
	return le(out, crc, uint32(len(deflated(content))), uint32(len(content)))
}

// soundZips are zips that everyone reads in the same way. Those below 1,500 bytes are also changed in every bit.
func soundZips() []namedZip {
	var created bytes.Buffer
	check(modzip.Create(&created, mod, []modzip.File{
		memFile{"go.mod", goMod}, memFile{"README", ""}, memFile{"a/b.go", strings.Repeat("package b\n", 20)}, memFile{"LICENSE", "free\n"},
	}))
	var large bytes.Buffer
	w := zip.NewWriter(&large)
	for i := range 300 { // enough for two threads, in an order that is not sorted, some beyond one buffer
		content := strings.Repeat(fmt.Sprint("line ", i, "\n"), i*i/6)
		f, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(prefix, "d", (i*7)%10, "/f", 300-i, ".go"), Method: zip.Deflate})
		check(err)
		_, err = io.WriteString(f, content)
		check(err)
	}
	check(w.Close())
	crc := crc32.ChecksumIEEE([]byte(goMod))
	plain := archive{entries: []entry{root(), file("x", "x")}}.bytes()
	end := len(plain) - 22
	return []namedZip{
		{"after other bytes", slices.Concat([]byte("#!/bin/sh\n"), plain), goMod},
		{"before other bytes", slices.Concat(plain, []byte("\n")), goMod},
		{"with bytes before its end record", slices.Concat(plain[:end], []byte("gap"), plain[end:]), goMod},
		{"created by x/mod", created.Bytes(), goMod},
		{"large", large.Bytes(), ""},
		{"stored", archive{entries: []entry{{name: prefix + "go.mod", content: goMod}, {name: prefix + "b", content: "b"}}}.bytes(), goMod},
		{"deflated, with extras and comments", archive{comment: "a comment", entries: []entry{
			{name: prefix + "z", content: "z", method: 8, extra: le(nil, uint16(0x5455), uint16(5), uint8(1), uint32(7)), comment: "c"},
			{name: prefix + "go.mod", content: goMod, method: 8, localExtra: le(nil, uint16(0x5455), uint16(1), uint8(0))},
		}}.bytes(), goMod},
		{"descriptors", archive{entries: []entry{
			{name: prefix + "go.mod", content: goMod, method: 8, flags: 8, localCRC: u32(0), descriptor: descriptor(true, crc, goMod)},
			{name: prefix + "d/go.mod.txt", content: goMod, method: 8, flags: 8, descriptor: descriptor(false, crc, goMod)},
		}}.bytes(), goMod},
		{"directories", archive{entries: []entry{{name: prefix}, {name: prefix + "d/"}, file("d/x", "x"), {name: prefix + "e/f/"}}}.bytes(), ""},
		{"zip64", archive{zip64: true, entries: []entry{root(), {name: prefix + "x", content: "xyz",
			packed: u32(0xffffffff), unpacked: u32(0xffffffff), extra: le(nil, uint16(1), uint16(16), uint64(3), uint64(3))}}}.bytes(), goMod},
	}
}

// oddZips are damaged, hostile or unusual.
func oddZips() (zips []namedZip) {
	add := func(name string, a archive) { zips = append(zips, namedZip{name, a.bytes(), ""}) }
	one := func(name string, e entry) { add(name, archive{entries: []entry{root(), e}}) }
	x := func(change func(e *entry)) entry {
		e := file("x", "content of x")
		change(&e)
		return e
	}
	zips = append(zips, namedZip{"empty file", nil, ""}, namedZip{"not a zip", []byte(strings.Repeat("not a zip\n", 10)), ""})
	add("no entries", archive{})
	add("end record alone in long comment", archive{comment: strings.Repeat("c", 65535)})
	one("same file twice, same content", root())
	one("same file twice, other content", file("go.mod", "module example.com/other\n"))
	one("same directory twice", entry{name: prefix})
	add("same directory twice, both there", archive{entries: []entry{{name: prefix + "d/"}, {name: prefix + "d/"}}})
	add("the root twice", archive{entries: []entry{{name: prefix}, {name: prefix}}})
	add("file is a directory", archive{entries: []entry{file("d", "x"), file("d/x", "x")}})
	add("file is a directory entry", archive{entries: []entry{file("d", "x"), {name: prefix + "d/"}}})
	add("two entries, one local header", archive{entries: []entry{file("x", "x"), x(func(e *entry) {
		e.content, e.data, e.offset, e.noLocal = "x", deflated("x"), u32(0), true
	})}})
	add("entry within another's data", func() archive {
		inner := archive{entries: []entry{{name: prefix + "inner", content: "i"}}}.bytes()
		outer := entry{name: prefix + "outer", content: string(inner)}
		return archive{entries: []entry{outer, {name: prefix + "inner", content: "i", noLocal: true, offset: u32(uint32(30 + len(outer.name)))}}}
	}())
	one("overlaps the directory", x(func(e *entry) { e.method, e.packed, e.unpacked = 0, u32(60), u32(60) }))
	one("local header has another name", x(func(e *entry) { e.localName = prefix + "y" }))
	one("local header has a longer name", x(func(e *entry) { e.localName = prefix + "xx" }))
	one("no local header", x(func(e *entry) { e.offset = u32(3) }))
	one("local header beyond the end", x(func(e *entry) { e.offset = u32(1 << 30) }))
	one("declared shorter", x(func(e *entry) { e.unpacked = u32(5) }))
	one("declared longer", x(func(e *entry) { e.unpacked = u32(500) }))
	one("declared empty", x(func(e *entry) { e.unpacked = u32(0) }))
	one("stored, declared longer", x(func(e *entry) { e.method, e.unpacked = 0, u32(500) }))
	one("stored, declared shorter", x(func(e *entry) { e.method, e.unpacked = 0, u32(5) }))
	one("stored, packed shorter", x(func(e *entry) { e.method, e.packed, e.unpacked, e.crc = 0, u32(5), u32(5), u32(0) }))
	one("wrong checksum", x(func(e *entry) { e.crc = u32(7) }))
	one("no checksum", x(func(e *entry) { e.crc = u32(0) }))
	one("checksum in local header only is wrong", x(func(e *entry) { e.localCRC = u32(7) }))
	one("descriptor with wrong checksum", x(func(e *entry) { e.flags, e.descriptor = 8, descriptor(true, 7, "content of x") }))
	one("descriptor right, directory wrong", x(func(e *entry) {
		e.flags, e.crc, e.descriptor = 8, u32(7), descriptor(true, crc32.ChecksumIEEE([]byte("content of x")), "content of x")
	}))
	one("descriptor missing", x(func(e *entry) { e.flags = 8 }))
	one("descriptor and directory without checksum", x(func(e *entry) { e.flags, e.crc, e.descriptor = 8, u32(0), descriptor(true, 0, "content of x") }))
	one("encrypted flag", x(func(e *entry) { e.flags = 1 }))
	one("strong encryption flag", x(func(e *entry) { e.flags = 1 | 1<<6 }))
	one("UTF-8 flag", x(func(e *entry) { e.flags = 1 << 11 }))
	one("method 1", x(func(e *entry) { e.method = 1 }))
	one("method deflate64", x(func(e *entry) { e.method = 9 }))
	one("method bzip2", x(func(e *entry) { e.method = 12 }))
	one("method lzma", x(func(e *entry) { e.method = 14 }))
	one("method zstd", x(func(e *entry) { e.method = 93 }))
	one("method AES", x(func(e *entry) { e.method = 99 }))
	one("damaged deflate data", x(func(e *entry) { e.data = []byte{0xff, 0xff, 0xff} }))
	one("deflate data cut off", x(func(e *entry) { e.data = deflated(e.content)[:6] }))
	one("deflate data cut off at a block", x(func(e *entry) { e.data = le(nil, uint8(0), uint16(12), ^uint16(12), []byte("content of x")) }))
	one("deflate data of nothing", x(func(e *entry) { e.data = []byte{} }))
	one("deflate data followed by more", x(func(e *entry) { e.data = append(deflated(e.content), "more"...) }))
	one("deflate data, empty blocks", x(func(e *entry) { e.data = append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 50), deflated(e.content)...) }))
	one("zlib data", x(func(e *entry) { e.data = append([]byte{0x78, 0x9c}, deflated(e.content)...) }))
	one("directory with packed nothing", entry{name: prefix + "d/", method: 8})
	one("directory with content", entry{name: prefix + "d/", content: "x"})
	vast := entry{name: prefix + "d/", unpacked: u32(0xffffffff), extra: le(nil, uint16(1), uint16(8), ^uint64(0))}
	one("directory with vast content", vast)
	add("directories with vast content", archive{entries: []entry{vast, {name: prefix + "e/", unpacked: vast.unpacked, extra: vast.extra}}})
	one("directory with unknown method", entry{name: prefix + "d/", method: 77})
	one("Unicode path field names another file", x(func(e *entry) {
		e.extra = le(nil, uint16(0x7075), uint16(5+len(prefix)+1), uint8(1), crc32.ChecksumIEEE([]byte(prefix+"x")), []byte(prefix+"y"))
	}))
	one("extra field cut off", x(func(e *entry) { e.extra = le(nil, uint16(0x5455), uint16(50), uint8(1)) }))
	one("zip64 field not needed", x(func(e *entry) { e.extra = le(nil, uint16(1), uint16(16), uint64(7), uint64(7)) }))
	one("zip64 field too short", x(func(e *entry) { e.unpacked, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(4), uint32(7)) }))
	one("zip64 field missing, unpacked", x(func(e *entry) { e.unpacked = u32(0xffffffff) }))
	one("zip64 field missing, packed", x(func(e *entry) { e.packed = u32(0xffffffff) }))
	one("zip64 field missing, offset", x(func(e *entry) { e.offset = u32(0xffffffff) }))
	one("zip64 unpacked size is vast", x(func(e *entry) { e.unpacked, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(8), ^uint64(0)) }))
	one("zip64 packed size is vast", x(func(e *entry) { e.packed, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(8), ^uint64(0)) }))
	one("zip64 offset is vast", x(func(e *entry) { e.offset, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(8), ^uint64(0)) }))
	one("zip64 offset", x(func(e *entry) {
		e.offset, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(8), uint64(30+len(prefix+"go.mod")+len(deflated(goMod))))
	}))
	one("two zip64 fields", x(func(e *entry) {
		e.unpacked, e.extra = u32(0xffffffff), le(nil, uint16(1), uint16(8), uint64(12), uint16(1), uint16(8), uint64(13))
	}))
	one("on another disk", x(func(e *entry) { e.disk = 1 }))
	one("gap before an entry", x(func(e *entry) { e.gap = []byte("gap") }))
	one("unpacked size beyond the limit", x(func(e *entry) { e.unpacked = u32(500<<20 + 1) }))
	one("unpacked sizes beyond the limit together", x(func(e *entry) { e.unpacked = u32(500<<20 - 10) }))
	add("go.mod too large", archive{entries: []entry{file("go.mod", strings.Repeat("\n", 16<<20+1))}})
	add("LICENSE too large", archive{entries: []entry{file("LICENSE", strings.Repeat("\n", 16<<20+1))}})
	add("go.mod just fits", archive{entries: []entry{file("go.mod", strings.Repeat("\n", 16<<20))}})
	add("other file as large", archive{entries: []entry{file("license", strings.Repeat("\n", 16<<20+1))}})

	entries := []entry{root(), file("x", "x")}
	add("bytes before", archive{before: []byte("#!/bin/sh\n"), entries: entries})
	add("bytes before, offsets without them", func() archive {
		return archive{before: []byte("#!/bin/sh\n"), edit: func(end []byte) { end[16] -= 10 }, entries: []entry{{name: prefix + "x", content: "x", offset: u32(0)}}}
	}())
	add("bytes after", archive{after: []byte("x"), entries: entries})
	add("last header reaches into the end record", archive{entries: entries, reach: 10})
	add("bytes after the last header", archive{entries: entries, afterHeaders: []byte("more")})
	add("bytes between entries and directory", archive{afterEntries: []byte("gap"), entries: entries})
	add("comment of another zip", archive{comment: string(archive{entries: []entry{file("y", "y")}}.bytes()), entries: entries})
	add("comment with an end record that is cut off", archive{comment: "PK\x05\x06" + strings.Repeat("\x00", 16) + "\xff\xff", entries: entries})
	add("comment with an end record and more", archive{comment: "PK\x05\x06" + strings.Repeat("\x00", 18) + "more", entries: entries})
	add("comment too short", archive{comment: "comment", edit: func(end []byte) { end[20]-- }, entries: entries})
	add("comment too long", archive{comment: "comment", edit: func(end []byte) { end[20]++ }, entries: entries})
	add("one record too few", archive{edit: func(end []byte) { end[8]--; end[10]-- }, entries: entries})
	add("one record too many", archive{edit: func(end []byte) { end[8]++; end[10]++ }, entries: entries})
	add("records of this disk differ", archive{edit: func(end []byte) { end[8]-- }, entries: entries})
	add("another disk", archive{edit: func(end []byte) { end[4]++ }, entries: entries})
	add("directory on another disk", archive{edit: func(end []byte) { end[6]++ }, entries: entries})
	add("directory shorter", archive{edit: func(end []byte) { end[12]-- }, entries: entries})
	add("directory longer", archive{edit: func(end []byte) { end[12]++ }, entries: entries})
	add("directory elsewhere", archive{edit: func(end []byte) { end[16]++ }, entries: entries})
	add("records without zip64", archive{edit: func(end []byte) { copy(end[8:], "\xff\xff\xff\xff") }, entries: entries})
	add("zip64, another disk", archive{zip64: true, edit64: func(end64, locator []byte) { locator[4]++ }, entries: entries})
	add("zip64, two disks", archive{zip64: true, edit64: func(end64, locator []byte) { locator[16]++ }, entries: entries})
	add("zip64, locator elsewhere", archive{zip64: true, edit64: func(end64, locator []byte) { locator[8]++ }, entries: entries})
	add("zip64, locator vast", archive{zip64: true, edit64: func(end64, locator []byte) { copy(locator[8:], "\xff\xff\xff\xff\xff\xff\xff\xff") }, entries: entries})
	add("zip64, no end record", archive{zip64: true, edit64: func(end64, locator []byte) { end64[0]++ }, entries: entries})
	add("zip64, no locator", archive{zip64: true, edit64: func(end64, locator []byte) { locator[0]++ }, entries: entries})
	add("zip64, vast number of records", archive{zip64: true, edit64: func(end64, locator []byte) { end64[38]++; end64[30]++ }, entries: entries})
	add("zip64, 65,536 records more", archive{zip64: true, edit64: func(end64, locator []byte) { end64[34]++; end64[26]++ }, entries: entries})
	add("zip64, vast directory", archive{zip64: true, edit64: func(end64, locator []byte) { end64[47]++ }, entries: entries})
	add("zip64, negative directory", archive{zip64: true, edit64: func(end64, locator []byte) { end64[47] = 0xff }, entries: entries})
	add("zip64, directory elsewhere", archive{zip64: true, edit64: func(end64, locator []byte) { end64[48]++ }, entries: entries})
	return zips
}

// nameZips have one more file each, under the name that the case is named for.
func nameZips() (zips []namedZip) {
	add := func(names ...string) {
		entries := []entry{}
		for _, name := range names {
			entries = append(entries, entry{name: name})
		}
		zips = append(zips, namedZip{fmt.Sprintf("names %q", names), archive{entries: entries}.bytes(), ""})
	}
	for _, name := range []string{"x", "other.com/Mod@v1.2.3/x", "example.com/mod@v1.2.3/x", "example.com/Mod@v1.2.3", "example.com/Mod@v1.2.30/x",
		"/" + prefix + "x", "./" + prefix + "x", ""} {
		add(name)
	}
	for _, name := range []string{
		"a\nb", "a\rb", "a\x00b", "a\x7fb", "a\tb", "\xff\xfe", "a\\b", "a:b", "a*b", "a?b", "a\"b", "a'b", "a`b", "a|b", "a<b", "a>b", "a;b",
		"a b", " ", "a!#$%&()+,-.=@[]^_{}~b", "é", "日本語.go", "a\u0301", "😀", "١", "ⅷ", "ª", "µ", "\u200d", "\u00a0", "\ufeff", "ǅ", "ー",
		"/x", "//x", "a//b", "a/./b", "./a", "a/.", "..", "../x", "a/../b", "a/..", ".", "...", "a/.../b", "a.", "a./b", ".a", ".git/config", "-a",
		"con", "CON", "con.txt", "a/nul", "nul/a", "com1.go", "COM0", "lpt9", "lpt10", "aux.c", "a~1", "a~1.go", "conx", "con ", "prn..x",
		"GO.MOD", "Go.mod", "a/go.mod", "a/GO.mod", "a/go.mod/b", "go.mod/x", "go.mod/", "a/go.mod/", "license", "a/LICENSE", "vendor/x/y.go", ".hg_archival.txt",
	} {
		add(prefix + name)
	}
	for _, pair := range [][2]string{
		{"a", "A"}, {"a/x", "A/y"}, {"a/x", "A"}, {"d/", "D/"}, {"é", "É"}, {"k", "\u212a"}, {"s", "ſ"}, {"ß", "ẞ"}, {"ß", "ss"}, {"σ", "ς"}, {"Σ", "ς"}, {"µ", "μ"}, {"i", "ı"},
		{"i", "İ"}, {"ı", "İ"}, {"I", "ı"}, {"ǅ", "ǆ"}, {"Å", "\u212b"}, {"ω", "\u2126"}, {"ᾳ", "ᾼ"}, {"ﬁ", "fi"}, {"ѣ", "ᲇ"}, {"θ", "ϑ"}, {"θ", "ϴ"}, {"Ꭰ", "ꭰ"}, {"а", "a"},
		{"a/b", "a/b/"}, {"a/b/c", "a/b"}, {"a/", "a/b"}, {"a/b", "a/"}, {"a/b/", "a/"}, {"a.b", "a/b"}, {"É/x", "é/y"}, {"", "x"}, {"x", ""},
	} {
		add(prefix+pair[0], prefix+pair[1])
	}
	return zips
}
