package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/diagnosis"
	"github.com/holdfast-project/holdfast/internal/capture"
	"github.com/holdfast-project/holdfast/internal/logline"
)

func (o *options) mcpCommand() *cobra.Command {
	var knowledge []string
	var findings string
	c := &cobra.Command{
		Use:   "mcp",
		Short: "Answer an assistant's questions about resets (Model Context Protocol, on standard input and output)",
		Long: `mcp is a server of the Model Context Protocol on standard input and output, for an
assistant that a person asks first: explain a text, a log or a capture, list and
read causes, the next question that tells causes apart, and the latest findings
of a running "holdfast watch -o ndjson > FILE". It changes nothing, runs no
program and opens no connection; it reads the files that the assistant names,
with the rights of who started it.`,
		Example: `  holdfast mcp
  sudo holdfast watch -o ndjson > findings.ndjson &
  holdfast mcp --findings findings.ndjson`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			base, err := o.loadBase(knowledge)
			if err != nil {
				return err
			}
			r, err := logline.New()
			if err != nil {
				return err
			}
			s := (&assistant{o: o, base: base, r: r, findings: findings}).server()
			p := newPending(o.env.in, o.env.out)
			err = s.Run(c.Context(), &mcp.IOTransport{Reader: p, Writer: answers{p}})
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, mcp.ErrConnectionClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringSliceVar(&knowledge, "knowledge", nil, "directory with causes of your own")
	c.Flags().StringVar(&findings, "findings", "", "file that holdfast watch -o ndjson writes, for the latest findings")
	return c
}

// pending holds the end of the input back until every request has its answer:
// the server drops what it still works on when its client is gone, and a pipe
// into holdfast mcp is gone at once.
type pending struct {
	in   *bufio.Reader
	out  io.Writer
	rest []byte // of the line that is handed out

	mu    sync.Mutex // guards open
	open  int        // requests without an answer
	ready *sync.Cond
}

func newPending(in io.Reader, out io.Writer) *pending {
	p := &pending{in: bufio.NewReader(in), out: out}
	p.ready = sync.NewCond(&p.mu)
	return p
}

// Read implements io.Reader: messages, one a line.
func (p *pending) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		line, err := p.in.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			p.mu.Lock()
			for p.open > 0 {
				p.ready.Wait()
			}
			p.mu.Unlock()
			return 0, err
		}
		p.rest = line
		p.count(line, "method", 1)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// count adds n when a message has an id and the key.
func (p *pending) count(line []byte, key string, n int) {
	var m map[string]json.RawMessage
	if json.Unmarshal(line, &m) != nil || m["id"] == nil || key != "" && m[key] == nil || key == "" && m["method"] != nil {
		return
	}
	p.mu.Lock()
	p.open += n
	p.mu.Unlock()
	p.ready.Broadcast()
}

// Close implements io.Closer; standard input stays open.
func (p *pending) Close() error {
	p.mu.Lock()
	p.open = 0
	p.mu.Unlock()
	p.ready.Broadcast()
	return nil
}

// answers is the way out: it tells pending of every answer.
type answers struct{ p *pending }

// Write implements io.Writer; a message comes whole.
func (w answers) Write(b []byte) (int, error) {
	n, err := w.p.out.Write(b)
	w.p.count(bytes.TrimSpace(b), "", -1)
	return n, err //nolint:wrapcheck // the error of the output itself
}

func (answers) Close() error { return nil }

// assistant is what the tools read.
type assistant struct {
	o        *options
	base     *diagnosis.Base
	r        *logline.Reader
	findings string
}

type textQuestion struct {
	Text  string   `json:"text" jsonschema:"the error text or log lines as they were pasted, or what happens in words"`
	Facts []string `json:"facts,omitempty" jsonschema:"circumstances as name=value, such as idle_s=350, always=false; names by the tool next_question"`
}

type fileQuestion struct {
	Path string `json:"path" jsonschema:"a log (plain or compressed) or a packet capture (pcap, pcapng) on this machine"`
}

type causeQuestion struct {
	ID string `json:"id" jsonschema:"identifier of a cause, such as node-keepalive-5s"`
}

type causesQuestion struct {
	Outcome string `json:"outcome,omitempty" jsonschema:"reset, refused, timeout, unreachable, closed, survived or none"`
	Words   string `json:"words,omitempty" jsonschema:"words that the cause's page should be like"`
}

type findingsQuestion struct {
	Last int `json:"last,omitempty" jsonschema:"how many, 10 unless said"`
}

// server has the tools; all of them only read.
func (a *assistant) server() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "holdfast", Version: readVersion().Version}, &mcp.ServerOptions{
		Instructions: "Holdfast explains resets, refusals and timeouts of TCP connections. What a reading proves and what it does not stands in it: do not claim more. " +
			"Ask the person the questions of next_question, and state the answers as facts.",
	})
	tool(s, "explain_text", "Say what an error text, pasted log lines or a description proves and does not prove, which causes fit, and the next steps", a.explainText)
	tool(s, "explain_file", "Explain a log or a packet capture on this machine", a.explainFile)
	tool(s, "next_question", "The question whose answer tells the most about the cause of a text, with the fact that an answer states", a.nextQuestion)
	tool(s, "list_causes", "List known causes of resets, refusals and timeouts", a.listCauses)
	tool(s, "read_cause", "The page of one cause: how to recognise, prove, fix and prevent it", a.readCause)
	tool(s, "recent_findings", "The latest findings of a running holdfast watch", a.recentFindings)
	return s
}

