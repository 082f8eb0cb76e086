package probe

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/netnstest"
)

// TestRootFiltered: what a firewall makes of a connection, in a namespace of its own.
func TestRootFiltered(t *testing.T) {
	netnstest.Need(t, "nft")
	ns := netnstest.New(t)
	ns.Run(t, `nft -f - <<'END'
table inet fw {
	chain in {
	type filter hook input priority 0;
	tcp dport 81 drop
	tcp dport 82 reject with icmpx admin-prohibited
	tcp dport 83 reject with tcp reset
	tcp dport 84 tcp flags & (psh | ack) == psh | ack reject with tcp reset
	tcp dport 85 tcp flags & (psh | ack) == psh | ack drop
	}
}
END`)
	for _, port := range []int{84, 85} {
		ns.Listen(t, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for port, want := range map[uint16]struct{ stage, result, outcome string }{
		80: {"connect", "refused (ECONNREFUSED)", "refused"},
		81: {"connect", "no answer", "timeout"},
		82: {"connect", "unreachable (EHOSTUNREACH)", "unreachable"},
		83: {"connect", "refused (ECONNREFUSED)", "refused"},
		84: {"exchange", "reset (ECONNRESET)", "reset"},
		85: {"exchange", "no answer", "timeout"},
	} {
		var res *Result
		ns.Do(t, func() (err error) {
			res, err = Run(context.Background(), Target{Protocol: "redis", Host: "127.0.0.1", Port: port}, Options{Timeout: 300 * time.Millisecond, Repeat: 2})
			return err
		})
		last := res.Stages[len(res.Stages)-1]
		if last.Stage != want.stage || !strings.HasPrefix(last.Result, want.result+", 2 of 2 times") || len(res.Cases) != 1 || res.Cases[0].Outcome.Or("") != want.outcome {
			t.Errorf("port %d: %s %s, want %v", port, last.Stage, last.Result, want)
		}
	}
}

// TestRootRealServers: programs as they are installed answer, and none of them writes
// about a failed login or a protocol error.
func TestRootRealServers(t *testing.T) {
	ns := netnstest.New(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf("daemon off;\npid %[1]s/pid;\nerror_log %[1]s/nginx.log info;\nevents {}\nhttp { access_log off; server { listen 127.0.0.1:8080; return 204; } }\n", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		command  []string
		protocol string
		port     uint16
		log      string // "" for standard output
		bad      []string
	}{
		{[]string{"redis-server", "--port", "8081", "--bind", "127.0.0.1", "--save", "", "--loglevel", "verbose", "--dir", dir}, "redis", 8081, "", []string{"rror", "denied", "Protocol"}},
		{[]string{"nginx", "-c", conf, "-e", dir + "/nginx.log"}, "http", 8080, dir + "/nginx.log", []string{"client sent", "[error]", "prematurely"}},
	} {
		t.Run(s.protocol, func(t *testing.T) {
			netnstest.Need(t, s.command[0])
			log := s.log
			if log == "" {
				log = filepath.Join(dir, s.protocol+".log")
			}
			start(t, ns, s.command, filepath.Join(dir, s.protocol+".log"), fmt.Sprintf("127.0.0.1:%d", s.port))
			var res *Result
			ns.Do(t, func() (err error) {
				res, err = Run(context.Background(), Target{Protocol: s.protocol, Host: "127.0.0.1", Port: s.port, Path: "/"}, Options{})
				return err
			})
			if !res.Healthy || res.Connections != 1 {
				t.Errorf("%d connections: %s", res.Connections, res.Verdict)
			}
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range s.bad {
				if strings.Contains(string(text), bad) {
					t.Errorf("its log has %q:\n%s", bad, text)
				}
			}
		})
	}
}

// start runs a server in a namespace until the test ends, and waits until it listens.
func start(t *testing.T, ns netnstest.Space, command []string, log, at string) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	ns.Do(t, cmd.Start)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nginx ends its workers, which outlive it when it is killed
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		up := false
		ns.Do(t, func() error {
			c, err := net.DialTimeout("tcp", at, time.Second)
			if up = err == nil; up {
				c.Close()
			}
			return nil
		})
		if up {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen", command[0])
		}
	}
}
