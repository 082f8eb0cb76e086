package knowledge

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

//go:embed taxonomy.yaml
var taxonomyYAML string

// Shelf is one way to sort causes under: a class, an outcome or a harm.
type Shelf struct {
	Name  string   `json:"name"`
	Alias []string `json:"alias,omitempty"` // the words that people use
	Title string   `json:"title"`
	About string   `json:"about"`
	Begin []string `json:"begin"` // how to begin, the cheapest step first
}

// Taxonomy is how causes are sorted.
type Taxonomy struct{ Classes, Outcomes, Harms []Shelf }

// LoadTaxonomy reads the built-in taxonomy.
func LoadTaxonomy() (Taxonomy, error) {
	d := &document{file: embeddedName + "/taxonomy.yaml", src: taxonomyYAML}
	var t Taxonomy
	m, ok := d.parse()
	if ok {
		m.allow("the taxonomy", "classes", "outcomes", "harms")
		t = Taxonomy{Classes: d.shelves(m.list("classes")), Outcomes: d.shelves(m.list("outcomes")), Harms: d.shelves(m.list("harms"))}
	}
	if len(d.problems) > 0 {
		return t, &Error{d.problems}
	}
	return t, nil
}

func (d *document) shelves(nodes []ast.Node) []Shelf {
	var list []Shelf
	for _, n := range nodes {
		m, ok := d.mapping(n, "a shelf")
		if !ok {
			continue
		}
		m.allow("a shelf", "name", "alias", "title", "about", "begin")
		list = append(list, Shelf{Name: m.str("name"), Alias: m.strs("alias"), Title: m.str("title"), About: m.str("about"), Begin: m.strs("begin")})
	}
	return list
}

// Find returns the shelf of a name or alias, in any case.
func Find(list []Shelf, word string) (Shelf, bool) {
	word = strings.ToLower(strings.TrimSpace(word))
	i := slices.IndexFunc(list, func(s Shelf) bool { return s.Name == word || slices.Contains(s.Alias, word) })
	if i < 0 {
		return Shelf{}, false
	}
	return list[i], true
}

// Names of shelves.
func Names(list []Shelf) []string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return names
}
