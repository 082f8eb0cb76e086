//go:build !linux

package nft

import "github.com/holdfast-project/holdfast/internal/linux"

// Ruleset needs Linux.
func (r *Reader) Ruleset(linux.Netns) (Ruleset, error) { return Ruleset{}, linux.ErrUnsupported }
