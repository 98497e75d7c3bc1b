package names

import (
	"math/bits"
	"math/rand/v2"
)

// A hasher maps strings to numbers that look random, each hasher to others.
//
// It is the construction of wyhash (Wang Yi), as is Go's own hash where the processor has no
// instructions for one. The hash of the standard library, hash/maphash, makes an uncontended Lock
// and Unlock take 30.1 ns instead of 22.3 on amd64 (-bench Hash measures the hashes alone). Names
// that are made to collide in spite of the random numbers gain little: those in use that meet in a
// slot are told apart by their text.
type hasher struct{ start, factor uint64 }

func newHasher() hasher { return hasher{rand.Uint64(), rand.Uint64()} }

// sum returns the hash of s with that seed.
func (h *hasher) sum(seed uint64, s string) uint64 {
	var a, b uint64 // up to 16 bytes at the end; the two may overlap, or repeat what has gone into seed
	switch n := len(s); {
	case n > 16:
		for rest := s; len(rest) > 16; rest = rest[16:] {
			seed = mix(load64(rest)^h.factor, load64(rest[8:])^seed)
		}
		a, b = load64(s[n-16:]), load64(s[n-8:])
	case n >= 8:
		a, b = load64(s), load64(s[n-8:])
	case n >= 4:
		a, b = load32(s), load32(s[n-4:])
	case n > 0:
		a = uint64(s[0])<<16 | uint64(s[n/2])<<8 | uint64(s[n-1])
	}
	return mix(uint64(len(s))^0xa0761d6478bd642f, mix(a^h.factor, b^seed))
}

// mix folds the product of a and b, each of whose bits depends on nearly all of theirs.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// The compiler makes one instruction of each.

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load32(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
