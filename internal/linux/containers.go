package linux

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of what is read to name a container.
const (
	maxBundle       = 2 << 20
	dockerTimeout   = 300 * time.Millisecond
	maxContainers   = 1024
	retryContainers = 10 * time.Second // before an unknown id is looked up again
)

// containerCache remembers names by container id.
type containerCache struct {
	mu    sync.Mutex // guards names
	names map[string]containerName
}

type containerName struct {
	name, pod, namespace string
	ok                   bool
	read                 time.Time
}

// ContainerNames returns the name of a container, and its pod and Kubernetes
// namespace when it has them. It reads the OCI bundles of containerd, CRI-O
// and Podman, then Docker's own files, then asks the Docker socket. Answers
// are cached; an unknown id is looked up again after ten seconds.
func (h *Host) ContainerNames(id string) (name, pod, namespace string, ok bool) {
	if !validContainer(id) {
		return "", "", "", false
	}
	c := &h.containers
	c.mu.Lock()
	defer c.mu.Unlock()
	n, known := c.names[id]
	if !known || !n.ok && time.Since(n.read) > retryContainers {
		n = h.lookUpContainer(id)
		n.read = time.Now()
		if c.names == nil || len(c.names) >= maxContainers {
			c.names = map[string]containerName{}
		}
		c.names[id] = n
	}
	return n.name, n.pod, n.namespace, n.ok
}

// validContainer keeps ids that could leave their directory, or match more
// than themselves in a glob, out of paths.
func validContainer(id string) bool {
	const allowed = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-"
	return id != "" && len(id) <= 128 && id[0] != '.' && strings.Trim(id, allowed) == "" && !strings.Contains(id, "..")
}

// lookUpContainer asks every source in turn.
func (h *Host) lookUpContainer(id string) containerName {
	for _, pattern := range []string{
		"run/containerd/io.containerd.runtime.v2.task/*/" + id + "/config.json",
		"run/k3s/containerd/io.containerd.runtime.v2.task/*/" + id + "/config.json",
		"run/containers/storage/*/" + id + "/userdata/config.json",
		"var/lib/containers/storage/*/" + id + "/userdata/config.json",
	} {
		files, _ := filepath.Glob(h.path(pattern))
		for _, file := range files {
			if n := readBundle(file); n.ok {
				return n
			}
		}
	}
	if n := h.readPodman(id); n.ok {
		return n
	}
	if n := readDocker(h.path("var/lib/docker/containers/" + id + "/config.v2.json")); n.ok {
		return n
	}
	return h.askDocker(id)
}

// nameKeys are annotations and labels that hold names, best first: containerd
// CRI, CRI-O and the kubelet, nerdctl.
var nameKeys = struct{ name, pod, namespace []string }{
	name:      []string{"io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name", "io.kubernetes.cri-o.Name"},
	pod:       []string{"io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"},
	namespace: []string{"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"},
}

// fromLabels picks the names out of annotations or labels.
func fromLabels(labels map[string]string) (n containerName) {
	pick := func(keys []string) string {
		for _, k := range keys {
			if v := labels[k]; v != "" {
				return Clean([]byte(v), 253)
			}
		}
		return ""
	}
	n.name, n.pod, n.namespace = pick(nameKeys.name), pick(nameKeys.pod), pick(nameKeys.namespace)
	if n.name == "" && labels["io.kubernetes.cri.container-type"] == "sandbox" {
		n.name = "POD"
	}
	n.ok = n.name != "" || n.pod != ""
	return n
}

// readBundle reads the annotations of an OCI runtime configuration.
func readBundle(file string) (n containerName) {
	_ = read(file, maxBundle, func(b []byte) error {
		var spec struct {
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(b, &spec); err != nil {
			return err
		}
		n = fromLabels(spec.Annotations)
		return nil
	})
	return n
}

// dockerContainer is what Docker's file and its socket have in common.
type dockerContainer struct {
	Name   string
	Config struct{ Labels map[string]string }
}

// names prefers the labels of dockershim over Docker's own long name.
func (d dockerContainer) names() containerName {
	n := fromLabels(d.Config.Labels)
	if n.name == "" {
		n.name = Clean([]byte(strings.TrimPrefix(d.Name, "/")), 253)
	}
	n.ok = n.name != ""
	return n
}

// readDocker reads a container's config.v2.json.
func readDocker(file string) (n containerName) {
	_ = read(file, maxBundle, func(b []byte) error {
		var d dockerContainer
		if err := json.Unmarshal(b, &d); err != nil {
			return err
		}
		n = d.names()
		return nil
	})
	return n
}

// readPodman finds the id in Podman's list of containers.
func (h *Host) readPodman(id string) (n containerName) {
	_ = read(h.path("var/lib/containers/storage/overlay-containers/containers.json"), maxBundle, func(b []byte) error {
		var list []struct {
			ID    string   `json:"id"`
			Names []string `json:"names"`
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		for _, c := range list {
			if c.ID == id && len(c.Names) > 0 {
				n = containerName{name: Clean([]byte(c.Names[0]), 253), ok: true}
			}
		}
		return nil
	})
	return n
}

// askDocker asks the Docker daemon (GET /containers/ID/json).
func (h *Host) askDocker(id string) (n containerName) {
	socket := h.DockerSocket
	if socket == "" {
		socket = h.path("run/docker.sock")
	}
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/containers/"+id+"/json", nil)
	if err != nil {
		return n
	}
	resp, err := client.Do(req)
	if err != nil {
		return n
	}
	defer resp.Body.Close()
	var d dockerContainer
	if resp.StatusCode != http.StatusOK || json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxBundle)).Decode(&d) != nil {
		return n
	}
	return d.names()
}
