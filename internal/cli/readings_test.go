package cli

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/fact"
	"github.com/holdfast-project/holdfast/internal/logline"
	"github.com/holdfast-project/holdfast/knowledge"
)

// TestReadingsNameCauses wants every cause that a line names to be in the
// knowledge base, or among those that only texts name.
func TestReadingsNameCauses(t *testing.T) {
	base, err := knowledge.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Entries() {
		for _, id := range e.Causes {
			_, known := base.Cause(id)
			_, named := r.Named(id)
			if !known && !named {
				t.Errorf("line %s: nothing is known of cause %s", e.ID, id)
			}
		}
	}
}

// TestSymptomsAreDeclared wants every fact that can be said among the declared
// ones, and the other way round.
func TestSymptomsAreDeclared(t *testing.T) {
	r, err := logline.New()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, name := range r.FactNames() {
		said["symptom."+name] = true
		if _, ok := fact.Lookup("symptom." + name); !ok {
			t.Errorf("fact symptom.%s is not declared", name)
		}
	}
	for _, d := range fact.Defs() {
		if strings.HasPrefix(d.Name, "symptom.") && d.Name != "symptom.text" && !said[d.Name] {
			t.Errorf("fact %s cannot be said", d.Name)
		}
	}
}
