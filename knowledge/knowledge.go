package knowledge

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/diagnosis"
)

//go:embed all:causes all:senders timers.yaml macros.yaml
var embedded embed.FS

// embeddedName stands before the names of embedded files in problems; it is
// their place in the repository.
const embeddedName = "knowledge"

// Error is what is wrong with a knowledge base: every problem of every file.
type Error struct {
	Problems []diagnosis.Problem
}

// Error lists the problems, one a line, and ends with a hint.
func (e *Error) Error() string {
	var b strings.Builder
	n := len(e.Problems)
	fmt.Fprintf(&b, "knowledge base has %d %s:\n", n, map[bool]string{true: "problem", false: "problems"}[n == 1])
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "  %s\n", p.Error())
	}
	b.WriteString("hint: `holdfast facts` lists the facts, `holdfast causes lint DIR` checks a directory, `holdfast causes new ID` writes an example")
	return b.String()
}

// Load compiles the embedded knowledge and that of dirs, in this order. A
// directory holds cause files (*.yaml, or causes/*.yaml) and sender files
// (senders/*.yaml); a missing one is no error. A file whose id exists at an
// earlier level replaces that entry, and its specification says so in
// Overrides; the same id twice within a level is an error.
//
// The error is an *Error, or one of reading files. The base is not nil even
// then: it holds everything that is sound, with the earlier entry where a file
// that replaces it is not, so that one bad file of a user need not stop a watch.
func Load(dirs ...string) (*diagnosis.Base, error) {
	base, set, err := load(dirs)
	if err == nil && len(set.problems) > 0 {
		err = &Error{set.problems}
	}
	return base, err
}

func load(dirs []string) (*diagnosis.Base, *loader, error) {
	set := &loader{names: newNames(), causes: map[string]int{}, senders: map[string]int{}, oldCauses: map[string]diagnosis.CauseSpec{}, oldSenders: map[string]diagnosis.SenderSpec{}}
	if err := set.level(embedded, embeddedName, 0); err != nil {
		set.errs = append(set.errs, err)
	}
	for i, dir := range dirs {
		set.names = set.names.copy()
		if err := set.level(os.DirFS(dir), filepath.ToSlash(dir), i+1); err != nil {
			set.errs = append(set.errs, err)
		}
	}
	base, problems := diagnosis.Compile(set.senderList, set.causeList)
	set.problems = append(set.problems, problems...)
	if len(problems) > 0 && set.restore(base) {
		base, _ = diagnosis.Compile(set.senderList, set.causeList)
	}
	diagnosis.SortProblems(set.problems)
	return base, set, errors.Join(set.errs...)
}

// loader collects the files of all layers.
type loader struct {
	causeList  []diagnosis.CauseSpec
	senderList []diagnosis.SenderSpec
	causes     map[string]int // id to index
	senders    map[string]int
	problems   []diagnosis.Problem
	errs       []error
	sources    []source
	names      *names                         // of the level that is read
	oldCauses  map[string]diagnosis.CauseSpec // that were replaced, by id
	oldSenders map[string]diagnosis.SenderSpec
}

// restore puts back what was replaced by files that did not compile, and
// reports whether there was any.
func (s *loader) restore(base *diagnosis.Base) (changed bool) {
	for id, old := range s.oldCauses {
		if _, ok := base.Cause(id); !ok {
			s.causeList[s.causes[id]], changed = old, true
		}
	}
	for id, old := range s.oldSenders {
		if _, ok := base.Sender(id); !ok {
			s.senderList[s.senders[id]], changed = old, true
		}
	}
	return changed
}

// level adds the files of one directory.
func (s *loader) level(files fs.FS, name string, number int) error {
	firstCause, firstSender := len(s.causeList), len(s.senderList)
	if err := s.names.level(files, name); err != nil {
		return err
	}
	s.problems = append(s.problems, s.names.problems...)
	for _, dir := range []string{".", "causes", "senders"} {
		entries, err := fs.ReadDir(files, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read knowledge directory: %w", err)
		}
		for _, e := range entries {
			file := path.Join(dir, e.Name())
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") || path.Ext(file) != ".yaml" && path.Ext(file) != ".yml" || dir == "." && slices.Contains(notCauses, e.Name()) {
				continue
			}
			from := source{path.Join(name, file), number, s.names, func() ([]byte, error) { return fs.ReadFile(files, file) }}
			s.sources = append(s.sources, from)
			src, err := from.read()
			if err != nil {
				return fmt.Errorf("read knowledge file: %w", err)
			}
			if dir == "senders" {
				s.sender(from, string(src), firstSender)
			} else {
				s.cause(from, string(src), firstCause)
			}
		}
	}
	return nil
}

func (s *loader) cause(from source, src string, first int) {
	file := from.name
	c, problems := decodeCause(from, src)
	s.problems = append(s.problems, problems...)
	if c.At == nil {
		return // no YAML at all
	}
	s.problems = append(s.problems, misnamed(file, c.ID, c.At["id"])...)
	i, there := s.causes[c.ID]
	switch {
	case there && i >= first:
		s.twice("cause", c.ID, c.At["id"], s.causeList[i].Pos.File)
	case there:
		c.Overrides = s.causeList[i].Pos.File
		s.oldCauses[c.ID] = s.causeList[i]
		s.causeList[i] = c
	default:
		s.causes[c.ID] = len(s.causeList)
		s.causeList = append(s.causeList, c)
	}
}

func (s *loader) sender(from source, src string, first int) {
	file := from.name
	c, problems := decodeSender(from, src)
	s.problems = append(s.problems, problems...)
	if c.At == nil {
		return
	}
	s.problems = append(s.problems, misnamed(file, c.ID, c.At["id"])...)
	i, there := s.senders[c.ID]
	switch {
	case there && i >= first:
		s.twice("sender", c.ID, c.At["id"], s.senderList[i].Pos.File)
	case there:
		c.Overrides = s.senderList[i].Pos.File
		s.oldSenders[c.ID] = s.senderList[i]
		s.senderList[i] = c
	default:
		s.senders[c.ID] = len(s.senderList)
		s.senderList = append(s.senderList, c)
	}
}

func (s *loader) twice(what, id string, at diagnosis.Pos, other string) {
	s.problems = append(s.problems, diagnosis.Problem{Pos: at, Message: fmt.Sprintf("%s %s is also defined in %s", what, id, other), Hint: "ids are unique; remove or rename one of the files"})
}

// misnamed reports a file whose name is not its id.
func misnamed(file, id string, at diagnosis.Pos) []diagnosis.Problem {
	base := strings.TrimSuffix(path.Base(file), path.Ext(file))
	if id == base || id == "" {
		return nil
	}
	if at.File == "" {
		at.File = file
	}
	return []diagnosis.Problem{{Pos: at, Message: fmt.Sprintf("id %q in a file named %s", id, path.Base(file)), Hint: "name the file " + id + ".yaml"}}
}
