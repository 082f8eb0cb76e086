package report

import (
	"crypto/sha256"
	_ "embed" // the assets of the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"strings"

	"github.com/holdfast-project/holdfast/fact"
)

//go:embed assets/report.html.tmpl
var pageTemplate string

//go:embed assets/report.css
var pageCSS string

//go:embed assets/report.js
var pageJS string

var page = template.Must(template.New("report").Parse(pageTemplate))

// The limits of a page. What is beyond them is counted.
const (
	maxStories     = 200
	maxConnections = 200 // listed for each story
)

// HTML writes a report as one self-contained page: no external resources, and
// nothing that needs a script to be read; the script only filters. A content
// security policy allows exactly that script and style. Everything in it is
// clean and escaped.
func HTML(w io.Writer, r *Report) error {
	v := viewOf(r.withoutDirectories())
	scrub(reflect.ValueOf(v))
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("write HTML report: %w", err)
	}
	return nil
}

// pageView is what the template shows. Its strings are cleaned by scrub; the
// types of html/template were made safe where they were built.
type pageView struct {
	Title, Made, Version string
	Policy               string
	CSS                  template.CSS
	JS                   template.JS
	Headline             string
	Harm                 bool
	Verdicts             []verdictView
	Inputs               []inputView
	Groups               []groupView
	Timeline             template.HTML
	Stories              []storyView
	MoreStories          string
}

type verdictView struct {
	N           int
	Title, Text string
}

type inputView struct {
	Name, Links, Packets, TCP, Connections, Resets, Bytes, From, To, Span, Rate string
	Until, Lost, SHA256, Clock                                                  string
	Warnings                                                                    []string
}

type groupView struct {
	Cause, Title, Role, Grade, Count, Harmful, Lost string
	Benign                                          bool
	Stories                                         []int
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func viewOf(r *Report) *pageView {
	css := pageCSS + ladderCSS
	v := &pageView{
		Title: cmpOr(r.Title, r.title()), Version: r.Version, Headline: r.Headline(), Harm: r.Totals().Harmful > 0, Timeline: r.timeline(),
		CSS: template.CSS(css), JS: template.JS(pageJS), // our own assets
		Policy: "default-src 'none'; style-src " + digest(css) + "; script-src " + digest(pageJS) + "; base-uri 'none'; form-action 'none'",
	}
	if !r.Made.IsZero() {
		v.Made = r.Made.UTC().Format("2006-01-02 15:04 UTC")
	}
	for i := range r.Inputs {
		v.Inputs = append(v.Inputs, inputOf(&r.Inputs[i]))
	}
	for _, g := range r.Groups() {
		v.Groups = append(v.Groups, r.groupOf(g))
	}
	n := min(len(r.Stories), maxStories)
	for i := range r.Stories[:n] {
		v.Stories = append(v.Stories, storyOf(i+1, &r.Stories[i]))
	}
	if more := int64(len(r.Stories) - n); more > 0 {
		v.MoreStories = count(more, "more story is", "more stories are") + " counted above and not shown here."
	}
	for _, s := range v.Stories[:min(len(v.Stories), 3)] {
		if s.Harm || s.N == 1 {
			v.Verdicts = append(v.Verdicts, verdictView{s.N, s.Title + ". Sent by: " + s.Role + " (" + s.SenderGrade + ")", s.Short})
		}
	}
	return v
}

// title names a report after its inputs.
func (r *Report) title() string {
	switch len(r.Inputs) {
	case 0:
		return "Connection resets"
	case 1:
		return "Connection resets in " + r.Inputs[0].Name
	}
	return fmt.Sprintf("Connection resets in %s and %s", r.Inputs[0].Name, count(int64(len(r.Inputs)-1), "more file", "more files"))
}

func inputOf(in *Input) inputView {
	v := inputView{
		Name: in.Name, Links: strings.Join(in.LinkTypes, ", "), Packets: thousands(in.Packets), TCP: thousands(in.TCPPackets),
		Connections: thousands(in.Connections), Resets: thousands(in.Resets), Bytes: Bytes(in.Bytes), Warnings: in.Warnings,
	}
	if !in.First.IsZero() {
		v.From = in.First.UTC().Format("2006-01-02 15:04:05")
		v.To, v.Span = in.Last.UTC().Format("2006-01-02 15:04:05"), longSpan(in.Last.Sub(in.First))
	}
	if in.Rate > 0 {
		v.Rate = rate(in.Rate)
	}
	if !in.Until.IsZero() {
		v.Until = in.Until.UTC().Format("2006-01-02 15:04:05.000000 UTC")
	}
	v.Lost, v.SHA256 = in.Lost, in.SHA256
	if in.ClockKnown {
		v.Clock = fmt.Sprintf("%+.6f s against the first capture; corrected", in.Clock.Seconds())
	}
	return v
}

func (r *Report) groupOf(g Group) groupView {
	v := groupView{
		Cause: cmpOr(g.Cause, "unknown"), Title: g.Title, Role: roleWord(g.Role), Grade: gradeWord(g.Grade), Count: thousands(g.Terminations),
		Harmful: thousands(g.Harmful), Benign: g.Harmful == 0,
	}
	if g.Cause == "" || g.Cause == string(fact.Unknown) {
		v.Title = notKnown
	}
	if g.Octets > 0 {
		v.Lost = Bytes(g.Octets)
	}
	for i := range r.Stories[:min(len(r.Stories), maxStories)] {
		for _, f := range r.Stories[i].Findings {
			if f.Cause.ID == g.Cause && f.Sender.Role == g.Role && len(v.Stories) < 12 {
				v.Stories = append(v.Stories, i+1)
				break
			}
		}
	}
	return v
}

// roleWord is a role for people.
func roleWord(role string) string {
	switch role {
	case fact.Middlebox:
		return "device between"
	case fact.Injector:
		return "injector (forged)"
	case fact.Nobody:
		return "nobody"
	case "":
		return fact.UnknownSender
	}
	return strings.ReplaceAll(role, "-", " ")
}

// scrub cleans every plain string that v holds. The string types of
// html/template keep their text: they were made safe where they were built.
func scrub(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			scrub(v.Elem())
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			scrub(f)
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len()) // the caller's stays as it is
		reflect.Copy(own, v)
		v.Set(own)
		for i := range v.Len() {
			scrub(v.Index(i))
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(CleanText(v.String()))
		}
	}
}
