package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-project/holdfast/internal/report"
)

func TestASCIIKeepsTheColumns(t *testing.T) {
	f := finding("close-with-unread-data", 40000)
	line := report.Style{}.Line(&f)
	var b strings.Builder
	if n, err := (&ascii{&b}).Write([]byte(line)); err != nil || n != len(line) {
		t.Errorf("wrote %d of %d, %v", n, len(line), err)
	}
	if utf8.RuneCountInString(line) != len(b.String()) {
		t.Errorf("%q is not %q, one for one", b.String(), line)
	}
}

func TestOnlyASCII(t *testing.T) {
	for _, x := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, true},
		{map[string]string{"LANG": "C.UTF-8"}, false},
		{map[string]string{"LANG": "C", "LC_ALL": "en_US.UTF-8"}, false},
		{map[string]string{"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, true},
	} {
		if got := onlyASCII(func(k string) string { return x.env[k] }); got != x.want {
			t.Errorf("%v: %v", x.env, got)
		}
	}
}
