package cli

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-project/holdfast/internal/netnstest"
)

// TestRootRepair repairs real servers in namespaces of their own.
func TestRootRepair(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes 40 seconds, most of them waiting for timers; runs without -short")
	}
	for _, program := range []string{"unshare", "nginx", "haproxy", "redis-server", "gunicorn", "node", "psql", "python3", "sysctl", "nft", "ip"} {
		netnstest.Need(t, program)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/root", WorkdirRoot: t.TempDir()})
}
