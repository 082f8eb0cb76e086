package hostdoc

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Difference is one thing that differs between two documents.
type Difference struct {
	What string `json:"what"`          // where it stands: namespaces host · interfaces eth0 · mtu
	Was  string `json:"was,omitempty"` // empty: it was not there
	Now  string `json:"now,omitempty"` // empty: it is not there any more
}

func (d Difference) String() string {
	switch {
	case d.Was == "":
		return d.What + ": new: " + d.Now
	case d.Now == "":
		return d.What + ": gone: " + d.Was
	}
	return d.What + ": " + d.Was + " -> " + d.Now
}

// identity names the fields by which the elements of a list are the same thing.
var identity = map[string][]string{
	"namespaces": {"id"}, "interfaces": {"name"}, "routes": {"dst", "table", "metric", "dev", "via"}, "listeners": {"addr", "port"}, "changed": {"key"},
	"services": {"id"}, "sysctl_files": {"key", "file"}, "rules": {"where", "text"}, "timers": {"meaning", "key"}, "fronts": {"name", "listen"}, "backs": {"name", "peers"},
	"could_not_see": {"what"}, "problems": {"file", "line"},
}

// derived are parts that repeat what stands elsewhere.
var derived = []string{"changed", "defaults_known", "could_not_see", "files", "problems"}

// Diff compares the stable parts of two documents, by identity and not by place.
func Diff(a, b *Host) ([]Difference, error) {
	x, err := tree(a.Stable())
	if err != nil {
		return nil, err
	}
	y, err := tree(b.Stable())
	if err != nil {
		return nil, err
	}
	var list []Difference
	compare("", "", x, y, &list)
	return list, nil
}

func tree(h *Host) (v any, err error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(b, &v)
	return v, err
}

func compare(path, name string, a, b any, out *[]Difference) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := map[string]bool{}
		for k := range x {
			keys[k] = true
		}
		for k := range y {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(derived, k) && k != "line" {
				compare(join(path, k), k, x[k], y[k], out)
			}
		}
		return
	case []any:
		y, ok := b.([]any)
		if ids := identity[name]; ok && ids != nil {
			compareLists(path, ids, x, y, out)
			return
		}
	}
	was, now := text(a), text(b)
	if was != now {
		*out = append(*out, Difference{path, was, now})
	}
}

func compareLists(path string, ids []string, x, y []any, out *[]Difference) {
	a, b := byIdentity(ids, x), byIdentity(ids, y)
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		u, there := a[k]
		v, here := b[k]
		at := strings.TrimSpace(path + " " + k)
		switch {
		case !there:
			*out = append(*out, Difference{What: at, Now: summary(v)})
		case !here:
			*out = append(*out, Difference{What: at, Was: summary(u)})
		default:
			compare(at, "", u, v, out)
		}
	}
}

func byIdentity(ids []string, list []any) map[string]any {
	out := map[string]any{}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		var parts []string
		for _, id := range ids {
			if s := text(m[id]); s != "" {
				parts = append(parts, s)
			}
		}
		out[strings.Join(parts, " ")] = v
	}
	return out
}

// text writes a value in one line.
func text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// summary tells what is new or gone, without all of it.
func summary(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return text(v)
	}
	for _, k := range []string{"value", "text", "exe", "state", "verdict", "service", "kind"} {
		if s := text(m[k]); s != "" {
			return s
		}
	}
	return "yes"
}

func join(path, k string) string { return strings.Trim(path+" · "+k, " ·") }
