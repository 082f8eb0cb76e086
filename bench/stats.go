package main

import (
	"fmt"
	"slices"
)

// sample is a list of measurements of one thing.
type sample []float64

// quantile returns the value below which the part q of the sample lies, by
// linear interpolation; 0 for an empty sample.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func (s sample) median() float64 { return s.quantile(0.5) }

// ratio writes median [quartiles] of ratios.
func (s sample) ratio() string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f [%.3f-%.3f]", s.median(), s.quantile(0.25), s.quantile(0.75))
}
