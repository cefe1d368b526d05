package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"re6st/internal/durable"
)

// lineBytesMax bounds a record; one has about 1,500 bytes.
const lineBytesMax = 1 << 20

// A journal is the file of records, one a line, only ever appended to.
type journal struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64 // of the whole lines that are synced
	head head
}

// A scan is what a journal was found to have.
type scan struct {
	head  head
	size  int64 // of the whole lines
	torn  bool  // a last line follows that is not whole, or cannot be read
	whole bool  // that line has its end: it may once have been good
	at    head  // the record with the sequence that was asked for
	found bool
}

func openJournal(dir string) (*journal, error) {
	j := &journal{path: filepath.Join(dir, journalFile)}
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", classify(err))
	}
	j.file = file
	if err := checkPrivate(j.path); err != nil {
		file.Close()
		return nil, err
	}
	// A new name must survive a crash like its content.
	if err := durable.SyncDir(dir); err != nil {
		file.Close()
		return nil, fmt.Errorf("syncing %q: %w", dir, err)
	}
	return j, nil
}

// read walks the journal from the start and checks its chain. want is a
// sequence of which the caller wants the hash; each, where not nil, gets
// every record.
//
// A last line that is not whole was cut off by a crash: the answer for it never
// left. Whether one that has its end is the same, the caller decides by the
// database. An unreadable line before the last is damage.
func (j *journal) read(genesis [32]byte, want uint64, each func(record) error) (scan, error) {
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return scan{}, fmt.Errorf("reading journal: %w", err)
	}
	s := scan{head: head{hash: genesis}}
	s.at, s.found = s.head, want == 0
	lines := bufio.NewReaderSize(j.file, 64<<10)
	for {
		line, err := readLine(lines)
		switch {
		case errors.Is(err, io.EOF):
			s.torn = len(line) > 0
			return s, nil
		case err != nil:
			return scan{}, fmt.Errorf("reading journal %q: %w", j.path, err)
		}
		r, next, err := s.head.follow(line[:len(line)-1])
		if err != nil {
			if _, err := lines.ReadByte(); errors.Is(err, io.EOF) {
				s.torn, s.whole = true, true
				return s, nil
			}
			return scan{}, fmt.Errorf("reading journal %q: %w: %w", j.path, ErrCorrupt, err)
		}
		if each != nil {
			if err := each(r); err != nil {
				return scan{}, err
			}
		}
		s.head, s.size = next, s.size+int64(len(line))
		if next.sequence == want {
			s.at, s.found = next, true
		}
	}
}

// readLine reads to the end of a line, and no further than a record can be.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > lineBytesMax {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrCorrupt, lineBytesMax)
		}
	}
}

// accept makes a scan the journal's state, and cuts off what is torn.
func (j *journal) accept(s scan) error {
	j.head, j.size = s.head, s.size
	if !s.torn {
		return nil
	}
	return j.cutLocked()
}

// appendLocked writes lines and syncs them. They are in the journal when it
// answers nil, and none of them otherwise.
func (j *journal) appendLocked(lines []byte, next head, trace func(string)) error {
	// In two halves, so that the crash tests can end between them; a crash of
	// the machine can end anywhere.
	offset, half := j.size, len(lines)/2
	for i, part := range [][]byte{lines[:half], lines[half:]} {
		if _, err := j.file.WriteAt(part, offset); err != nil {
			return errors.Join(fmt.Errorf("writing journal: %w", classify(err)), j.cutLocked())
		}
		offset += int64(len(part))
		trace([]string{"journal-half-written", "journal-written"}[i])
	}
	if err := j.file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("syncing journal: %w", classify(err)), j.cutLocked())
	}
	j.head, j.size = next, j.size+int64(len(lines))
	return nil
}

// cutLocked removes what follows the last whole record.
func (j *journal) cutLocked() error {
	if err := j.file.Truncate(j.size); err != nil {
		return fmt.Errorf("cutting journal to its whole records: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("syncing journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

// joinLines gives records as they stand in the file.
func joinLines(records [][]byte) []byte {
	return append(bytes.Join(records, []byte("\n")), '\n')
}
