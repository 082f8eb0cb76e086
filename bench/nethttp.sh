#!/bin/sh
# Runs the tests of Go's own net/http through steady: copies GOROOT to a temporary
# directory, lets every http.Transport there send through a steady.Transport around
# it, and runs each test in a process of its own, first as it is and then through
# steady. Nothing of Go is kept. It prints a line for each test that fails, and the
# counts. Takes a few minutes.
#
#	bench/nethttp.sh [-run REGEXP] [-v] [-own] [-least N]	N: how many must pass; -own: by Transport.OwnPool
set -eu
cd "$(dirname "$0")/.."
run=. verbose='' least=605
while [ $# -gt 0 ]; do
	case $1 in
	-run) run=$2; shift ;;
	-least) least=$2; shift ;;
	-v) verbose=1 ;;
	-own) OWN_POOL=1 least=0; export OWN_POOL ;;
	*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
	shift
done

tmp=$(mktemp -d)
[ -n "${KEEP:-}" ] || trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
sys=$(go list -m -f '{{.Dir}}' golang.org/x/sys)
cp -a "$(go env GOROOT)" "$tmp/go"
chmod -R u+w "$tmp/go/src/net/http"
mkdir -p "$tmp/go/src/steady/unix"
cp "$sys"/unix/*.go "$sys"/unix/*.s "$tmp/go/src/steady/unix/"
chmod -R u+w "$tmp/go/src/steady"
rm -f "$tmp"/go/src/steady/unix/*_test.go
sed -i 's|// import "golang.org/x/sys/unix"||' "$tmp"/go/src/steady/unix/*.go
for f in steady/*.go; do
	case $f in *_test.go) continue ;; esac
	# The transport of the test itself carries the requests: tests look at its insides.
	sed -e 's|"golang.org/x/sys/unix"|"steady/unix"|' \
		-e 's|t.inner = base.Clone()|t.inner = base.InPlace()|' \
		-e 's|t.inner.Dial = nil$|_ = 0|' \
		-e 's|rt\.RoundTrip(&p.req)|rt.PlainRoundTrip(\&p.req)|' \
		-e 's|t.inner.RoundTrip(req)|t.inner.PlainRoundTrip(req)|' \
		-e 's/\(inner\|other\)\.\(CancelRequest\|CloseIdleConnections\)(/\1.Plain\2(/' "$f" >"$tmp/go/src/steady/${f##*/}"
done
http=$tmp/go/src/net/http
sed -i 's|^	return t.roundTrip(req)$|	if Through != nil {\n\t\treturn Through(t).RoundTrip(req)\n\t}\n&|' "$http/roundtrip.go"
sed -i -e 's|^func (t \*Transport) \(CancelRequest\)(req \*Request) {|func (t *Transport) Plain\1(req *Request) {|' \
	-e 's|^func (t \*Transport) \(CloseIdleConnections\)() {|func (t *Transport) Plain\1() {|' "$http/transport.go"
cat >"$http/through.go" <<'G'
package http

// Carrier carries the requests of a Transport.
type Carrier interface {
	RoundTrip(*Request) (*Response, error)
	CancelRequest(*Request)
	CloseIdleConnections()
}

// CancelRequest and CloseIdleConnections reach the carrier, which calls those of Transport.
func (t *Transport) CancelRequest(req *Request) {
	if Through != nil {
		Through(t).CancelRequest(req)
		return
	}
	t.PlainCancelRequest(req)
}

func (t *Transport) CloseIdleConnections() {
	if Through != nil {
		Through(t).CloseIdleConnections()
		return
	}
	t.PlainCloseIdleConnections()
}

// Through returns what carries the requests of a Transport.
var Through func(*Transport) Carrier

// InPlace does what Clone does first.
func (t *Transport) InPlace() *Transport {
	t.nextProtoOnce.Do(t.onceSetNextProtoDefaults)
	return t
}

// PlainRoundTrip is RoundTrip as it was.
func (t *Transport) PlainRoundTrip(req *Request) (*Response, error) { return t.roundTrip(req) }
G
cat >"$http/through_test.go" <<'G'
package http_test

import (
	"net/http"
	"os"
	"steady"
	"sync"
)

func init() {
	if os.Getenv("THROUGH_STEADY") == "" {
		return
	}
	var all sync.Map
	http.Through = func(t *http.Transport) http.Carrier {
		s, ok := all.Load(t)
		if !ok {
			s, _ = all.LoadOrStore(t, &steady.Transport{Base: t, Attempts: 1, NoBreaker: true, NoThrottle: true, OwnPool: os.Getenv("OWN_POOL") != ""})
		}
		return s.(*steady.Transport)
	}
}
G
export GOROOT="$tmp/go" GOTOOLCHAIN=local GOFLAGS= GOWORK=off
(cd "$tmp/go/src" && "$GOROOT/bin/go" test -vet=off -c -o "$tmp/http.test" net/http)
cd "$http"
"$tmp/http.test" -test.list "$run" | grep '^Test' >"$tmp/names"
one() { "$tmp/http.test" -test.short -test.timeout 40s -test.run "^$1\$" >"$tmp/out-$1" 2>&1; }
pass() { # prints the names that pass; a failure is tried once more: some tests hang on the clock
	while read -r t; do
		if one "$t" || one "$t"; then echo "$t"; elif [ -n "$verbose" ] && [ -n "${THROUGH_STEADY:-}" ]; then
			sed 's/^/    /' "$tmp/out-$t" | head -30 >&2
		fi
	done
}
pass <"$tmp/names" >"$tmp/plain"
THROUGH_STEADY=1
export THROUGH_STEADY
pass <"$tmp/plain" >"$tmp/steady"
plain=$(wc -l <"$tmp/plain") ours=$(wc -l <"$tmp/steady")
grep -vxFf "$tmp/steady" "$tmp/plain" | sed 's/^/fails through steady: /' || true
grep -vxFf "$tmp/plain" "$tmp/names" | sed 's/^/fails without steady: /' || true
echo "net/http of $("$GOROOT/bin/go" env GOVERSION): $plain of $(wc -l <"$tmp/names") tests pass as they are, $ours through steady"
[ "$run" != . ] || [ "$ours" -ge "$least" ]
