package fact

import (
	"net/netip"
	"strings"
	"time"
)

// Grade says how far a verdict can be trusted.
type Grade string

// The grades. A finding is Proved only with a posterior of at least 0.95 and a
// kernel, two-ended or probe witness among its proof.
const (
	Proved   Grade = "proved"
	Probable Grade = "probable" // posterior >= 0.8
	Possible Grade = "possible" // the best of several
	Unknown  Grade = "unknown"  // no candidate is good enough
)

// The roles a sender can have.
const (
	ClientApp     = "client-app"
	ClientKernel  = "client-kernel"
	ServerApp     = "server-app"
	ServerKernel  = "server-kernel"
	LocalFirewall = "local-firewall"
	Middlebox     = "middlebox"
	Injector      = "injector"
	Nobody        = "none" // there was no RST
	UnknownSender = "unknown"
)

// Finding is the answer for one case. Its JSON form is an API (schema
// holdfast/1): fields are added, never renamed.
type Finding struct {
	Schema       string        `json:"schema"`
	ID           string        `json:"id"`
	Time         time.Time     `json:"time"`
	Source       string        `json:"source"`
	Story        string        `json:"story,omitempty"` // id of the finding this one follows from
	Flow         FindingFlow   `json:"flow"`
	Outcome      string        `json:"outcome"`
	Phase        string        `json:"phase"`
	Sender       Sender        `json:"sender"`
	Cause        CauseVerdict  `json:"cause"`
	Harmful      bool          `json:"harmful"` // somebody lost something; false for benign and unaccepted resets
	Alternatives []Alternative `json:"alternatives,omitempty"`
	Proof        []Proof       `json:"proof,omitempty"`
	Missing      []Missing     `json:"missing,omitempty"`
	NotChecked   []string      `json:"not_checked,omitempty"` // facts that could contradict the verdict and that nobody looked at
	Effect       Effect        `json:"effect"`
	Fixes        []Fix         `json:"fixes,omitempty"`
	Confirm      string        `json:"confirm,omitempty"`
	Prevent      string        `json:"prevent,omitempty"`
	References   []string      `json:"references,omitempty"`
	Where        *Where        `json:"where,omitempty"`
	Labels       *Labels       `json:"labels,omitempty"`     // names that papers give such an ending
	Arithmetic   *Arithmetic   `json:"arithmetic,omitempty"` // with --why
	Count        int           `json:"count,omitempty"`      // folded repeats, this one included
	Case         *Case         `json:"case,omitempty"`       // with --facts
}

// FindingFlow is the connection.
type FindingFlow struct {
	Client      netip.AddrPort `json:"client"`
	Server      netip.AddrPort `json:"server"`
	CommunityID string         `json:"community_id,omitempty"`
	Connection  string         `json:"connection,omitempty"` // the same at both ends, also behind NAT; see Case.Connection
}

// Sender says who emitted the RST.
type Sender struct {
	Role    string        `json:"role"`
	Grade   Grade         `json:"grade"`
	Score   float64       `json:"score"` // 0 to 1, relative to the other roles
	Host    string        `json:"host,omitempty"`
	Process *ProcessBrief `json:"process,omitempty"` // of the emitting end
	Where   string        `json:"where,omitempty"`   // address, rule or device
	Says    string        `json:"says,omitempty"`    // for a human, with values of the case
}

// ProcessBrief names a process.
type ProcessBrief struct {
	PID       int64  `json:"pid"`
	Name      string `json:"name"`
	Exe       string `json:"exe,omitempty"`
	Unit      string `json:"unit,omitempty"`
	Container string `json:"container,omitempty"`
	Pod       string `json:"pod,omitempty"`
}

// CauseVerdict says why.
type CauseVerdict struct {
	ID    string  `json:"id"` // "unknown" when no cause is good enough
	Title string  `json:"title"`
	Class string  `json:"class,omitempty"`
	Grade Grade   `json:"grade"`
	Score float64 `json:"score"`          // 0 to 1, relative to the other candidates
	Says  string  `json:"says,omitempty"` // for a human, with values of the case
}

// Alternative is a cause that was considered.
type Alternative struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Score float64 `json:"score"` // 0 to 1, relative to the other candidates
}

