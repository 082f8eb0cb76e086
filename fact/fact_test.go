package fact

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefsAreDocumented(t *testing.T) {
	for _, d := range Defs() {
		if d.Doc == "" || d.How == "" && d.Witness == ByKernel && strings.Contains(d.Name, ".") {
			t.Errorf("fact %s: doc %q, how %q", d.Name, d.Doc, d.How)
		}
		if d.Witness == ByDefault {
			t.Errorf("fact %s has no witness", d.Name)
		}
	}
}

func TestThreeStatesSurviveJSON(t *testing.T) {
	c := &Case{ID: "1", Time: time.Unix(1, 0).UTC(), Source: "kernel"}
	c.Sender.Sock.Unread = Some[int64](1000)
	c.Sender.Sock.SRTT = Some(1500 * time.Microsecond)
	c.Sender.Proc.Signal = None[string]()
	c.Sender.Reason = SomeBy("TCP_ABORT_ON_CLOSE", ByWire)
	c.Flow.MPTCP = Some(false)
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"sender.sock.unread_bytes":1000`, `"sender.sock.srtt_us":1500`, `"sender.proc.signal":null`, `"by":"wire"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	var got Case
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*c, got, cmp.AllowUnexported(Opt[int64]{}, Opt[string]{}, Opt[bool]{}, Opt[time.Duration]{}), cmp.Comparer(func(a, b Flow) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if got.Sender.Proc.PID.State() != NotLooked || got.Sender.Proc.Signal.State() != Absent {
		t.Error("not looked and absent were mixed up")
	}
}

func TestUnknownFactIsAnError(t *testing.T) {
	var c Case
	err := json.Unmarshal([]byte(`{"schema":"holdfast/1","id":"x","time":"2026-01-01T00:00:00Z","facts":{"sender.sock.unred_bytes":1}}`), &c)
	if err == nil || !strings.Contains(err.Error(), "unred_bytes") {
		t.Error(err)
	}
	if err := c.SetFacts(map[string]any{"sender.seen": "yes"}); err == nil {
		t.Error("a string was accepted for a bool")
	}
}

func TestReadingAFactAllocatesNothing(t *testing.T) {
	c := &Case{}
	c.Sender.Sock.State = Some("CLOSE")
	list := Defs()
	if n := testing.AllocsPerRun(100, func() {
		for i := range list {
			_ = list[i].Of(c)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
