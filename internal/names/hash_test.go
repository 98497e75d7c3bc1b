package names

import (
	"fmt"
	"strings"
	"testing"
)

// Names that differ little, as names do, meet in slots no oftener than chance would have it.
func TestSimilarNamesSpreadOverSlots(t *testing.T) {
	const n = 1024
	for family, name := range map[string]func(i int) string{
		"numbers":           func(i int) string { return fmt.Sprint(i) },
		"two bytes":         func(i int) string { return string([]byte{byte(i), byte(i >> 8)}) },
		"number at the end": func(i int) string { return fmt.Sprint("instance-", i) },
		"number in front":   func(i int) string { return fmt.Sprintf("%04d-instance", i) },
		"long, same end": func(i int) string {
			return fmt.Sprintf("%04d%s", i, strings.Repeat("/directory", 9))
		},
		"long, same start":   func(i int) string { return fmt.Sprint(strings.Repeat("/directory", 9), i) },
		"in the middle":      func(i int) string { return fmt.Sprintf("/var/lib/%04d/images/disk.lock", i) },
		"nothing but length": func(i int) string { return strings.Repeat("a", i) },
		"zeros":              func(i int) string { return strings.Repeat("\x00", i) },
	} {
		h := hasher{0x0123456789abcdef, 0x9e3779b97f4a7c15} // the same in every run
		slots, tags := map[uint64]int{}, map[uint64]int{}
		fullest := 0
		for i := range n {
			sum := h.sum(h.start, name(i))
			slots[sum%n]++
			tags[sum>>32%128]++
			fullest = max(fullest, slots[sum%n])
		}
		// By chance 647 slots are in use, with a standard deviation of 10, the fullest has 5 to 7
		// names, and all tags occur.
		if len(slots) < 590 || fullest > 9 || len(tags) < 120 {
			t.Errorf("%s: %d names are in %d slots, up to %d in one, with %d of 128 tags", family, n,
				len(slots), fullest, len(tags))
		}
	}
}

func TestEveryByteCountsInTheHash(t *testing.T) {
	h := newHasher()
	seen := map[uint64]string{}
	for n := range 70 {
		for i := -1; i < n; i++ {
			s := []byte(strings.Repeat("a", n))
			if i >= 0 {
				s[i] = 'b'
			}
			sum := h.sum(h.start, string(s))
			if other, ok := seen[sum]; ok {
				t.Errorf("%q and %q have the same hash", s, other)
			}
			seen[sum] = string(s)
			if other := newHasher(); other.sum(other.start, string(s)) == sum {
				t.Errorf("the hash of %q does not depend on the hasher", s)
			}
		}
	}
}

func TestScopeAndNameAreNotExchangedInTheHash(t *testing.T) {
	for _, k := range []Key{{"a", "b"}, {"nova", "instance-4711"}, {"", "name"}} {
		if k.Hash() == (Key{k.Name, k.Scope}).Hash() {
			t.Errorf("%q and the one with scope and name exchanged have the same hash", k)
		}
	}
	if k := (Key{"same", "same"}); k.Hash() == 0 || k.Hash() == (Key{"other", "other"}).Hash() {
		t.Error("equal scopes and names cancel each other")
	}
}
