package cli

import (
	"testing"

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
