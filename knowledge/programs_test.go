package knowledge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"go/parser"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/holdfast-project/holdfast/fact"
)

// eachFix calls visit for every fix of the embedded causes, once.
func eachFix(t *testing.T, visit func(cause string, f *fact.Fix)) {
	t.Helper()
	base, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range base.Causes() {
		for i := range c.Fixes {
			f := &c.Fixes[i]
			if key := f.Title + strings.Join(f.Commands, "\n"); !seen[key] {
				seen[key] = true
				visit(c.ID, f)
			}
		}
	}
}

// need finds a program, or skips: scripts/install-test-packages installs them.
func need(t *testing.T, names ...string) string {
	t.Helper()
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
		if _, err := os.Stat("/usr/sbin/" + n); err == nil {
			return "/usr/sbin/" + n
		}
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// refused runs a program and returns what it said, when it did not like it.
func refused(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%v\n%s", err, bytes.TrimSpace(out))
}

// concrete puts values in the place of the words that a reader replaces.
var concrete = strings.NewReplacer("ADDRESS", "127.0.0.1", "NAME", "example.org", "ZONE", "zone_one", "PORT", "443", "DEVICE", "lo")

// both are the lines of an edit and those that undo it, as far as they are known.
func both(f *fact.Fix) map[string][]string {
	m := map[string][]string{"lines": f.Commands}
	if len(f.Undo) > 0 && !strings.Contains(strings.Join(f.Undo, " "), old) {
		m["was"] = f.Undo
	}
	return m
}

// certificate writes a key and a certificate for servers that want one.
func certificate(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "both.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// nginxConf puts lines into their place of a small configuration.
func nginxConf(dir, cert, at string, lines []string) string {
	place := map[string]string{}
	place[at] = concrete.Replace(strings.Join(lines, "\n"))
	events, pass, listen := "events {}", "proxy_pass http://up;", "listen 127.0.0.1:1;"
	if strings.Contains(place["main"], "events") {
		events = ""
	}
	if strings.Contains(place["location"], "_pass ") {
		pass = ""
	}
	if strings.Contains(place["server"], "listen ") {
		listen = ""
	}
	return fmt.Sprintf(`pid %[1]s/pid; error_log %[1]s/log;
%[3]s
%[4]s
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  limit_conn_zone $binary_remote_addr zone=zone_one:1m;
  ssl_certificate %[2]s; ssl_certificate_key %[2]s; ssl_client_certificate %[2]s;
  %[5]s
  upstream up { server 127.0.0.1:1; %[6]s }
  server { %[7]s %[8]s location / { %[9]s %[10]s } }
}
`, dir, cert, place["main"], events, place["http"], place["upstream"], listen, place["server"], pass, place["location"])
}

// wants is a version of a product that a title asks for.
var wants = regexp.MustCompile(`\bnginx (\d+)\.(\d+)\.(\d+)`)

func version(m []string) int {
	n := 0
	for _, s := range m[1:] {
		x, _ := strconv.Atoi(s)
		n = n*1000 + x
	}
	return n
}

// TestNginxTakesTheFixes asks nginx -t.
func TestNginxTakesTheFixes(t *testing.T) {
	t.Parallel()
	nginx := need(t, "nginx")
	dir := t.TempDir()
	cert := certificate(t, dir)
	said, _ := exec.Command(nginx, "-v").CombinedOutput()
	has := regexp.MustCompile(`nginx/(\d+)\.(\d+)\.(\d+)`).FindStringSubmatch(string(said))
	n := 0
	eachFix(t, func(cause string, f *fact.Fix) {
		if f.Product != "nginx" {
			return
		}
		if m := wants.FindStringSubmatch(f.Title); m != nil && has != nil && version(m) > version(has) {
			t.Logf("%s: %q needs %s, here is %s", cause, f.Title, m[0], has[0])
			return
		}
		for what, lines := range both(f) {
			n++
			file := filepath.Join(dir, fmt.Sprintf("%s-%d.conf", cause, n))
			if err := os.WriteFile(file, []byte(nginxConf(dir, cert, f.At, lines)), 0o600); err != nil {
				t.Fatal(err)
			}
			if s := refused(nginx, "-t", "-q", "-p", dir, "-c", file); s != "" && !strings.Contains(s, "Permission denied") {
				t.Errorf("%s: nginx refuses %s of %q: %s", cause, what, f.Title, s)
			}
		}
	})
	if n < 15 {
		t.Errorf("only %d settings of nginx were tried", n)
	}
	file := filepath.Join(dir, "wrong.conf")
	if err := os.WriteFile(file, []byte(nginxConf(dir, cert, "http", []string{"keepalive_timeuot 75s;"})), 0o600); err != nil {
		t.Fatal(err)
	}
	if refused(nginx, "-t", "-q", "-p", dir, "-c", file) == "" {
		t.Error("nginx takes a directive that does not exist: this test tests nothing")
	}
}

// TestHAProxyTakesTheFixes asks haproxy -c.
func TestHAProxyTakesTheFixes(t *testing.T) {
	t.Parallel()
	haproxy := need(t, "haproxy")
	dir := t.TempDir()
	try := func(at string, lines []string) string {
		place := map[string]string{at: "  " + concrete.Replace(strings.Join(lines, "\n  "))}
		conf := fmt.Sprintf("global\n%s\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n%s\nfrontend f\n  bind 127.0.0.1:1\n  default_backend b\n%s\nbackend b\n%s\n",
			place["global"], place["defaults"], place["frontend"], place["backend"])
		file := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return refused(haproxy, "-c", "-f", file)
	}
	n := 0
	eachFix(t, func(cause string, f *fact.Fix) {
		if f.Product != "haproxy" {
			return
		}
		for what, lines := range both(f) {
			n++
			if s := try(f.At, lines); s != "" {
				t.Errorf("%s: haproxy refuses %s of %q: %s", cause, what, f.Title, s)
			}
		}
	})
	if n < 8 {
		t.Errorf("only %d settings of HAProxy were tried", n)
	}
	if try("backend", []string{"option pgsql-check"}) == "" || try("backend", []string{"server one 127.0.0.1:443 ssl sni str(example.org)"}) == "" {
		t.Error("haproxy takes what it refused when this was measured: this test tests nothing")
	}
}

// TestSshdTakesTheFixes asks sshd -t.
func TestSshdTakesTheFixes(t *testing.T) {
	t.Parallel()
	sshd, keygen := need(t, "sshd"), need(t, "ssh-keygen")
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if s := refused(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key); s != "" {
		t.Fatal(s)
	}
	eachFix(t, func(cause string, f *fact.Fix) {
		if f.Product != "sshd" {
			return
		}
		for what, lines := range both(f) {
			file := filepath.Join(dir, "sshd_config")
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\nHostKey "+key+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s := refused(sshd, "-t", "-f", file)
			if strings.Contains(s, "privilege separation") {
				t.Skip("sshd has no directory for privilege separation here")
			}
			if s != "" {
				t.Errorf("%s: sshd refuses %s of %q: %s", cause, what, f.Title, s)
			}
		}
	})
}

// TestNftTakesTheFixes asks nft -c, in a namespace of its own.
func TestNftTakesTheFixes(t *testing.T) {
	t.Parallel()
	nft, unshare := need(t, "nft"), need(t, "unshare")
	if s := refused(unshare, "-rn", nft, "list", "ruleset"); s != "" {
		t.Skipf("no namespace here: %s", s)
	}
	const frame = `add table inet filter
add chain inet filter input { type filter hook input priority 0; }
add chain inet filter forward { type filter hook forward priority 0; }
add chain inet filter output { type filter hook output priority 0; }
add table inet mangle
add chain inet mangle forward { type filter hook forward priority -150; }
add chain inet mangle postrouting { type filter hook postrouting priority -150; }
add table inet raw
add chain inet raw prerouting { type filter hook prerouting priority -300; }
add chain inet raw output { type filter hook output priority -300; }
add table ip nat
add chain ip nat postrouting { type nat hook postrouting priority 100; }
`
	try := func(rule string) string {
		file := filepath.Join(t.TempDir(), "rules")
		if err := os.WriteFile(file, []byte(frame+concrete.Replace(rule)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return refused(unshare, "-rn", nft, "-c", "-f", file)
	}
	n := 0
	eachFix(t, func(cause string, f *fact.Fix) {
		for _, c := range f.Commands {
			rule, ok := strings.CutPrefix(c, "nft ")
			if !ok || !strings.HasPrefix(rule, "insert ") && !strings.HasPrefix(rule, "add ") {
				continue
			}
			n++
			if s := try(regexp.MustCompile(`\{\{.*?\}\}`).ReplaceAllString(rule, "input")); s != "" && !strings.Contains(s, "Operation not supported") {
				t.Errorf("%s: nft refuses %q: %s", cause, c, s)
			}
		}
	})
	if n < 8 {
		t.Errorf("only %d rules were tried", n)
	}
	if try("insert rule inet filter input ct state inavlid drop") == "" {
		t.Error("nft takes a state that does not exist: this test tests nothing")
	}
}

// TestRedisTakesTheFixes starts Redis on a socket file and sets what fixes set.
func TestRedisTakesTheFixes(t *testing.T) {
	t.Parallel()
	server, cli := need(t, "redis-server"), need(t, "redis-cli")
	dir, err := os.MkdirTemp("", "hf-redis-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sock := filepath.Join(dir, "s")
	p := exec.Command(server, "--port", "0", "--unixsocket", sock, "--dir", dir, "--save", "")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); refused(cli, "-s", sock, "PING") != ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Redis does not start")
		}
	}
	set := func(c string) string {
		out, _ := exec.Command("sh", "-c", cli+" -s "+sock+" "+c).CombinedOutput()
		return string(bytes.TrimSpace(out))
	}
	n := 0
	eachFix(t, func(cause string, f *fact.Fix) {
		for _, c := range f.Commands {
			c = strings.TrimPrefix(c, "redis-cli ")
			if !strings.HasPrefix(strings.ToUpper(c), "CONFIG SET ") {
				continue
			}
			if password, ok := strings.CutPrefix(c, "CONFIG SET requirepass "); ok {
				defer func() { cli += " --no-auth-warning -a " + password }()
			}
			n++
			// a descriptor limit of this host is no fault of the fix
			if got := set(c); got != "OK" && !strings.Contains(got, "maximum number of open files") && !strings.Contains(got, "not able to handle") {
				t.Errorf("%s: Redis says %q to %s", cause, got, c)
			}
		}
	})
	if n < 3 {
		t.Errorf("only %d settings of Redis were tried", n)
	}
	if set("CONFIG SET maxclinets 5") == "OK" {
		t.Error("Redis takes a setting that does not exist: this test tests nothing")
	}
}

// TestPostgreSQLTakesTheFixes asks the server for the value of each setting.
func TestPostgreSQLTakesTheFixes(t *testing.T) {
	t.Parallel()
	list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(list) == 0 {
		t.Skip("PostgreSQL is not installed")
	}
	postgres := list[len(list)-1]
	dir, err := os.MkdirTemp("", "hf-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "postgresql.conf")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(conf, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	alter := regexp.MustCompile(`(?i)^ALTER SYSTEM SET (\w+) = '?([^';]*)'?;$`)
	check := func(key, value string) string {
		args := []string{postgres, "-D", dir, "--config-file=" + conf, "-c", key + "=" + value, "-C", key}
		if os.Getuid() == 0 { // PostgreSQL does not run as root
			args = append([]string{"runuser", "-u", "nobody", "--"}, args...)
		}
		return refused(args[0], args[1:]...)
	}
	if s := check("max_connections", "100"); s != "" {
		t.Skipf("postgres -C does not work here: %s", s)
	}
	eachFix(t, func(cause string, f *fact.Fix) {
		for _, c := range f.Commands {
			if m := alter.FindStringSubmatch(c); m != nil {
				if s := check(m[1], m[2]); s != "" {
					t.Errorf("%s: PostgreSQL refuses %s: %s", cause, c, s)
				}
			}
		}
	})
	if check("max_connectoins", "100") == "" {
		t.Error("PostgreSQL takes a setting that does not exist: this test tests nothing")
	}
}

// TestSysctlsExist: a key that this kernel does not have helps nobody. Modules
// that are not loaded have theirs later.
func TestSysctlsExist(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_retries2"); err != nil {
		t.Skip("no sysctls here")
	}
	eachFix(t, func(cause string, f *fact.Fix) {
		for _, c := range f.Commands {
			m := assigned.FindStringSubmatch(c)
			if m == nil {
				continue
			}
			if m[1] == "net.ipv4.tcp_tw_recycle" {
				continue // gone since Linux 4.12, which is what the cause says
			}
			path := "/proc/sys/" + strings.ReplaceAll(strings.ReplaceAll(m[1], "DEVICE", "lo"), ".", "/")
			if _, err := os.Stat(path); err == nil {
				continue
			}
			if !strings.HasPrefix(m[1], "net.netfilter.") && !strings.HasPrefix(m[1], "net.mptcp.") {
				t.Errorf("%s: %q sets %s, which this kernel does not have", cause, f.Title, m[1])
			}
		}
	})
}

// TestCountersExist: a counter of the kernel that a page names is one that nstat
// shows here.
func TestCountersExist(t *testing.T) {
	t.Parallel()
	var have []string
	for _, file := range []string{"snmp", "netstat"} {
		b, err := os.ReadFile("/proc/net/" + file)
		if err != nil {
			t.Skip("no counters here: ", err)
		}
		for line := range strings.Lines(string(b)) {
			group, names, _ := strings.Cut(line, ":")
			for _, name := range strings.Fields(names) {
				have = append(have, group+name)
			}
		}
	}
	others := []string{"TcpExtTCPAOBad", "TcpEstablishedTimeout"} // younger than Linux 6.6; of AWS
	counter := regexp.MustCompile(`\b(?:MP)?Tcp[A-Z]\w+`)
	missing := func(in string) (names []string) {
		for _, c := range counter.FindAllString(in, -1) {
			if !slices.Contains(have, c) && !slices.Contains(others, c) && !strings.HasPrefix(c, "MPTcp") {
				names = append(names, c)
			}
		}
		return names
	}
	if got := missing("nstat -az TcpOutRsts TcpExtNoSuchThing"); !slices.Equal(got, []string{"TcpExtNoSuchThing"}) {
		t.Fatalf("missing: %q", got)
	}
	base, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range base.Causes() {
		text := c.Confirm + "\n" + c.Prevent
		for i := range c.Fixes {
			text += "\n" + c.Fixes[i].Title + "\n" + strings.Join(c.Fixes[i].Commands, "\n")
		}
		if got := missing(text); got != nil {
			t.Errorf("%s names counters that this kernel does not have: %q", c.ID, got)
		}
	}
}

// TestShellTakesTheCommands: what is to be copied into a shell is one command,
// with its quotes closed.
func TestShellTakesTheCommands(t *testing.T) {
	t.Parallel()
	sh := need(t, "sh")
	sql := regexp.MustCompile(`^[A-Z]{3,} `)
	n := 0
	eachFix(t, func(cause string, f *fact.Fix) {
		if f.Kind == "edit" {
			return
		}
		for _, c := range append(append([]string{}, f.Commands...), append(f.Undo, f.Verify...)...) {
			c = regexp.MustCompile(`\{\{.*?\}\}`).ReplaceAllString(c, "x")
			if sql.MatchString(c) {
				continue
			}
			n++
			if s := refused(sh, "-n", "-c", c); s != "" {
				t.Errorf("%s: %q is no command of a shell: %s", cause, c, s)
			}
		}
	})
	if n < 100 {
		t.Errorf("only %d commands were read", n)
	}
}

// TestCodeParses: code of fixes is code.
func TestCodeParses(t *testing.T) {
	t.Parallel()
	node, _ := exec.LookPath("node")
	eachFix(t, func(cause string, f *fact.Fix) {
		all := strings.Join(f.Commands, "\n")
		switch {
		case f.Product == "go" && f.At == "code":
			if _, err := parser.ParseExpr("func() {\n" + strings.ReplaceAll(all, "http.Server{", "_ = http.Server{") + "\n}"); err != nil {
				t.Errorf("%s: %q: %v", cause, all, err)
			}
		case f.Product == "kubernetes":
			var v any
			if err := yaml.Unmarshal([]byte(all), &v); err != nil {
				t.Errorf("%s: %q: %v", cause, all, err)
			}
		case f.Product == "node" && f.At == "code" && node != "":
			file := filepath.Join(t.TempDir(), "x.js")
			if err := os.WriteFile(file, []byte(all), 0o600); err != nil {
				t.Fatal(err)
			}
			if s := refused(node, "--check", file); s != "" {
				t.Errorf("%s: %s", cause, s)
			}
		}
	})
}
