module github.com/holdfast-project/holdfast/steady/sqlretry

go 1.26.0

require github.com/holdfast-project/holdfast v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/holdfast-project/holdfast => ../..
