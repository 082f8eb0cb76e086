package framing

import (
	"bytes"
	"strconv"
	"strings"
)

// redis frames RESP2 and RESP3 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
// A request is a command, its answer one value. Subscriptions, MONITOR, replication
// and CLIENT REPLY break that, so the connection is lost behind them.
type redis struct {
	up, down resp
	requests int
	answers  int
	words    []string // of the command, the first two
	inUp     bool     // a command is open
	inDown   Kind     // of the open value; valid while down is not done
	openDown bool
	leaving  string // the command behind which numbers mean nothing
}

// resp reads values one after another.
type resp struct {
	line []byte // the line so far, while one is open
	bulk int64  // octets of a string that are left, with CRLF; 0: none
	todo int64  // values that are left of the open one
	word []byte // the string that is being read, if short
	save bool   // read words
}

const (
	respMostValues = 1 << 40
	respWord       = 16 // octets of a word that matter
)

// breaks are the commands whose answers are not one value for each.
var breaks = []string{"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC", "CLIENT REPLY"}

func (r *redis) client(b []byte) (int, Part, error) {
	if r.leaving != "" {
		return 0, Part{}, lost("Redis command %s", r.leaving)
	}
	part := Part{Kind: Message}
	if !r.inUp {
		if b[0] == '\n' || b[0] == '\r' { // an empty line is no command
			return 1, Part{Kind: Control}, nil
		}
		if b[0] == '*' {
			n := bytes.IndexByte(b, '\n') + 1
			switch size, err := strconv.ParseInt(strings.TrimRight(string(b[1:max(n, 1)]), "\r\n"), 10, 32); {
			case n == 0 && len(b) < Most:
				return 0, Part{}, nil
			case n == 0 || err != nil:
				return 0, Part{}, lost("Redis command %q", b[:min(len(b), Most)])
			case size <= 0: // an empty array is no command
				return n, Part{Kind: Control}, nil
			}
		}
		r.inUp, part.First, r.words = true, true, nil
		r.requests++
		if b[0] != '*' {
			return r.inline(b, part)
		}
		r.up.start()
		r.up.save = true
	} else if r.up.todo == 0 {
		return r.inline(b, part)
	}
	part.Number = r.requests
	n, err := r.up.read(b, func(word string) {
		if len(r.words) < 2 {
			r.words = append(r.words, word)
		}
	})
	if err != nil || r.up.todo > 0 {
		return n, part, err
	}
	part.Last = true
	r.ended()
	return n, part, nil
}

// inline reads a command that is a line of words.
func (r *redis) inline(b []byte, part Part) (int, Part, error) {
	part.Number = r.requests
	n := bytes.IndexByte(b, '\n') + 1
	part.Last = n > 0
	if n == 0 {
		n = len(b)
	}
	if r.up.line = append(r.up.line, b[:n]...); len(r.up.line) > maxHead {
		return 0, Part{}, lost("Redis line of more than %d octets", maxHead)
	}
	if part.Last {
		if r.words = strings.Fields(string(r.up.line)); len(r.words) > 2 {
			r.words = r.words[:2]
		}
		r.up.line = nil
		r.ended()
	}
	return n, part, nil
}

// ended looks at the command that is complete.
func (r *redis) ended() {
	r.inUp = false
	command := strings.ToUpper(strings.Join(r.words, " "))
	for _, name := range breaks {
		if command == name || strings.HasPrefix(command, name+" ") {
			r.leaving = name
		}
	}
}

func (r *redis) server(b []byte) (int, Part, error) {
	if r.leaving != "" && r.answers+1 >= r.requests && !r.openDown {
		return 0, Part{}, lost("Redis command %s", r.leaving)
	}
	part := Part{Kind: r.inDown}
	if !r.openDown {
		r.openDown, r.inDown = true, Message
		part = Part{Kind: Message, First: true}
		if b[0] == '>' || r.answers >= r.requests { // pushed, or a farewell
			r.inDown, part = Aside, Part{Kind: Aside}
		}
		r.down.start()
	}
	n, err := r.down.read(b, nil)
	if part.Kind == Message {
		part.Number = r.answers + 1
	}
	if err == nil && r.down.todo == 0 {
		r.openDown = false
		if part.Kind == Message {
			part.Last = true
			r.answers++
		}
	}
	return n, part, err
}

// start begins a value.
func (r *resp) start() { *r = resp{todo: 1} }

// read takes octets until the value that was begun has ended. word is called with
// the strings of a command.
func (r *resp) read(b []byte, word func(string)) (int, error) {
	n := 0
	for n < len(b) && r.todo > 0 {
		if r.bulk > 0 {
			n += r.readBulk(b[n:], word)
			continue
		}
		i := bytes.IndexByte(b[n:], '\n') + 1
		if i == 0 {
			i = len(b) - n
		}
		r.line = append(r.line, b[n:n+i]...)
		n += i
		if len(r.line) > maxHead {
			return 0, lost("Redis line of more than %d octets", maxHead)
		}
		if r.line[len(r.line)-1] != '\n' {
			continue
		}
		err := r.head(r.line)
		r.line = r.line[:0]
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// readBulk takes octets of a string.
func (r *resp) readBulk(b []byte, word func(string)) int {
	n := min(int64(len(b)), r.bulk)
	if r.save && len(r.word) < respWord {
		r.word = append(r.word, b[:min(n, respWord)]...)
	}
	if r.bulk -= n; r.bulk == 0 {
		r.todo--
		if r.save {
			word(strings.TrimRight(string(r.word), "\r\n"))
			r.word = r.word[:0]
		}
	}
	return int(n)
}

// head reads the line with which a value begins.
func (r *resp) head(line []byte) error {
	kind, rest := line[0], strings.TrimRight(string(line[1:]), "\r\n")
	switch kind {
	case '+', '-', ':', ',', '(', '#', '_':
		r.todo--
		return nil
	}
	size, err := strconv.ParseInt(rest, 10, 32)
	if err != nil || size < -1 {
		return lost("Redis value %q", line[:min(len(line), respWord)])
	}
	if size == -1 { // null
		r.todo--
		return nil
	}
	switch kind {
	case '$', '!', '=':
		r.bulk = size + 2
		return nil
	case '*', '~', '>':
		r.todo += size - 1
	case '%':
		r.todo += 2*size - 1
	case '|': // attributes: the value itself follows
		r.todo += 2 * size
	default:
		return lost("Redis value %q", line[:min(len(line), respWord)])
	}
	if r.todo > respMostValues {
		return lost("Redis value of %d parts", r.todo)
	}
	return nil
}
