package linux

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxFile bounds a configuration file.
const maxFile = 8 << 20

// ReadFile reads a file of the host, named from the host's root, through links
// that stay below it.
func (h *Host) ReadFile(name string) ([]byte, error) {
	root, err := os.OpenRoot(h.path(""))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f)
}

// readRegular reads a file whole, and refuses what is no file or too large.
func readRegular(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("it is larger than 8 MiB")
	}
	return b, err
}

// ReadIn reads a file as a process sees it, in its root directory.
func (h *Host) ReadIn(pid int, name string) ([]byte, error) {
	f, err := h.OpenIn(pid, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f)
}

// Glob lists the files of the host that match, named from the host's root.
func (h *Host) Glob(pattern string) []string {
	list, _ := filepath.Glob(h.path(strings.TrimPrefix(pattern, "/")))
	root := strings.TrimSuffix(h.path(""), "/")
	for i := range list {
		list[i] = strings.TrimPrefix(list[i], root)
	}
	return list
}

// SysctlText is a setting as the kernel writes it, named with dots; inside
// [Host.Do] that of the namespace.
func (h *Host) SysctlText(name string) (string, error) {
	return readString(h.path("proc/sys/"+sysctlPath(name)), 4096)
}

// sysctlPath is the file of a setting: dots become slashes, and in the name of an
// interface slashes become dots (sysctl.d(5)).
func sysctlPath(name string) string {
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// sysctlDirs are where settings of the network stand; those of each interface are
// read from "all" and "default" only.
var sysctlDirs = []string{"net/core", "net/ipv4", "net/ipv6", "net/netfilter", "net/mptcp", "net/ipv4/conf/all", "net/ipv4/conf/default", "net/ipv6/conf/all", "net/unix"}

// volatileSysctls change by themselves, or are secret.
var volatileSysctls = []string{"nf_conntrack_count", "tcp_fastopen_key", "stable_secret", "netdev_rss_key", "flow_limit_cpu_bitmap"}

// Sysctls reads the settings of the network of a namespace. What cannot be read is
// left out.
func (h *Host) Sysctls(ns Netns) (map[string]string, error) {
	var out map[string]string
	err := h.Do(ns, func() (err error) {
		out, err = h.sysctls()
		return err
	})
	return out, err
}

// sysctls reads those of the namespace of this thread.
func (h *Host) sysctls() (map[string]string, error) {
	out := map[string]string{}
	for _, dir := range sysctlDirs {
		entries, err := os.ReadDir(h.path("proc/sys/" + dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() || slices.Contains(volatileSysctls, e.Name()) {
				continue
			}
			name := strings.ReplaceAll(dir+"/"+e.Name(), "/", ".")
			if v, err := h.SysctlText(name); err == nil {
				out[name] = Clean([]byte(strings.Join(strings.Fields(v), " ")), 1024)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no setting of the network can be read")
	}
	return out, nil
}

// Memory is the use of memory of a control group.
type Memory struct {
	Current, Max int64 // bytes, without the cache of files that is given back first; Max -1: no limit
	OOMKills     int64 // processes killed since the group was made; -1 unknown
}

// CgroupMemory reads the use of memory of a control group, version 2 or 1. It is
// false when the group is gone, or has no account of memory.
func (h *Host) CgroupMemory(cgroup string) (m Memory, ok bool) {
	if !fs.ValidPath(strings.Trim(cgroup, "/")) {
		return m, false
	}
	one := func(file string) (int64, bool) {
		v, err := readInts(file)
		if err != nil || len(v) == 0 {
			return -1, false
		}
		return v[0], true
	}
	v2 := h.path(path.Join("sys/fs/cgroup", cgroup))
	if m.Current, ok = one(v2 + "/memory.current"); ok {
		m.Max, _ = one(v2 + "/memory.max")
		m.OOMKills = field(v2+"/memory.events", "oom_kill")
		m.Current -= max(0, field(v2+"/memory.stat", "inactive_file"))
		return m, true
	}
	v1 := h.path(path.Join("sys/fs/cgroup/memory", cgroup))
	if m.Current, ok = one(v1 + "/memory.usage_in_bytes"); ok {
		if m.Max, _ = one(v1 + "/memory.limit_in_bytes"); m.Max > 1<<60 {
			m.Max = -1
		}
		m.OOMKills = field(v1+"/memory.oom_control", "oom_kill")
		m.Current -= max(0, field(v1+"/memory.stat", "total_inactive_file"))
	}
	return m, ok
}

// OOMKills counts the processes that the kernel killed for want of memory since
// boot, -1 when it does not say.
func (h *Host) OOMKills() int64 { return field(h.path("proc/vmstat"), "oom_kill") }

// MemoryTotal is the memory of the host in bytes, -1 unknown.
func (h *Host) MemoryTotal() int64 {
	if kb := field(h.path("proc/meminfo"), "MemTotal:"); kb >= 0 {
		return kb << 10
	}
	return -1
}

// field returns the number behind a name in a file of names and numbers.
func field(file, name string) (n int64) {
	n = -1
	_ = read(file, 64<<10, func(b []byte) error {
		for line := range bytes.Lines(b) {
			f := bytes.Fields(line)
			if len(f) >= 2 && string(f[0]) == name {
				v, err := strconv.ParseInt(string(f[1]), 10, 64)
				if err == nil {
					n = v
				}
				return err
			}
		}
		return nil
	})
	return n
}

// Kernel is the release of the kernel, as in uname -r.
func (h *Host) Kernel() (string, error) {
	s, err := readString(h.path("proc/sys/kernel/osrelease"), 256)
	return Clean([]byte(s), 128), err
}

// OS is the name of the distribution and its version (os-release(5)).
func (h *Host) OS() string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := h.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			if v, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("PRETTY_NAME=")); ok {
				return Clean(bytes.Trim(v, `"'`), 128)
			}
		}
	}
	return ""
}

// Arguments are those of a process, as it was started or has written them since;
// at most 128, each at most 1024 bytes.
func (h *Host) Arguments(pid int) (argv []string) {
	_ = read(h.proc(pid, "cmdline"), 32<<10, func(b []byte) error {
		b = bytes.TrimRight(b, "\x00")
		sep := []byte{0}
		if !bytes.Contains(b, sep) {
			sep = []byte{' '} // a title that the process wrote: "nginx: master process nginx -c /x"
		}
		for a := range bytes.SplitSeq(b, sep) {
			if len(argv) < 128 {
				argv = append(argv, Clean(a, 1024))
			}
		}
		return nil
	})
	return argv
}

// Cwd is the working directory of a process, as the process names it; empty when it
// cannot be read.
func (h *Host) Cwd(pid int) string {
	s, err := os.Readlink(h.proc(pid, "cwd"))
	if err != nil {
		return ""
	}
	return s
}
