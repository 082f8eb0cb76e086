package logs

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// start runs a shell that says when it is ready, and ends with the test.
func start(t *testing.T, dir, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	return cmd
}

func TestLogOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := start(t, dir, `exec 2>app.stderr; echo ready; read x; echo "panic: $x" >&2; kill -9 $$`)
	r := NewReader(&linux.Host{})
	r.Remember(cmd.Process.Pid)
	cmd.Process.Kill()
	cmd.Wait()
	f, err := os.OpenFile(filepath.Join(dir, "app.stderr"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("panic: last words\n")
	f.Close()
	text, file, looked := r.Around(cmd.Process.Pid, time.Now(), 2*time.Second)
	if !looked || text != "panic: last words" || filepath.Base(file) != "app.stderr" {
		t.Errorf("%q %q %v", text, file, looked)
	}
	if _, _, looked := NewReader(&linux.Host{}).Around(cmd.Process.Pid, time.Now(), time.Second); looked {
		t.Error("a process that nobody noticed has a log")
	}
}

func TestLogThatWasDeleted(t *testing.T) {
	dir := t.TempDir()
	cmd := start(t, dir, `exec 2>app.log; echo "$(date '+%Y-%m-%d %H:%M:%S') gone wrong" >&2; rm app.log; echo ready; read x`)
	text, _, looked := NewReader(&linux.Host{}).Around(cmd.Process.Pid, time.Now(), 5*time.Second)
	if !looked || !strings.Contains(text, "gone wrong") {
		t.Errorf("%q %v", text, looked)
	}
}

func TestLogOfTheParent(t *testing.T) {
	dir := t.TempDir()
	cmd := start(t, dir, `exec 9>master.log; sh -c 'exec 9>&-; echo $$ >child; echo ready; read x; echo' ; echo "$(date '+%Y-%m-%d %H:%M:%S') done" >&9`)
	_ = cmd
	b, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range NewReader(&linux.Host{}).Files(pid) {
		if filepath.Base(f.Path) == "master.log" {
			return
		}
	}
	t.Errorf("the parent's log was not found: %+v", NewReader(&linux.Host{}).Files(pid))
}

func TestRootNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs nginx and root")
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	conf := fmt.Sprintf(`daemon off; worker_processes 1; user root; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http { access_log %[1]s/access.log; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen unix:%[1]s/sock; location / { proxy_pass http://unix:%[1]s/nobody:/; } } }`, dir)
	if err := os.WriteFile(dir+"/conf", []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-c", dir+"/conf")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", dir+"/sock") }}}
	deadline := time.Now().Add(10 * time.Second)
	var resp *http.Response
	for resp, err = client.Get("http://x/"); err != nil && time.Now().Before(deadline); resp, err = client.Get("http://x/") {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, pid := range append([]int{cmd.Process.Pid}, workers(cmd.Process.Pid)...) {
		begin := time.Now()
		text, file, looked := NewReader(&linux.Host{}).Around(pid, time.Now(), 5*time.Second)
		t.Logf("%v: %q", time.Since(begin), text)
		if !looked || !strings.Contains(text, "connect() to unix:") || !strings.Contains(file, "error.log") {
			t.Errorf("process %d: %q in %q, looked %v", pid, text, file, looked)
		}
	}
}

// workers returns the children of a process.
func workers(pid int) (out []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(f)
		out = append(out, n)
	}
	return out
}
