package fact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// jsonCase is the JSON form of a case: a flat map of facts, so that a recorded
// case reads like the knowledge base. A fact nobody looked at is left out; an
// absent one is null; one seen by another witness than the declared is
// {"value": v, "by": "wire"}.
type jsonCase struct {
	Schema string          `json:"schema"`
	ID     string          `json:"id"`
	Time   time.Time       `json:"time"`
	Source string          `json:"source,omitempty"`
	Host   string          `json:"host,omitempty"`
	Client netip.AddrPort  `json:"client,omitzero"`
	Server netip.AddrPort  `json:"server,omitzero"`
	Netns  uint64          `json:"netns,omitempty"`
	Facts  json.RawMessage `json:"facts"`
}

// Schema is the version of every JSON document that Holdfast writes.
const Schema = "holdfast/1"

type witnessed struct {
	Value any    `json:"value"`
	By    string `json:"by"`
}

// MarshalJSON writes the case with its facts in declaration order.
func (c *Case) MarshalJSON() ([]byte, error) {
	var facts bytes.Buffer
	facts.WriteByte('{')
	list := Defs()
	for i := range list {
		d := &list[i]
		v := d.Of(c)
		if v.State == NotLooked {
			continue
		}
		var x any = d.Any(v)
		if v.By != d.Witness {
			x = witnessed{x, v.By.String()}
		}
		b, err := json.Marshal(x)
		if err != nil {
			return nil, fmt.Errorf("fact %s: %w", d.Name, err)
		}
		if facts.Len() > 1 {
			facts.WriteByte(',')
		}
		fmt.Fprintf(&facts, "%q:%s", d.Name, b)
	}
	facts.WriteByte('}')
	return json.Marshal(jsonCase{Schema, c.ID, c.Time, c.Source, c.Host, c.Flow.Client, c.Flow.Server, c.Flow.Netns, facts.Bytes()})
}

// UnmarshalJSON reads what MarshalJSON wrote. An unknown fact, or one of the
// wrong type, is an error.
func (c *Case) UnmarshalJSON(b []byte) error {
	var j jsonCase
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Schema != Schema {
		return fmt.Errorf("case has schema %q, this program reads %q", j.Schema, Schema)
	}
	*c = Case{ID: j.ID, Time: j.Time, Source: j.Source, Host: j.Host}
	c.Flow.Client, c.Flow.Server, c.Flow.Netns = j.Client, j.Server, j.Netns
	var facts map[string]any
	if len(j.Facts) > 0 {
		if err := json.Unmarshal(j.Facts, &facts); err != nil {
			return err
		}
	}
	return c.SetFacts(facts)
}

// SetFacts sets facts by name from decoded JSON or YAML: a bool, number or
// string is present, nil is absent, and {value, by} names another witness.
func (c *Case) SetFacts(facts map[string]any) error {
	for name, x := range facts {
		d, ok := Lookup(name)
		if !ok {
			return fmt.Errorf("unknown fact %q", name)
		}
		by := ByDefault
		if m, ok := x.(map[string]any); ok {
			w, known := ParseWitness(fmt.Sprint(m["by"]))
			if !known {
				return fmt.Errorf("fact %s: unknown witness %q", name, m["by"])
			}
			x, by = m["value"], w
		}
		v, err := d.Parse(x)
		if err != nil {
			return err
		}
		v.By = by
		d.Set(c, v)
	}
	return nil
}
