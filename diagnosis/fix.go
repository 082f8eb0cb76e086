package diagnosis

import (
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

// product is software that a fix may be about: how an edit calls it, how it is
// written at the start of titles and in commands, and the processes that run it.
type product struct {
	edits []string
	name  *regexp.Regexp
	comms []string // starts of process names
}

// products are those that fixes name. A fix for software that is not there helps
// nobody. What is compiled (Go, C, Rust) has no process name of its own.
var products = []product{
	{[]string{"haproxy"}, regexp.MustCompile(`^HAProxy\b`), []string{"haproxy"}},
	{[]string{"nginx"}, regexp.MustCompile(`^nginx\b`), []string{"nginx"}},
	{[]string{"apache"}, regexp.MustCompile(`^Apache\b`), []string{"apache", "httpd"}},
	{[]string{"redis"}, regexp.MustCompile(`^Redis\b`), []string{"redis", "valkey"}},
	{[]string{"postgresql", "pgbouncer"}, regexp.MustCompile(`^(PostgreSQL|PgBouncer)\b|pg_stat_activity`), []string{"postgres", "pgbouncer"}},
	{[]string{"mysql"}, regexp.MustCompile(`^MySQL\b`), []string{"mysql", "mariadb"}},
	{[]string{"gunicorn", "uvicorn", "python"}, regexp.MustCompile(`^(gunicorn|uvicorn|aiohttp|Python)\b`), []string{"gunicorn", "uvicorn", "python"}},
	{[]string{"php-fpm"}, regexp.MustCompile(`^php-fpm\b`), []string{"php-fpm"}},
	{[]string{"uwsgi"}, regexp.MustCompile(`^uWSGI\b`), []string{"uwsgi"}},
	{[]string{"envoy", "istio"}, regexp.MustCompile(`^(Envoy|Istio)\b`), []string{"envoy"}},
	{[]string{"node"}, regexp.MustCompile(`^Node\.js\b`), []string{"node", "MainThread"}},
	{[]string{"java", "spring"}, regexp.MustCompile(`^(Java|Spring|Tomcat|Jetty|HikariCP|JNDI|Reactor|OkHttp)\b`), []string{"java"}},
	{[]string{"dotnet"}, regexp.MustCompile(`^(Kestrel|\.NET)\b`), []string{"dotnet"}},
	{[]string{"sshd"}, regexp.MustCompile(`^sshd\b`), []string{"sshd"}},
	{[]string{"rabbitmq"}, regexp.MustCompile(`^RabbitMQ\b`), []string{"beam.smp"}},
}

// fix is a remedy whose commands carry values of the case.
type fix struct {
	spec           fact.Fix
	commands, undo []*Template
	products       []int // indices into products; empty: of no software in particular
}

func (k *baseCompiler) fixes(list []fact.Fix, at Pos) []fix {
	compiled := make([]fix, 0, len(list))
	for _, spec := range list {
		f := fix{spec: spec, commands: k.commands(spec.Commands, at), undo: k.commands(spec.Undo, at)}
		for i, p := range products {
			if slices.Contains(p.edits, spec.Product) {
				f.products = []int{i}
				break
			}
			if spec.Product == "" && (p.name.MatchString(spec.Title) || len(spec.Commands) > 0 && !slices.ContainsFunc(spec.Commands, func(c string) bool { return !p.name.MatchString(c) })) {
				f.products = append(f.products, i)
			}
		}
		compiled = append(compiled, f)
	}
	return compiled
}

func (k *baseCompiler) commands(list []string, at Pos) []*Template {
	compiled := make([]*Template, 0, len(list))
	for _, c := range list {
		compiled = append(compiled, k.template(Text{S: c, Pos: at}))
	}
	return compiled
}

// software are the names of the processes at both ends, and what the server
// calls itself, in lower case.
func software(c *fact.Case) []string {
	var list []string
	for _, e := range []*fact.Endpoint{&c.Sender, &c.Receiver} {
		for _, o := range []fact.Opt[string]{e.Proc.Name, e.Proc.ParentName, e.Dead.Name, e.Listener.Name} {
			if n, ok := o.Get(); ok && n != "" {
				list = append(list, strings.ToLower(n))
			}
		}
	}
	if n, ok := c.Wire.Software.Get(); ok {
		list = append(list, strings.ToLower(n))
	}
	return list
}

// fitting returns the fixes for the software at hand, with the values of the
// case. A cause whose fixes are all for other software keeps them: it is a cause
// of that software.
func fitting(list []fix, c *fact.Case) []fact.Fix {
	names := software(c)
	runs := func(i int) bool {
		return slices.ContainsFunc(products[i].comms, func(comm string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, strings.ToLower(comm)) })
		})
	}
	var out []fact.Fix
	for i := range list {
		if f := &list[i]; len(f.products) == 0 || slices.ContainsFunc(f.products, runs) {
			out = append(out, f.render(c, runs))
		}
	}
	if len(out) > 0 {
		return out
	}
	for i := range list {
		out = append(out, list[i].render(c, func(int) bool { return true }))
	}
	return out
}

// render fills in the values, and leaves out the commands for software that
// does not run here.
func (f *fix) render(c *fact.Case, runs func(int) bool) fact.Fix {
	x := f.spec
	x.Commands, x.Undo = renderCommands(f.commands, c, runs), renderCommands(f.undo, c, runs)
	return x
}

func renderCommands(list []*Template, c *fact.Case, runs func(int) bool) []string {
	var all, own []string
	for _, t := range list {
		s := t.Render(c)
		all = append(all, s)
		if !foreign(s, runs) {
			own = append(own, s)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// foreign reports whether a command is labelled ("nginx: ...") as one for
// software that does not run here.
func foreign(command string, runs func(int) bool) bool {
	label, _, ok := strings.Cut(command, ": ")
	if !ok {
		return false
	}
	i := slices.IndexFunc(products, func(p product) bool {
		return p.name.MatchString(label) || slices.Contains(p.edits, strings.ToLower(label))
	})
	return i >= 0 && !runs(i)
}
