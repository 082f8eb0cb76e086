package linux

import (
	"bytes"
	"strings"
)

// Cgroup is what the cgroup paths of a process say about who runs it.
type Cgroup struct {
	Path      string // the most telling path
	Unit      string // systemd unit: nginx.service, session-3.scope
	Container string // container id
	PodUID    string // Kubernetes pod uid, with dashes
}

// ParseCgroup parses /proc/PID/cgroup, of version 1, 2 or both.
func ParseCgroup(b []byte) Cgroup {
	var c Cgroup
	best := 0
	for n := 0; len(b) > 0 && n < 64; n++ {
		var line []byte
		line, b = nextLine(b)
		f := bytes.SplitN(line, []byte(":"), 3)
		if len(f) != 3 || len(f[2]) == 0 || f[2][0] != '/' {
			continue
		}
		path := Clean(f[2], maxCgroup)
		if r := rankHierarchy(string(f[1]), path); r > best {
			best, c.Path = r, path
		}
		d := parseCgroupPath(path)
		c.Unit = first(c.Unit, d.Unit)
		c.Container = first(c.Container, d.Container)
		c.PodUID = first(c.PodUID, d.PodUID)
	}
	return c
}

// first returns the first string that is not empty.
func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// rankHierarchy says how much a hierarchy's path is worth as the path to show.
func rankHierarchy(controllers, path string) int {
	switch {
	case path == "/":
		return 1
	case controllers == "":
		return 5
	case controllers == "name=systemd":
		return 4
	case strings.Contains(controllers, "memory"):
		return 3
	}
	return 2
}

// parseCgroupPath reads unit, container and pod from one path. The deepest
// component wins, as containers may run in containers.
func parseCgroupPath(path string) (c Cgroup) {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		part := parts[i]
		id, monitor := containerID(part)
		if id == "" && !monitor && i > 0 {
			id = namedContainer(parts[i-1], part)
		}
		switch {
		case id != "":
			c.Container = first(c.Container, id)
		case isUnit(part) && c.Container == "" && !monitor:
			c.Unit = first(c.Unit, part)
		}
		if uid := podUID(part); uid != "" {
			c.PodUID = first(c.PodUID, uid)
		}
	}
	return c
}

// isUnit reports whether a component is a systemd service or scope.
func isUnit(s string) bool {
	return strings.HasSuffix(s, ".service") || strings.HasSuffix(s, ".scope")
}

// containerID returns the container id of a component: docker-ID.scope,
// cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, SLICE:RUNTIME:ID or
// a bare ID; monitor is true for the runtime's own conmon process.
func containerID(s string) (id string, monitor bool) {
	s = strings.TrimSuffix(s, ".scope")
	if strings.Contains(s, "conmon-") {
		return "", true
	}
	if rest, ok := strings.CutPrefix(s, "lxc.payload."); ok {
		return rest, false
	}
	if isECS(s) {
		return s, false
	}
	if i := strings.LastIndexAny(s, "-:"); i >= 0 {
		s = s[i+1:]
	}
	if len(s) == 64 && isHex(s) {
		return s, false
	}
	return "", false
}

// namedContainer handles parents below which containers have free names.
func namedContainer(parent, s string) string {
	if s == "" {
		return ""
	}
	switch parent {
	case "lxc", "lxc.payload", "docker", "buildkit":
		if !isUnit(s) && !strings.HasSuffix(s, ".slice") {
			return s
		}
	}
	return ""
}

// isECS recognises Amazon ECS task containers: 32 hexadecimal digits, a dash
// and a decimal number.
func isECS(s string) bool {
	head, tail, ok := strings.Cut(s, "-")
	return ok && len(head) == 32 && isHex(head) && tail != "" && strings.Trim(tail, "0123456789") == ""
}

// podUID returns the pod uid in pod<uid> or kubepods-burstable-pod<uid>.slice.
func podUID(s string) string {
	s = strings.TrimSuffix(s, ".slice")
	if i := strings.Index(s, ".slice:"); i >= 0 {
		s = s[:i]
	}
	i := strings.LastIndex(s, "pod")
	if i < 0 || i > 0 && s[i-1] != '-' {
		return ""
	}
	uid := strings.ReplaceAll(s[i+3:], "_", "-")
	if len(uid) < 32 || len(uid) > 36 || !isHex(strings.ReplaceAll(uid, "-", "")) {
		return ""
	}
	return uid
}

// isHex reports whether s is not empty and only has lower-case hexadecimal
// digits.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}
