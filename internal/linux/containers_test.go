package linux

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestContainerNames(t *testing.T) {
	cri := `{"ociVersion":"1.1.0","process":{"env":["A=b"]},"annotations":{"io.kubernetes.cri.container-name":"web",
		"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-name":"shop-5d9f","io.kubernetes.cri.sandbox-namespace":"prod"}}`
	for name, tc := range map[string]struct {
		file, content         string
		name, pod, ns, socket string
	}{
		"containerd": {"run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", cri, "web", "shop-5d9f", "prod", ""},
		"sandbox": {"run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
			`{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"p","io.kubernetes.cri.sandbox-namespace":"n"}}`, "POD", "p", "n", ""},
		"k3s":     {"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", cri, "web", "shop-5d9f", "prod", ""},
		"nerdctl": {"run/containerd/io.containerd.runtime.v2.task/default/ID/config.json", `{"annotations":{"nerdctl/name":"db"}}`, "db", "", "", ""},
		"cri-o": {"run/containers/storage/overlay-containers/ID/userdata/config.json",
			`{"annotations":{"io.kubernetes.container.name":"api","io.kubernetes.pod.name":"api-0","io.kubernetes.pod.namespace":"x"}}`, "api", "api-0", "x", ""},
		"podman": {"var/lib/containers/storage/overlay-containers/containers.json",
			`[{"id":"other","names":["no"]},{"id":"ID","names":["pets"]}]`, "pets", "", "", ""},
		"docker": {"var/lib/docker/containers/ID/config.v2.json", `{"Name":"/happy_gauss","Config":{"Labels":{"a":"b"}}}`, "happy_gauss", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := tree(t, map[string]string{strings.ReplaceAll(tc.file, "ID", testID): strings.ReplaceAll(tc.content, "ID", testID)})
			n, pod, ns, ok := h.ContainerNames(testID)
			if !ok || n != tc.name || pod != tc.pod || ns != tc.ns {
				t.Errorf("%q %q %q %v", n, pod, ns, ok)
			}
		})
	}
}

func TestContainerNamesHostile(t *testing.T) {
	h := tree(t, map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + testID + "/config.json": `{"annotations":`})
	for _, id := range []string{"", "../../etc", "*", "a/b", "..", testID, strings.Repeat("a", 1000)} {
		if n, _, _, ok := h.ContainerNames(id); ok {
			t.Errorf("%q: %q", id, n)
		}
	}
}

func TestContainerNamesFromDockerSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/containers/"+testID+"/json" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(`{"Id":"` + testID + `","Name":"/web_1","Config":{"Labels":{"com.docker.compose.service":"web"}}}`))
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	h := &Host{Root: t.TempDir(), DockerSocket: socket}
	for range 3 {
		if n, _, _, ok := h.ContainerNames(testID); !ok || n != "web_1" {
			t.Fatalf("%q %v", n, ok)
		}
	}
	h.ContainerNames("unknown")
	h.ContainerNames("unknown")
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}
