package filelock

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// UnknownPID stands for a process that cannot be told. No process has it, so nothing that is sent
// there reaches anybody.
const UnknownPID = math.MaxInt32

// Holder is a process that holds a lock, or waits for it.
type Holder struct {
	PID     int    // or UnknownPID
	Command string // the command line, fit for a terminal; "" if the system does not tell it
	Mode    Mode
}

// Users are the processes that use one lock file. Each is in a list once.
type Users struct {
	Holders []Holder
	Waiters []Holder // in the kernel; who polls is not seen
}

// maxCommand bounds a command line, in bytes.
const maxCommand = 4096

// printable returns s with everything escaped that could do more to a terminal than show: control
// characters, what changes the direction of the text, and bytes that are not UTF-8.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if b.Len() >= maxCommand {
			b.WriteString("...")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}
