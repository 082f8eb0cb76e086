package report

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "nginx: worker", "nginx: worker"},
		{"empty", "", ""},
		{"ansi", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"title of the window", "\x1b]0;pwned\a", `\x1b]0;pwned\x07`},
		{"line breaks", "a\r\nb\tc", `a\r\nb\tc`},
		{"C1 CSI", "\u009b31m", `\u009b31m`},
		{"bidi override", "evil\u202egnp.exe", `evil\u202egnp.exe`},
		{"bidi isolate", "\u2066x\u2069", `\u2066x\u2069`},
		{"zero width", "a\u200bb", `a\u200bb`},
		{"invalid UTF-8", "a\xffb\xc3", `a\xffb\xc3`},
		{"filler that looks blank", "a\u3164b", `a\u3164b`},
		{"tag characters", "\U000e0041", `\U000e0041`},
		{"accents and CJK stay", "Jürgen 東京 →", "Jürgen 東京 →"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Clean(c.in); got != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"nginx", "\x1b[2J", "\u202e", "\xff\xfe", "a\nb", "\u009b", "\U000e0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("not UTF-8: %q", got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("Clean(%q) = %q holds %U", s, got, r)
			}
		}
		if Clean(got) != got {
			t.Errorf("Clean is not idempotent on %q", s)
		}
		for n := range 12 {
			if c := fit(got, n); cells(c) > n {
				t.Errorf("fit(%q, %d) = %q takes %d cells", got, n, c, cells(c))
			}
		}
	})
}

func FuzzJSONIsTerminalSafe(f *testing.F) {
	f.Add("nginx\x1b[31m", "\u009b\u202e\U000e0041\x7f")
	f.Fuzz(func(t *testing.T, k, v string) {
		in := map[string]string{k: v}
		b, err := marshal(in, "")
		if err != nil {
			t.Skip()
		}
		if i := strings.IndexFunc(strings.TrimSuffix(string(b), "\n"), func(r rune) bool { return !safe(r) }); i >= 0 {
			t.Errorf("%q is not safe at %d", b, i)
		}
		var back map[string]string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.ValidString(k) && utf8.ValidString(v) && back[k] != v {
			t.Errorf("%q came back as %q", v, back[k])
		}
	})
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1432: "1.4 kB", 23_400: "23 kB", 999_499: "999 kB", 999_600: "1.0 MB", 5_000_000_000: "5.0 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	got := strings.Join(wrap("one two three four\nfive", 9), "|")
	if want := "one two|three|four|five"; got != want {
		t.Errorf("wrap = %q, want %q", got, want)
	}
}
