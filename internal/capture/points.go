package capture

import "github.com/holdfast-project/holdfast/fact"

// views is what other points of capture have of a case.
type views struct{}

func (v *views) fill(*fact.Case, *Case) {}
