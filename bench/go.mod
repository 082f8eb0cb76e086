module github.com/holdfast-project/holdfast/bench

go 1.26.0

require (
	github.com/holdfast-project/holdfast v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/expr-lang/expr v1.17.8 // indirect
	github.com/goccy/go-yaml v1.19.2 // indirect
)

replace github.com/holdfast-project/holdfast => ../
