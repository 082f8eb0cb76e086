package hostdoc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// TestStable collects this host several times while connections come and go: the
// stable form must be the same to the byte.
func TestStable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var first []byte
	for i := range 20 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		h, err := Collect(context.Background(), &linux.Host{}, Options{OwnOnly: true})
		if err != nil {
			t.Skip(err)
		}
		if i%2 == 0 {
			c.Close()
		} else {
			defer c.Close()
		}
		s := h.Stable()
		s.Namespaces[0].Listeners = own(s.Namespaces[0].Listeners, l) // other tests listen at the same time
		s.Services = nil
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatalf("round %d differs:\n%s\n%s", i, first, b)
		}
	}
}

func own(list []Listener, l net.Listener) (out []Listener) {
	for _, x := range list {
		if int(x.Port) == l.Addr().(*net.TCPAddr).Port {
			out = append(out, x)
		}
	}
	return out
}

// secret is planted in every file below, in each place that people put one.
const secret = "hunter2&/=+s3cr3t"

var planted = map[string]string{
	"etc/nginx/nginx.conf":                   "http { upstream a { server 10.0.0.1:80; } server { listen 80; auth_basic \"S\"; proxy_set_header Authorization \"Bearer S\"; proxy_set_header X-Key S; location / { proxy_pass http://user:S@10.0.0.1/?token=S; } ssl_password_file /S; set $key S; server_name a; } }\nenv API_KEY=S;\n",
	"etc/haproxy/haproxy.cfg":                "global\n stats socket /x user S\n setenv PASSWORD S\nuserlist u\n user admin insecure-password S\nbackend b\n mode http\n http-request set-header Authorization \"Basic S\"\n server a 10.0.0.1:80 check cookie S\n option httpchk GET /?key=S\n",
	"etc/redis/redis.conf":                   "requirepass S\nmasterauth S\nuser default on >S ~* +@all\ntimeout 30\nrename-command CONFIG S\n",
	"etc/postgresql/15/main/postgresql.conf": "primary_conninfo = 'host=a password=S'\nssl_passphrase_command = 'echo S'\nidle_session_timeout = 5min\n",
	"etc/mysql/my.cnf":                       "[client]\npassword = S\n[mysqld]\nwait_timeout = 60\n# S\n[mysqldump]\npassword=S\n",
	"etc/apache2/apache2.conf":               "Listen 80\nKeepAliveTimeout 5\nSetEnv DB_PASSWORD S\nRequestHeader set Authorization \"Basic S\"\nSSLPassPhraseDialog exec:/S\n",
	"etc/ssh/sshd_config":                    "Port 22\nClientAliveInterval 30\nForceCommand echo S\nBanner S\n",
	"etc/pgbouncer/pgbouncer.ini":            "[databases]\nshop = host=10.0.0.3 user=u password=S\n* = host=10.0.0.4 password=S\n[pgbouncer]\nauth_query = select S\nserver_idle_timeout = 30\n",
	"etc/sysctl.d/60-x.conf":                 "net.core.somaxconn = 1024\n",
	"etc/resolv.conf":                        "nameserver 10.0.0.53\n",
	"etc/wireguard/wg0.conf":                 "[Interface]\nPrivateKey = S\n",
	"root/.kube/config":                      "token: S\n",
	"etc/cloud/cloud.cfg":                    "password: S\n",
}

// TestSecrets plants secrets in the files of an image, and looks for them in every
// form of the document, plain and encoded.
func TestSecrets(t *testing.T) {
	root := t.TempDir()
	n := 0
	for name, text := range planted {
		n += strings.Count(text, "S ") + strings.Count(text, "S\n") + strings.Count(text, "S\"")
		text = strings.ReplaceAll(text, "S", secret)
		for _, word := range []string{"SetEnv", "SSLPassPhraseDialog"} { // names with that letter
			text = strings.ReplaceAll(text, strings.ReplaceAll(word, "S", secret), word)
		}
		text = strings.ReplaceAll(text, "PA"+secret+secret+"WORD", "PASSWORD")
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n < 20 {
		t.Fatalf("only %d secrets are planted", n)
	}
	h, err := Collect(context.Background(), &linux.Host{Root: root}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Services) < 8 {
		t.Errorf("only %d services were read: %+v", len(h.Services), h.Services)
	}
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{secret, "hunter2", "s3cr3t", url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
		for what, text := range map[string]string{"json": string(b), "markdown": h.Markdown(nil)} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s shows %q: ...%s", what, form, text[max(0, i-80):i+len(form)])
			}
		}
	}
}

func TestStableText(t *testing.T) {
	if got := stableText("tcp dport 5432 counter packets 3 bytes 180 reject with tcp reset"); got != "tcp dport 5432 counter reject with tcp reset" {
		t.Error(got)
	}
}

func TestDiff(t *testing.T) {
	a := &Host{Schema: Schema, Name: "a", Namespaces: []Namespace{{ID: "host", Sysctls: map[string]string{"net.core.somaxconn": "128"}, Listeners: []Listener{{Addr: "::", Port: 80, Backlog: 128}, {Addr: "::", Port: 22}}}}}
	b := &Host{Schema: Schema, Name: "a", Namespaces: []Namespace{{ID: "host", Sysctls: map[string]string{"net.core.somaxconn": "4096"}, Listeners: []Listener{{Addr: "::", Port: 443, Service: "nginx"}, {Addr: "::", Port: 80, Backlog: 4096}}}}}
	got, err := Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		lines = append(lines, d.String())
	}
	want := []string{"namespaces host · listeners :: 22: gone: yes", "namespaces host · listeners :: 443: new: nginx", "namespaces host · listeners :: 80 · backlog: 128 -> 4096", "namespaces host · sysctls · net.core.somaxconn: 128 -> 4096"}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	if same, err := Diff(a, a); err != nil || len(same) > 0 {
		t.Errorf("%v %v", same, err)
	}
}
