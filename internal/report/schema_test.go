package report

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/fact"
)

var update = flag.Bool("update", false, "rewrite golden files")

const schemaFile = "../../docs/finding.schema.json"

// TestSchema holds docs/finding.schema.json to the Go type: the JSON of a
// finding is an API, and this file is its contract.
func TestSchema(t *testing.T) {
	g := generator{docs: fieldDocs(t, "../../fact/finding.go"), defs: map[string]any{}}
	root := g.object(reflect.TypeFor[fact.Finding]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/holdfast-project/holdfast/docs/finding.schema.json"
	root["title"] = "Holdfast finding"
	root["description"] = "The answer for one connection that ended badly: who reset it, why, with what proof, at what cost, and how to stop it. Fields are added, never renamed."
	root["$defs"] = g.defs
	got, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, string(got)+"\n")
}

// generator turns Go types into JSON Schema.
type generator struct {
	docs map[string]string // "Type.Field" -> comment
	defs map[string]any
}

var enums = map[string][]string{
	"Sender.role": {
		fact.ClientApp, fact.ClientKernel, fact.ServerApp, fact.ServerKernel, fact.LocalFirewall,
		fact.Middlebox, fact.Injector, fact.Nobody, fact.UnknownSender,
	},
	"Finding.schema":   {fact.Schema},
	"ScoreLine.answer": {"true", "false", "not looked"},
}

func (g *generator) schema(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[netip.AddrPort]():
		return map[string]any{"type": "string", "description": "address and port: 192.0.2.1:80 or [2001:db8::1]:80; empty when unknown"}
	case reflect.TypeFor[fact.Grade]():
		return map[string]any{"enum": []fact.Grade{fact.Proved, fact.Probable, fact.Possible, fact.Unknown}}
	case reflect.TypeFor[fact.Case]():
		return map[string]any{"type": "object", "description": "everything observed, as a map of facts; see holdfast facts -o json"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.schema(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Struct:
		if _, done := g.defs[t.Name()]; !done {
			g.defs[t.Name()] = nil // breaks cycles
			g.defs[t.Name()] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	}
	panic("no schema for " + t.String())
}

func (g *generator) object(t reflect.Type) map[string]any {
	props, required := map[string]any{}, []string{}
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		s := g.schema(f.Type)
		if e, ok := enums[t.Name()+"."+name]; ok {
			s = map[string]any{"enum": e}
		}
		if doc := g.docs[t.Name()+"."+f.Name]; doc != "" && s["description"] == nil {
			s["description"] = doc
		}
		props[name] = s
		if !strings.Contains(opts, "omit") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": props, "required": required}
}

// fieldDocs reads the line comments of all fields of a file.
func fieldDocs(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		ts, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := ts.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range st.Fields.List {
			for _, name := range field.Names {
				docs[ts.Name.Name+"."+name.Name] = strings.TrimSpace(field.Comment.Text())
			}
		}
		return true
	})
	return docs
}

// golden compares got with a file, or rewrites the file with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s:%d is %q, now %q; run go test ./internal/report -update and read the diff", file, i+1, w[i], g[i])
			return
		}
	}
	t.Errorf("%s has %d lines, now %d; run go test ./internal/report -update and read the diff", file, len(w), len(g))
}
