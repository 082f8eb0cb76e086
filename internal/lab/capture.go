package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// RecordingFile is the name of the file, beside the captures of a scenario,
// that holds a Recording.
const RecordingFile = "truth.json"

// Recording is what is known of the captures of one scenario: who was who, and
// what really happened.
type Recording struct {
	Scenario string    `json:"scenario"`
	Title    string    `json:"title"`
	Sender   string    `json:"sender"` // as in Truth, like the five that follow
	Cause    string    `json:"cause"`
	Also     []string  `json:"also,omitempty"`
	Receiver string    `json:"receiver"`
	Error    string    `json:"error,omitempty"`
	Lost     int64     `json:"lost"`
	At       time.Time `json:"at"`    // just before the decisive event was provoked
	Flows    []Flow    `json:"flows"` // as in Result

	// SenderHost is the host that saw the first RST of the flows at or after At,
	// before all others did: the one that sent it. "" when there was none.
	SenderHost string         `json:"sender_host,omitempty"`
	Hosts      []RecordedHost `json:"hosts"`
}

// Role returns the role of a host, "" when there is no such host.
func (r *Recording) Role(host string) string {
	for _, h := range r.Hosts {
		if h.Name == host {
			return h.Role
		}
	}
	return ""
}

// RecordedHost is one point of capture: everything that entered and left the
// interfaces of one namespace.
type RecordedHost struct {
	Name       string       `json:"name"`
	Role       string       `json:"role"` // client or server when it played that end, bystander, or its name
	File       string       `json:"file"` // in the directory of the recording
	Addresses  []netip.Addr `json:"addresses,omitempty"`
	Interfaces []string     `json:"interfaces,omitempty"`
	Flows      []Flow       `json:"flows,omitempty"` // those of the recording that were seen here
	Packets    int64        `json:"packets"`
	Bytes      int64        `json:"bytes"`
	Resets     int64        `json:"resets"`            // RSTs among the packets; each is counted at every interface it passed
	Lost       int64        `json:"lost,omitempty"`    // by the kernel, because the reader was late
	Refused    int64        `json:"refused,omitempty"` // by the limit on what is kept of one scenario
}

// ReadRecording reads the truth of the captures in a directory.
func ReadRecording(dir string) (*Recording, error) {
	path := filepath.Join(dir, RecordingFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read truth of captures: %w", err)
	}
	r := &Recording{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// write writes the recording into its directory.
func (r *Recording) write(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode truth of captures: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, RecordingFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write truth of captures: %w", err)
	}
	return nil
}
