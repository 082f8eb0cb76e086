package fact

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Kind is the type of a fact as expressions and JSON see it.
type Kind uint8

// The kinds. A duration is a Float in the unit of the fact's name.
const (
	Bool Kind = iota
	Int
	Float
	String
)

// String returns bool, int, float or string.
func (k Kind) String() string { return [...]string{"bool", "int", "float", "string"}[k] }

// Def is the declaration of one fact, read from the tags of Case.
type Def struct {
	Name    string        // full name, such as sender.sock.unread_bytes
	Kind    Kind          // type in expressions
	Unit    time.Duration // for durations: the unit of the name; 0 otherwise
	Witness Witness       // who normally observes it
	Doc     string        // what it is
	How     string        // how to obtain it when nobody looked
	offset  uintptr       // of the Opt within Case
	state   uintptr       // of its state within Case
	index   int           // in Defs
}

var defs = sync.OnceValues(func() ([]Def, map[string]int) {
	var list []Def
	collect(reflect.TypeFor[Case](), "", 0, Def{}, &list)
	byName := make(map[string]int, len(list))
	if len(list) > 64*len(Set{}) {
		panic("fact: Set is too small")
	}
	for i := range list {
		list[i].index = i
	}
	for i, d := range list {
		if _, dup := byName[d.Name]; dup {
			panic("fact: declared twice: " + d.Name)
		}
		byName[d.Name] = i
	}
	return list, byName
})

// Defs returns the declarations of all facts in the order of Case.
// The slice is shared: do not change it.
func Defs() []Def { list, _ := defs(); return list }

// Lookup returns the declaration of the named fact.
func Lookup(name string) (Def, bool) {
	list, byName := defs()
	i, ok := byName[name]
	if !ok {
		return Def{}, false
	}
	return list[i], true
}

func collect(t reflect.Type, prefix string, base uintptr, parent Def, list *[]Def) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("fact")
		if tag == "" {
			continue
		}
		d := Def{Name: prefix + tag, Witness: parent.Witness, How: parent.How, Doc: f.Tag.Get("doc"), offset: base + f.Offset}
		if by := f.Tag.Get("by"); by != "" {
			w, ok := ParseWitness(by)
			if !ok {
				panic("fact: unknown witness " + by + " of " + d.Name)
			}
			d.Witness = w
		}
		if how := f.Tag.Get("how"); how != "" {
			d.How = how
		}
		if !strings.HasPrefix(f.Type.Name(), "Opt[") {
			collect(f.Type, d.Name+".", d.offset, d, list)
			continue
		}
		d.Kind, d.Unit = kindOf(f.Type, d.Name)
		state, _ := f.Type.FieldByName("s")
		d.state = d.offset + state.Offset
		*list = append(*list, d)
	}
}

func kindOf(t reflect.Type, name string) (Kind, time.Duration) {
	switch t {
	case reflect.TypeFor[Opt[bool]]():
		return Bool, 0
	case reflect.TypeFor[Opt[int64]]():
		return Int, 0
	case reflect.TypeFor[Opt[string]]():
		return String, 0
	case reflect.TypeFor[Opt[time.Duration]]():
		for suffix, unit := range map[string]time.Duration{"_us": time.Microsecond, "_ms": time.Millisecond, "_s": time.Second} {
			if strings.HasSuffix(name, suffix) {
				return Float, unit
			}
		}
		panic("fact: duration without unit: " + name)
	}
	panic("fact: unsupported type of " + name + ": " + t.String())
}

// Set is a set of facts, by their place in [Defs].
type Set [8]uint64

// Add puts a fact into the set.
func (s *Set) Add(d *Def) { s[d.index/64] |= 1 << (d.index % 64) }

// Has reports whether a fact is in the set.
func (s *Set) Has(d *Def) bool { return s[d.index/64]&(1<<(d.index%64)) != 0 }

