package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
)

// JSON writes v as an indented document, safe for a terminal.
func JSON(w io.Writer, v any) error {
	b, err := marshal(v, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// NDJSON writes v as one line of JSON, safe for a terminal.
func NDJSON(w io.Writer, v any) error {
	b, err := marshal(v, "")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// YAML writes v as a YAML document that holds exactly what its JSON holds, in
// the same order; a leading "---" separates it from the one before.
func YAML(w io.Writer, v any) error {
	b, err := marshal(v, "")
	if err != nil {
		return err
	}
	y, err := yaml.JSONToYAML(b)
	if err != nil {
		return fmt.Errorf("convert JSON to YAML: %w", err)
	}
	_, err = fmt.Fprintf(w, "---\n%s", CleanText(string(y)))
	return err
}

func marshal(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return cleanJSON(b.Bytes()), nil
}
