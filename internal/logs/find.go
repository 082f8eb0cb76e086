package logs

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/internal/linux"
)

// place is where programs log when nothing shows it.
type place struct {
	program string // base name of the executable
	pattern string // the file written last counts
	shared  bool   // other programs write there too
}

// places are the usual files, as distributions and images lay them out.
var places = []place{
	{"nginx", "/var/log/nginx/error.log", false},
	{"postgres", "/var/log/postgresql/*.log", false},
	{"postgres", "/var/lib/pgsql/*/data/log/*.log", false},
	{"postgres", "/var/lib/postgresql/data/log/*.log", false},
	{"redis-server", "/var/log/redis/*.log", false},
	{"redis-server", "/var/log/redis*.log", false},
	{"valkey-server", "/var/log/valkey/*.log", false},
	{"haproxy", "/var/log/haproxy*.log", false},
	{"haproxy", "/var/log/syslog", true},
	{"haproxy", "/var/log/messages", true},
	{"sshd", "/var/log/auth.log", true},
	{"sshd", "/var/log/secure", true},
	{"mysqld", "/var/log/mysql/error.log", false},
	{"mysqld", "/var/log/mysqld.log", false},
	{"mariadbd", "/var/log/mysql/error.log", false},
	{"mariadbd", "/var/log/mariadb/mariadb.log", false},
	{"apache2", "/var/log/apache2/error.log", false},
	{"httpd", "/var/log/httpd/error_log", false},
	{"mongod", "/var/log/mongodb/mongod.log", false},
	{"squid", "/var/log/squid/cache.log", false},
	{"vsftpd", "/var/log/vsftpd.log", false},
	{"dovecot", "/var/log/mail.log", true},
	{"master", "/var/log/mail.log", true},
}

// directive is a line of a configuration that names the log file, for
// programs that open it anew for each line.
type directive struct{ program, config, keyword string }

var directives = []directive{
	{"redis-server", "/etc/redis/redis.conf", "logfile"},
	{"redis-server", "/etc/redis.conf", "logfile"},
}

// find lists the log files of a process; alive is false when it has ended.
func find(h *linux.Host, pid int) (files []File, alive bool) {
	p, err := h.Process(pid)
	if err != nil {
		return nil, false
	}
	files = openLogs(h, p.PID)
	files = append(files, containerLogs(h, p)...)
	name := program(p)
	for _, d := range directives {
		if d.program == name {
			files = append(files, configured(h, p.PID, d)...)
		}
	}
	if len(files) == 0 || !slices.ContainsFunc(files, func(f File) bool { return rank(f) == 0 }) {
		files = append(files, usual(h, p.PID, name)...)
	}
	slices.SortStableFunc(files, func(a, b File) int { return rank(a) - rank(b) })
	return files[:min(len(files), maxFiles)], true
}

// program returns the name by which places know the process.
func program(p linux.Process) string {
	if p.Exe != "" {
		return path.Base(p.Exe)
	}
	return p.Name
}

// openLogs lists the logs that the process and its relatives have open.
func openLogs(h *linux.Host, pid int) (out []File) {
	seen := map[fileKey]int{}
	ours := map[fileKey]bool{} // what we print ourselves is no witness
	for _, f := range h.WrittenFiles(os.Getpid()) {
		ours[fileKey{dev: f.Dev, ino: f.Ino}] = pid != os.Getpid()
	}
	us, _ := h.Process(os.Getpid())
	for _, who := range append([]int{pid}, h.Relatives(pid)...) {
		if p, err := h.Process(who); who != pid && (err != nil || p.PID == us.PID || p.PID == us.PPID || p.PGID == us.PGID && p.PPID == us.PPID) {
			continue // our own shell and pipeline
		}
		for _, f := range h.WrittenFiles(who) {
			key := fileKey{dev: f.Dev, ino: f.Ino}
			if i, ok := seen[key]; ok && out[i].written.PID == pid {
				out[i].written = &f // a relative may outlive the process
				continue
			}
			if _, ok := seen[key]; ok || ours[key] || !isLog(f) || len(out) >= 2*maxFiles {
				continue
			}
			seen[key] = len(out)
			out = append(out, File{Path: linux.Clean([]byte(f.Path), 512), written: &f})
		}
	}
	return out
}

// isLog reports whether an open file looks like a log: by its name, or because
// it is standard output or error.
func isLog(f linux.WrittenFile) bool {
	base := strings.ToLower(path.Base(f.Path))
	if f.FD == 1 || f.FD == 2 {
		return true
	}
	for _, other := range []string{".db", ".aof", ".rdb", ".wal", ".lock", ".pid", ".sock", ".gz", ".sqlite"} {
		if strings.HasSuffix(base, other) {
			return false
		}
	}
	if strings.HasSuffix(base, ".err") || strings.HasSuffix(base, ".out") {
		return true
	}
	return strings.Contains(base, "log") && !strings.Contains(base, "binlog") && !strings.Contains(base, "redo")
}

// containerLogs lists the files in which Docker and the kubelet keep what a
// container writes to its standard output.
func containerLogs(h *linux.Host, p linux.Process) (out []File) {
	if p.Container == "" || strings.ContainsAny(p.Container, "/*?[") {
		return nil
	}
	patterns := []string{"/var/lib/docker/containers/" + p.Container + "/" + p.Container + "-json.log"}
	if p.PodUID != "" {
		name, _, _, _ := h.ContainerNames(p.Container)
		if name == "" || strings.ContainsAny(name, "/*?[") {
			name = "*"
		}
		patterns = append(patterns, "/var/log/pods/*_"+p.PodUID+"/"+name+"/*.log")
	}
	for _, pattern := range patterns {
		if newest := newest(h, 0, pattern); newest != "" {
			out = append(out, File{Path: newest})
		}
	}
	return out
}

// usual lists the well-known files of a program, in its own root and, when the
// process is one of the host's, there.
func usual(h *linux.Host, pid int, name string) (out []File) {
	for _, pl := range places {
		if pl.program != name {
			continue
		}
		if file := newest(h, pid, pl.pattern); file != "" {
			f := File{Path: file, pid: pid}
			if pl.shared {
				f.Shared = name
			}
			out = append(out, f)
		}
	}
	return out
}

// newest returns the file of a pattern that was written last, "" without one.
func newest(h *linux.Host, pid int, pattern string) (newest string) {
	var latest int64
	for _, name := range h.GlobIn(pid, pattern) {
		f, err := h.OpenIn(pid, name)
		if err != nil {
			continue
		}
		if fi, err := f.Stat(); err == nil && fi.ModTime().UnixNano() > latest {
			newest, latest = name, fi.ModTime().UnixNano()
		}
		f.Close()
	}
	return newest
}

// configured reads the log file's name out of a configuration.
func configured(h *linux.Host, pid int, d directive) (out []File) {
	f, err := h.OpenIn(pid, d.config)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 256<<10)
	n, _ := f.Read(b)
	for line := range strings.Lines(string(b[:n])) {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == d.keyword {
			if name := strings.Trim(words[1], `"'`); strings.HasPrefix(name, "/") && name != os.DevNull {
				out = append(out, File{Path: name, pid: pid})
			}
		}
	}
	return out
}
