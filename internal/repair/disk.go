package repair

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// disk is what is done to files. What was not synced may be forgotten by a crash: a
// name until its directory was, a content until its file was.
type disk interface {
	Write(path string, s State) error // a new file
	Attributes(from, to string) error // what SELinux and others wrote beside a file
	Append(path string, line []byte) error
	Sync(path string) error // a file or a directory
	Rename(from, to string) error
	Remove(path string) error
}

// put replaces a file as a whole: readers see the old one or the new one, also
// after a crash.
func put(d disk, path string, s State) error {
	dir := filepath.Dir(path)
	if !s.Exists {
		if err := d.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return d.Sync(dir)
	}
	tmp := filepath.Join(dir, ".holdfast-"+filepath.Base(path))
	_ = d.Remove(tmp) // of a repair that was interrupted
	if err := replace(d, tmp, path, s); err != nil {
		_ = d.Remove(tmp)
		return err
	}
	return d.Sync(dir)
}

func replace(d disk, tmp, path string, s State) error {
	if err := d.Write(tmp, s); err != nil {
		return err
	}
	if err := d.Attributes(path, tmp); err != nil {
		return err
	}
	if err := d.Sync(tmp); err != nil {
		return err
	}
	return d.Rename(tmp, path)
}

// appendLine adds a line to a file of the journal; it is on disk when it returns.
func appendLine(d disk, path string, line []byte) error {
	if err := d.Append(path, line); err != nil {
		return err
	}
	if err := d.Sync(path); err != nil {
		return err
	}
	return d.Sync(filepath.Dir(path))
}
