// Package record makes deterministic go.sum records that look like the public log's:
// hosts and path lengths mixed, several versions a module, about a third pseudo-versions,
// and a go.mod hash that often repeats between neighbouring versions.
package record

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

var hosts = []string{"github.com", "github.com", "github.com", "github.com", "github.com", "gitlab.com", "git.example.net", "go.example.org", "corp.example"}
var words = []string{"api", "kit", "go", "client", "server", "proto", "terraform-provider", "operator", "cloud", "data", "net", "log", "auth", "store", "queue", "mesh", "infra", "core", "tools", "sdk", "cli", "agent", "event", "config"}

func seed(i int64) [32]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	return sha256.Sum256(b[:])
}

// Module returns the path and version of record i. Every i gives a different pair: the number of the module is in its
// path, and the four versions of a module, 128 records apart, differ in the patch number or in 48 random bits.
func Module(i int64) (path, version string) {
	module := i/512*128 + i%128
	s := seed(module)
	path = fmt.Sprintf("%s/%s%x/%s-%s%d", hosts[int(s[0])%len(hosts)], words[int(s[1])%len(words)], s[2:4], words[int(s[4])%len(words)], words[int(s[5])%len(words)], module)
	v := seed(i + 1<<40)
	if v[0] < 85 {
		return path, fmt.Sprintf("v0.0.0-20%02d%02d%02d%02d%02d%02d-%x", 18+v[1]%9, 1+v[2]%12, 1+v[3]%28, v[4]%24, v[5]%60, i%60, v[6:12])
	}
	return path, fmt.Sprintf("v%d.%d.%d", s[6]%2, v[7]%40, i/128%4096)
}

// Text returns the record text of a module version: its two go.sum lines.
func Text(path, version string) []byte {
	zip := sha256.Sum256([]byte("zip " + path + "@" + version))
	mod := sha256.Sum256([]byte("mod " + path + "@" + version))
	if zip[0]&1 == 0 { // half of the versions share the module's go.mod
		mod = sha256.Sum256([]byte("mod " + path))
	}
	return fmt.Appendf(nil, "%s %s h1:%s\n%s %s/go.mod h1:%s\n", path, version, base64.StdEncoding.EncodeToString(zip[:]), path, version, base64.StdEncoding.EncodeToString(mod[:]))
}