// tool adds a tool whose answer is a document in JSON.
func tool[In any](s *mcp.Server, name, doc string, answer func(context.Context, In) (any, error)) {
	closed := false
	mcp.AddTool(s, &mcp.Tool{Name: name, Description: doc, Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &closed}},
		func(ctx context.Context, _ *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
			doc, err := answer(ctx, in)
			if err != nil {
				_, text := describe(err)
				return nil, nil, errors.New(text)
			}
			b, err := json.Marshal(doc)
			if err != nil {
				return nil, nil, fmt.Errorf("encode answer: %w", err)
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(b)}}}, nil, nil
		})
}

var errNothingSaid = &cliError{codeNotFound, errors.New("nothing in it names a reset, refused, timed-out or closed connection"), "the whole line, or what happens, behind what, after how long"}

// read reads a text with its stated facts.
func (a *assistant) read(q textQuestion) ([]*readingStory, error) {
	if err := (&textFlags{facts: q.Facts}).checkFacts(); err != nil {
		return nil, err
	}
	t := newTextReader(a.r)
	t.facts = q.Facts
	if err := t.lines("", strings.NewReader(q.Text)); err != nil {
		return nil, err
	}
	stories := t.finish(a.base)
	if len(stories) == 0 {
		return nil, errNothingSaid
	}
	return stories, nil
}

func (a *assistant) explainText(_ context.Context, q textQuestion) (any, error) { return a.read(q) }

func (a *assistant) nextQuestion(_ context.Context, q textQuestion) (any, error) {
	stories, err := a.read(q)
	if err != nil {
		return nil, err
	}
	s := stories[0]
	steps := []readingStep{}
	for _, x := range a.r.NextSteps(s.ranked, s.said) {
		steps = append(steps, stepOf(&x))
	}
	return map[string]any{"cause": s.Cause, "alternatives": s.Alternatives, "said": s.Said, "questions": steps}, nil
}

func (a *assistant) explainFile(ctx context.Context, q fileQuestion) (any, error) {
	f, err := os.Open(q.Path)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	head := make([]byte, capture.HeadSize)
	n, _ := io.ReadFull(f, head)
	if capture.IsCapture(head[:n]) {
		return a.o.captureExplainer(ctx, a.base)([]string{q.Path})
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	t := newTextReader(a.r)
	if err := a.o.readLog(t, q.Path, f); err != nil {
		return nil, err
	}
	stories := t.finish(a.base)
	if len(stories) == 0 {
		return nil, errNothingSaid
	}
	return stories, nil
}

// causeLine is a cause in a list.
type causeLine struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Class    string   `json:"class"`
	Outcomes []string `json:"outcomes"`
}

func (a *assistant) listCauses(_ context.Context, q causesQuestion) (any, error) {
	list := []causeLine{}
	var like map[string]float64
	if q.Words != "" {
		like = indexOf(a.base).pages.Like(q.Words)
	}
	for _, c := range a.base.Causes() {
		line := causeLine{ID: c.ID, Title: c.Title, Class: c.Class}
		for _, x := range c.Outcomes {
			line.Outcomes = append(line.Outcomes, x.S)
		}
		if q.Outcome == "" || slices.Contains(line.Outcomes, q.Outcome) {
			list = append(list, line)
		}
	}
	if like != nil {
		list = slices.DeleteFunc(list, func(x causeLine) bool { return like[x.ID] < 0.3 })
		slices.SortStableFunc(list, func(x, y causeLine) int { return compareDown(like[x.ID], like[y.ID]) })
	}
	return list, nil
}

func compareDown(x, y float64) int {
	switch {
	case x > y:
		return -1
	case x < y:
		return 1
	}
	return 0
}

// readCause is the page as "holdfast causes ID -o json" writes it.
func (a *assistant) readCause(_ context.Context, q causeQuestion) (any, error) {
	if _, ok := a.base.Cause(q.ID); !ok {
		return nil, &cliError{codeNotFound, fmt.Errorf("no cause is called %q", q.ID), "the tool list_causes"}
	}
	var out bytes.Buffer
	e := *a.o.env
	e.out = &out
	if err := (&options{env: &e, output: "json", color: "never"}).showCause(a.base, q.ID, false); err != nil {
		return nil, err
	}
	return json.RawMessage(out.Bytes()), nil
}

// maxFindings bounds what one answer holds.
const maxFindings = 200

// recentFindings are the last lines of the file.
func (a *assistant) recentFindings(_ context.Context, q findingsQuestion) (any, error) {
	if a.findings == "" {
		return nil, &cliError{codeNotFound, errors.New("no watch is known"), "sudo holdfast watch -o ndjson > FILE, and holdfast mcp --findings FILE"}
	}
	f, err := os.Open(a.findings)
	if err != nil {
		return nil, fmt.Errorf("open findings: %w", err)
	}
	defer f.Close()
	n := min(max(q.Last, 0), maxFindings)
	if n == 0 {
		n = 10
	}
	last := []json.RawMessage{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		if !json.Valid(sc.Bytes()) {
			continue // the line that is being written
		}
		if last = append(last, slices.Clone(sc.Bytes())); len(last) > n {
			last = last[1:]
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	return last, nil
}
