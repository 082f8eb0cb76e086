module github.com/holdfast-project/holdfast/bench

go 1.26.0

require (
	github.com/holdfast-project/holdfast v0.0.0
	golang.org/x/sys v0.49.0
)

require github.com/Shopify/toxiproxy/v2 v2.5.0

require (
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

require (
	github.com/avast/retry-go/v5 v5.1.1
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3
	github.com/expr-lang/expr v1.17.8 // indirect
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/goccy/go-yaml v1.19.2 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8
	github.com/influxdata/tdigest v0.0.1 // indirect
)

replace github.com/holdfast-project/holdfast => ../
