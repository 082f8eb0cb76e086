//go:build linux

package lab

// serverRecipes are scenarios with real server programs.
var serverRecipes []recipe
