package record

import (
	"testing"

	"golang.org/x/mod/module"
)

func TestModulesAreValidAndDifferent(t *testing.T) {
	const n = 300_000
	seen := make(map[module.Version]bool, n)
	for i := int64(0); i < n; i++ {
		path, version := Module(i)
		if err := module.Check(path, version); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		m := module.Version{Path: path, Version: version}
		if seen[m] {
			t.Fatalf("record %d: %v for the second time", i, m)
		}
		seen[m] = true
	}
}