// Proof is one line of evidence that decided.
type Proof struct {
	Says    string  `json:"says"`
	Witness string  `json:"witness"`
	Weight  float64 `json:"weight"` // decibans, after the cap
	File    string  `json:"file,omitempty"`
	Frame   int     `json:"frame,omitempty"`

	Facts []string `json:"-"` // names of the facts that the line is about
}

// Missing is a fact that nobody looked at and that would have counted.
type Missing struct {
	Fact string `json:"fact"`
	How  string `json:"how"`
}

// Effect is what the reset cost. A nil pointer means: not looked at.
type Effect struct {
	Accepted    string `json:"accepted,omitempty"`  // accepted, challenged, ignored ...
	AppError    string `json:"app_error,omitempty"` // errno name
	BytesLost   *int64 `json:"bytes_lost,omitempty"`
	BytesUnread *int64 `json:"bytes_unread,omitempty"`
	ProcessDied *bool  `json:"process_died,omitempty"`
	Says        string `json:"says,omitempty"`
}

// Fix is one remedy. Commands, Undo and Verify follow from its kind.
type Fix struct {
	Title     string   `json:"title"`
	Kind      string   `json:"kind"`              // sysctl, unit, edit, nft, nic, ask (shown for copying), advise (no command)
	Product   string   `json:"product,omitempty"` // of an edit: whose configuration or code
	At        string   `json:"at,omitempty"`      // of an edit: the place in it
	Commands  []string `json:"commands,omitempty"`
	Risk      string   `json:"risk,omitempty"`
	Undo      []string `json:"undo,omitempty"`
	Verify    []string `json:"verify,omitempty"` // shows that it took
	Effect    string   `json:"effect,omitempty"` // what changes besides
	Automatic bool     `json:"automatic"`
}

// Confirm is how to prove a cause.
type Confirm struct {
	Text    string   `json:"text,omitempty"`
	Run     []string `json:"run,omitempty"`     // commands that only look
	Probe   []string `json:"probe,omitempty"`   // commands that open connections
	Counter string   `json:"counter,omitempty"` // of the kernel or a product, that moves by one for each case
	Log     string   `json:"log,omitempty"`     // a line that names it
}

// String is the confirmation in one text.
func (c Confirm) String() string {
	var b strings.Builder
	add := func(label, s string) {
		if s == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(label + s)
	}
	add("", strings.TrimSuffix(c.Text, "."))
	add("", strings.Join(c.Run, "; "))
	add("try ", strings.Join(c.Probe, "; "))
	add("this counter rises by one for each: ", c.Counter)
	add("the log says: ", c.Log)
	return b.String()
}

// Where points into a capture: stream numbered as Wireshark's tcp.stream,
// frame from 1.
type Where struct {
	File   string `json:"file"`
	Stream int    `json:"stream"`
	Frame  int    `json:"frame"`
}

// Labels name the ending of a captured connection in the terms of two papers,
// so that results can be compared. They are stages and tests, no causes.
type Labels struct {
	Weaver    string `json:"weaver,omitempty"`    // positive tests of Weaver et al., NDSS 2009, joined by "+": RST_SEQ_DATA ...
	SIGCOMM23 string `json:"sigcomm23,omitempty"` // signature of Sundara Raman et al., SIGCOMM 2023: "PSH+ACK->RST+ACK" ...
}

// Arithmetic is the whole computation of a verdict.
type Arithmetic struct {
	Senders []Score `json:"senders"`
	Causes  []Score `json:"causes"`
}

// Score is how one hypothesis fared.
type Score struct {
	ID        string      `json:"id"`
	Prior     float64     `json:"prior"` // decibans
	Total     float64     `json:"total"` // decibans
	Posterior float64     `json:"posterior"`
	Vetoed    string      `json:"vetoed,omitempty"` // the requirement that failed
	Lines     []ScoreLine `json:"lines,omitempty"`
}

// ScoreLine is one evidence line of a hypothesis.
type ScoreLine struct {
	If      string  `json:"if"`
	Witness string  `json:"witness"`
	Weight  float64 `json:"weight"`  // as declared
	Counted float64 `json:"counted"` // after the cap for each witness; 0 when false or not looked at
	Answer  string  `json:"answer"`  // true, false, not looked
}
