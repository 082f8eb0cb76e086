# What the plays of the field share. Each play runs in network, process, mount
# and IPC namespaces of its own, with loopback up and $D as its directory.
set -eu
cd "$D"
export LC_ALL=C HOME="$D"
quiet() { "$@" >/dev/null 2>&1 || true; }
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
# up PORT: waits until something listens there.
up() {
	for _ in $(seq 1200); do
		ss -Hltn "sport = :$1" | grep -q . && return 0
		sleep 0.05
	done
	echo "nothing listens on port $1" >&2
	cat ./*.log >&2 || true
	exit 9
}
# pid_on PORT: the process that listens there (the first one).
pid_on() { ss -Hltnp "sport = :$1" | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -n 1; }

# nginx_up PORT 'inside of server {}' ['inside of http {}'] ['main']
nginx_up() {
	mkdir -p "ngx$1"
	cat >"ngx$1/nginx.conf" <<N
user nobody nogroup;
worker_processes 2;
daemon off;
pid $D/ngx$1/pid;
error_log $D/ngx$1/error.log info;
${4:-}
events { worker_connections ${WORKER_CONNECTIONS:-256}; }
http {
  access_log $D/ngx$1/access.log;
  client_body_temp_path $D/ngx$1/b; proxy_temp_path $D/ngx$1/p; fastcgi_temp_path $D/ngx$1/f; uwsgi_temp_path $D/ngx$1/u; scgi_temp_path $D/ngx$1/s;
  ${3:-}
  server { listen 127.0.0.1:$1${LISTEN:-}; $2 }
}
N
	chmod 711 "$D"
	nginx -c "$D/ngx$1/nginx.conf" >"ngx$1/out.log" 2>&1 &
	NGINX=$!
	up "$1"
}
# haproxy_up PORT 'configuration'
haproxy_up() {
	printf 'global\n  maxconn 500\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n%s\n' "$2" >"hap$1.cfg"
	haproxy -f "hap$1.cfg" -db >"hap$1.log" 2>&1 &
	HAPROXY=$!
	up "$1"
}
# pg_up PORT ['settings, one in a line']
pg_up() {
	mkdir -p "pg$1"
	chown 65534 "pg$1"
	chmod 711 "$D"
	nobody initdb -D "$D/pg$1/data" -U postgres -A trust -E UTF8 --no-locale --no-sync --no-instructions >"pg$1.init.log" 2>&1
	printf '%s\n' "listen_addresses='127.0.0.1'" "port=$1" "unix_socket_directories=''" 'dynamic_shared_memory_type=mmap' 'shared_buffers=4MB' 'fsync=off' 'autovacuum=off' "${2:-}" >>"pg$1/data/postgresql.conf"
	pg_start "$1"
}
pg_start() {
	nobody postgres -D "$D/pg$1/data" >>"pg$1.log" 2>&1 &
	up "$1"
	PG=$(pid_on "$1") # of the server, not of the shell that started it
	for _ in $(seq 100); do
		psql_on "$1" -c 'select 1' >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	exit 9
}
psql_on() { p=$1; shift; psql -qAt -h 127.0.0.1 -p "$p" -U postgres postgres "$@"; }
# redis_up PORT [arguments]
redis_up() { p=$1; shift; redis-server --port "$p" --bind 127.0.0.1 --save '' --appendonly no --dir "$D" "$@" >"redis$p.log" 2>&1 & REDIS=$!; up "$p"; }
# gunicorn_up PORT [arguments]: paths /, /slow (3 s), /upload, /big (300 MB)
gunicorn_up() {
	cat >app.py <<'P'
import time
def app(env, start):
    path = env["PATH_INFO"]
    if path == "/slow":
        time.sleep(3)
    if path == "/upload":
        while env["wsgi.input"].read(65536):
            time.sleep(float(env.get("QUERY_STRING") or 0))
    start("200 OK", [("Content-Type", "text/plain")])
    if path == "/big":
        return (b"x" * 65536 for _ in range(4800))
    return [b"hello\n"]
P
	p=$1
	shift
	gunicorn -b "127.0.0.1:$p" "$@" app:app >"gunicorn$p.log" 2>&1 &
	GUNICORN=$!
	up "$p"
}
# node_up PORT 'body of the handler (q, r)' ['more, with the server as s']
node_up() {
	printf 'const s=require("http").createServer((q,r)=>{%s});%s;s.listen(%s,"127.0.0.1")\n' "$2" "${3:-}" "$1" >"node$1.js"
	node "node$1.js" >"node$1.log" 2>&1 &
	NODE=$!
	up "$1"
}
# py NAME: runs the Python program on standard input under that process name, in
# the foreground.
py() { cat >"$1.py"; python3 "$1.py"; }
# go_up PORT 'http.Server fields' 'body of the handler (w, r)'
go_up() {
	mkdir -p "go$1"
	cat >"go$1/main.go" <<G
package main
import ("fmt"; "io"; "net/http"; "os"; "time")
var _, _, _, _ = fmt.Sprint, io.Discard, os.Exit, time.Now
func main() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { $3 })
	s := &http.Server{Addr: "127.0.0.1:$1", Handler: h, $2}
	panic(s.ListenAndServe())
}
G
	(cd "go$1" && GOCACHE="${HOLDFAST_GOCACHE:-$D/gocache}" GOFLAGS= GO111MODULE=off go build -o gosrv main.go)
	"./go$1/gosrv" >"go$1.log" 2>&1 &
	GOSRV=$!
	up "$1"
}
# java_up PORT: com.sun.net.httpserver
java_up() {
	cat >Srv.java <<'J'
import com.sun.net.httpserver.*; import java.net.*; import java.util.concurrent.*;
public class Srv { public static void main(String[] a) throws Exception {
  HttpServer s = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(a[0])), 64);
  s.createContext("/", x -> { byte[] b = "hello\n".getBytes(); x.sendResponseHeaders(200, b.length); x.getResponseBody().write(b); x.close(); });
  s.setExecutor(Executors.newFixedThreadPool(8)); s.start(); } }
J
	java Srv.java "$1" >"java$1.log" 2>&1 &
	JAVA=$!
	up "$1"
}
rabbit_up() {
	mkdir -p rabbit
	export RABBITMQ_NODE_PORT=$1 RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE=$D/rabbit RABBITMQ_LOG_BASE=$D/rabbit RABBITMQ_NODENAME=r@localhost RABBITMQ_PID_FILE=$D/rabbit/pid HOSTNAME=localhost
	export RABBITMQ_ENABLED_PLUGINS_FILE=$D/rabbit/plugins ERL_EPMD_ADDRESS=127.0.0.1
	/usr/lib/rabbitmq/bin/rabbitmq-server >rabbit.log 2>&1 &
	up "$1"
}
# wait_for 'condition': polls it for ten seconds.
wait_for() {
	for _ in $(seq 200); do
		eval "$1" && return 0
		sleep 0.05
	done
	echo "waited in vain: $1" >&2
	exit 9
}
