package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrTooLarge is a file that is longer than its reader allows.
var ErrTooLarge = errors.New("file too large")

// temporary marks files that WriteFile has not finished. They are hidden, and
// Clean knows them by it.
const temporary = ".durable-"

// WriteFile replaces the file's content, or makes the file, with these
// permissions whatever the umask. If we die
//
//   - before the rename: the old content stays, and a temporary file that Clean removes;
//   - after the rename: the new content is there after a crash of this process, and
//     the old or the new one after a crash of the machine, until this has returned.
//
// A symbolic link at path is replaced, not followed.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary+"*") // 0600
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	err = fill(f, data, perm)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what failed is worth more than what is left over
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return SyncDir(dir)
}

// fill syncs before the rename: else the new name can reach the disk before the
// content does, and the file is empty after a crash.
func fill(f *os.File, data []byte, perm os.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	return f.Sync()
}

// SyncDir makes the names in a directory durable: creations, renames, removals.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing directory %q: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %q: %w", dir, err)
	}
	return nil
}

// AppendSync adds a record to a file, or makes the file. When it returns an
// error, the file ends where it ended before, unless even that fails, which the
// error then says; after a crash a part of the record may be there, so that
// records need an end that can be told. The caller sees to it that nobody else
// writes to the file.
func AppendSync(path string, record []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	created := errors.Is(err, fs.ErrNotExist)
	if created {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, perm)
	}
	if err != nil {
		return fmt.Errorf("appending to %q: %w", path, err)
	}
	err = appendTo(f, record)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("appending to %q: %w", path, err)
	}
	if created {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

func appendTo(f *os.File, record []byte) error {
	before, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	_, err = f.Write(record)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		return nil
	}
	if undo := f.Truncate(before); undo != nil {
		return fmt.Errorf("%w; cutting off the unfinished record: %w", err, undo)
	}
	return err
}

// ReadFile reads a regular file of at most so many bytes. The limit keeps a file
// that grew by accident out of memory; that it is regular keeps us from waiting
// for a pipe, or reading a device without end.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %q: not a regular file but %v", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err) // a PathError names the path
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %q: %w: more than %d bytes", path, ErrTooLarge, limit)
	}
	return data, nil
}

// Clean removes what writers that died have left in a directory. Nobody may be
// writing there: call it with the directory's lock held.
func Clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cleaning %q: %w", dir, err)
	}
	var failed error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) && e.Type().IsRegular() {
			failed = errors.Join(failed, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if failed != nil {
		return fmt.Errorf("cleaning %q: %w", dir, failed)
	}
	return nil
}
