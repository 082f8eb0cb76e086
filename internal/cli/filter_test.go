package cli

import (
	"net/netip"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/fact"
)

func postgresReset() *fact.Finding {
	c := &fact.Case{}
	c.Sender.Proc = fact.Process{
		PID: fact.Some(int64(812)), Name: fact.Some("postgres"), Exe: fact.Some("/usr/lib/postgresql/15/bin/postgres"),
		Cgroup: fact.Some("/system.slice/postgresql@15-main.service"), Unit: fact.Some("postgresql@15-main.service"),
	}
	c.Receiver.Proc = fact.Process{
		PID: fact.Some(int64(991)), Name: fact.Some("java"), ContainerID: fact.Some("0123456789abcdef"),
		ContainerName: fact.Some("billing"), Pod: fact.Some("shop/billing-7d9"),
	}
	return &fact.Finding{
		Flow:    fact.FindingFlow{Client: netip.MustParseAddrPort("10.0.0.5:40122"), Server: netip.MustParseAddrPort("[::ffff:10.0.0.7]:5432")},
		Outcome: "reset", Harmful: true, Case: c,
		Sender: fact.Sender{Role: fact.ServerApp, Process: &fact.ProcessBrief{PID: 812, Name: "postgres"}},
		Cause:  fact.CauseVerdict{ID: "close-with-unread-data"},
	}
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want bool
	}{
		{"no filter", nil, true},
		{"port of the server", []string{"--port", "5432"}, true},
		{"port of the client", []string{"--port", "40122"}, true},
		{"one of two ports", []string{"--port", "80,5432"}, true},
		{"another port", []string{"--port", "80"}, false},
		{"address", []string{"--address", "10.0.0.5"}, true},
		{"address, mapped in the flow", []string{"--address", "10.0.0.7"}, true},
		{"network", []string{"--address", "10.0.0.0/24"}, true},
		{"other network", []string{"--address", "10.1.0.0/24", "--address", "2001:db8::/32"}, false},
		{"pid of the sender", []string{"--pid", "812"}, true},
		{"pid of the receiver", []string{"--pid", "991"}, true},
		{"another pid", []string{"--pid", "1"}, false},
		{"process", []string{"--process", "postgres"}, true},
		{"process glob", []string{"--process", "post*"}, true},
		{"executable", []string{"--process", "/usr/lib/postgresql/*/bin/postgres"}, true},
		{"another process", []string{"--process", "nginx"}, false},
		{"pid and process of different ends", []string{"--pid", "991", "--process", "postgres"}, false},
		{"cgroup", []string{"--cgroup", "/system.slice"}, true},
		{"unit", []string{"--cgroup", "postgresql@15-main.service"}, true},
		{"prefix of a name is no cgroup", []string{"--cgroup", "/system.sl"}, false},
		{"container by name", []string{"--container", "billing"}, true},
		{"container by id", []string{"--container", "01234567"}, true},
		{"container by pod", []string{"--container", "shop/billing-7d9"}, true},
		{"short id is too vague", []string{"--container", "0123"}, false},
		{"cause", []string{"--cause", "close-with-unread-data"}, true},
		{"cause glob", []string{"--cause", "close-*"}, true},
		{"another cause", []string{"--cause", "oom-kill"}, false},
		{"sender", []string{"--sender", "server-app,server-kernel"}, true},
		{"another sender", []string{"--sender", "middlebox"}, false},
		{"harmful", []string{"--only-harmful"}, true},
		{"all must hold", []string{"--port", "5432", "--cause", "oom-kill"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parseFilter(t, c.args)
			if got := f.match(postgresReset()); got != c.want {
				t.Errorf("%v passes: %v, want %v", c.args, got, c.want)
			}
		})
	}
}

func parseFilter(t *testing.T, args []string) *filter {
	t.Helper()
	f, fs := &filter{}, pflag.NewFlagSet("", pflag.ContinueOnError)
	f.flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilterHarmless(t *testing.T) {
	x := postgresReset()
	x.Harmful = false
	if parseFilter(t, []string{"--only-harmful"}).match(x) {
		t.Error("a harmless finding passes --only-harmful")
	}
}

func TestFilterWithoutCase(t *testing.T) {
	x := postgresReset()
	x.Case = nil
	if !parseFilter(t, []string{"--process", "postgres"}).match(x) {
		t.Error("the process of the sender is not looked at")
	}
	if parseFilter(t, []string{"--process", "java"}).match(x) {
		t.Error("a process that nobody saw passes")
	}
}

func TestFilterString(t *testing.T) {
	f := parseFilter(t, []string{"--port", "80,443", "--process", "nginx", "--only-harmful"})
	if got, want := f.String(), "port 80 443, process nginx, harmful only"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