// Looked returns the facts of c that somebody looked at.
func Looked(c *Case) (s Set) {
	list, _ := defs()
	for i := range list {
		if *(*State)(unsafe.Add(unsafe.Pointer(c), list[i].state)) != NotLooked {
			s[i/64] |= 1 << (i % 64)
		}
	}
	return s
}

// Value is a fact of one case, untyped: what an expression sees. Only the
// field that matches the kind is set. The zero value was not looked at.
type Value struct {
	State State
	By    Witness
	Bool  bool
	Num   float64 // Int and Float
	Str   string
}

// Same reports whether two declarations are of the same fact.
func (d *Def) Same(e *Def) bool { return d.index == e.index }

// Of reads the fact d of case c. It allocates nothing.
func (d *Def) Of(c *Case) Value {
	p := unsafe.Add(unsafe.Pointer(c), d.offset)
	switch {
	case d.Kind == Bool:
		o := (*Opt[bool])(p)
		return Value{State: o.s, By: d.by(o.by), Bool: o.v}
	case d.Kind == String:
		o := (*Opt[string])(p)
		return Value{State: o.s, By: d.by(o.by), Str: o.v}
	case d.Kind == Int:
		o := (*Opt[int64])(p)
		return Value{State: o.s, By: d.by(o.by), Num: float64(o.v)}
	}
	o := (*Opt[time.Duration])(p)
	return Value{State: o.s, By: d.by(o.by), Num: float64(o.v) / float64(d.Unit)}
}

func (d *Def) by(w Witness) Witness {
	if w == ByDefault {
		return d.Witness
	}
	return w
}

// Set stores v as fact d of case c; v.By of ByDefault, or equal to the
// declared witness, is stored as such.
func (d *Def) Set(c *Case, v Value) {
	if v.By == d.Witness {
		v.By = ByDefault
	}
	p := unsafe.Add(unsafe.Pointer(c), d.offset)
	switch {
	case d.Kind == Bool:
		*(*Opt[bool])(p) = Opt[bool]{v.Bool, v.State, v.By}
	case d.Kind == String:
		*(*Opt[string])(p) = Opt[string]{v.Str, v.State, v.By}
	case d.Kind == Int:
		*(*Opt[int64])(p) = Opt[int64]{int64(v.Num), v.State, v.By}
	default:
		*(*Opt[time.Duration])(p) = Opt[time.Duration]{time.Duration(math.Round(v.Num * float64(d.Unit))), v.State, v.By}
	}
}

// Any returns the value as bool, int64, float64 or string; nil when not present.
func (d *Def) Any(v Value) any {
	if v.State != Present {
		return nil
	}
	switch d.Kind {
	case Bool:
		return v.Bool
	case String:
		return v.Str
	case Int:
		return int64(v.Num)
	}
	return v.Num
}

// Parse turns a decoded JSON or YAML value (nil, bool, number, string) into a
// Value of the fact's kind; nil means absent.
func (d *Def) Parse(x any) (Value, error) {
	v := Value{State: Present}
	ok := false
	switch x := x.(type) {
	case nil:
		return Value{State: Absent}, nil
	case bool:
		v.Bool, ok = x, d.Kind == Bool
	case string:
		v.Str, ok = x, d.Kind == String
	case float64:
		v.Num, ok = x, d.Kind == Float || d.Kind == Int && x == math.Trunc(x)
	case int:
		v.Num, ok = float64(x), d.Kind == Float || d.Kind == Int
	case int64:
		v.Num, ok = float64(x), d.Kind == Float || d.Kind == Int
	case uint64:
		v.Num, ok = float64(x), d.Kind == Float || d.Kind == Int
	case json.Number:
		n, err := x.Float64()
		v.Num, ok = n, err == nil && (d.Kind == Float || d.Kind == Int)
	}
	if !ok {
		return Value{}, fmt.Errorf("fact %s is a %s, not %T %v", d.Name, d.Kind, x, x)
	}
	return v, nil
}
