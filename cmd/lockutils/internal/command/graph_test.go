package command

import (
	"strings"
	"testing"
)

// aDeadlock is two goroutines that wait for each other, as a debug page shows them.
func aDeadlock() []Edge {
	return edgesOf([]Lock{
		{Name: "a", Holders: []Party{{PID: 7, Command: "main.one"}},
			Waiters: []Party{{PID: 7, Command: "main.two", Holds: []string{"b"}}}},
		{Name: "b", Holders: []Party{{PID: 7, Command: "main.two"}},
			Waiters: []Party{{PID: 7, Command: "main.one", Holds: []string{"a"}}}},
		{Name: "free"},
	})
}

func TestGraphAsTextSaysForWhatEachWaits(t *testing.T) {
	var text strings.Builder
	if err := writeEdges(&text, aDeadlock()); err != nil {
		t.Fatal(err)
	}
	const want = `7 main.two, holding b waits for a, held by 7 main.one
7 main.one, holding a waits for b, held by 7 main.two
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

func TestGraphForGraphvizShowsACycle(t *testing.T) {
	var text strings.Builder
	if err := writeDot(&text, aDeadlock()); err != nil {
		t.Fatal(err)
	}
	for _, edge := range []string{
		`"7 main.two, holding b" -> "lock a"`, `"lock a" -> "7 main.one, holding a"`,
		`"7 main.one, holding a" -> "lock b"`, `"lock b" -> "7 main.two, holding b"`,
	} {
		if !strings.Contains(text.String(), "\t"+edge+";\n") {
			t.Errorf("no edge %s in\n%s", edge, text.String())
		}
	}
}

// A backslash, a quote and an ampersand have a meaning in the labels of Graphviz.
func TestGraphForGraphvizQuotesNames(t *testing.T) {
	for name, want := range map[string]string{
		"plain": `"plain"`, `a"b`: `"a\"b"`, `\N\n`: `"\\N\\n"`, "&lt;": `"&amp;lt;"`, "日本": `"日本"`,
	} {
		if got := quoteDot(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestNamesWithControlCharactersAreQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "x y": "x y", `say "x"`: `say "x"`, "日本": "日本",
		"a\x1b[31m": `"a\x1b[31m"`, "a\nb": `"a\nb"`, "\u202eabc": `"\u202eabc"`,
		"\xff": `"\xff"`, "\u009b1m": `"\u009b1m"`,
	} {
		if got := visible(name); got != want {
			t.Errorf("%q is shown as %s, want %s", name, got, want)
		}
	}
	edges := edgesOf([]Lock{{
		Name: "\x1b1", Holders: []Party{{Command: "\x1b2"}},
		Waiters: []Party{{Command: "\x1b3", Holds: []string{"\x1b4"}}},
	}})
	var text strings.Builder
	if err := writeEdges(&text, edges); err != nil {
		t.Fatal(err)
	}
	if err := writeDot(&text, edges); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Errorf("got %q", text.String())
	}
}
